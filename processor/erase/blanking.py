"""Erases a visitor's hits from raw records, claims and the log (kind ERASE).

`Blanking.erase` defines the order in which hits disappear. After a crash, all effects are repeated. The raw record is
replaced last, so that a repetition finds the hits again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import islice

from hitmesh.model.claims import ClaimKind, OrderClaim
from hitmesh.model.erasures import Receipt
from hitmesh.model.errors import StaleGeneration
from hitmesh.model.generations import DirtyMark
from processor.erase.records import FoundHits, find_hits, without_erased_hits
from processor.erase.visitors import ErasedVisitors
from processor.settle.reached import closed_before
from processor.settle.settlement_marks import SettlementMarks
from processor.settle.stores import SettlerStores
from processor.settle.window import read_rows

_ROWS = ("site", "visitor_hi", "visitor_lo", "event_time", "flags")


class Blanking:
    """Erases hits, some records at a time. An instance must be used by one thread only.

    Args:
        stores: the stores.
        marks: makes the dirty marks.
        group_records: in how many records hits are erased together.
    """

    def __init__(self, stores: SettlerStores, marks: SettlementMarks, group_records: int) -> None:
        self._stores = stores
        self._marks = marks
        self._group_records = group_records

    def groups(self, site: str, day: int, visitors: ErasedVisitors) -> Iterator[Sequence[FoundHits]]:
        """Yield a site-day's erased hits that are not blank yet, in groups with `group_records` records each."""
        records = self._stores.raw.scan(site, day, day + 1)
        found = (hits for record in records if (hits := find_hits(record, visitors)) is not None)
        while group := list(islice(found, self._group_records)):
            yield group

    def erase(
        self,
        site: str,
        group: Sequence[FoundHits],
        visitors: ErasedVisitors,
        receipt: Receipt,
        moved: Collection[int],
        save: Callable[[Receipt], None],
    ) -> Receipt:
        """Erase a group's hits, and return the receipt. This docstring defines the effects' order.

        `moved` contains the days that the reprocessing itself publishes.

        1. store the receipt with these hits and their positions. A repetition after a crash counts no hit twice;
        2. mark the days that must be settled again: closed days with these hits, days with other claims on the same
           order and refund ids, and days with refunds that take their amount from these orders;
        3. remove the claims;
        4. blank the hits in the log, if the log can change records;
        5. blank the hits in the raw records.

        Raises:
            StaleGeneration: another settler has rewritten a record that also has another site's hits. The caller must
                then call `erase` again for this group.
        """
        positions = tuple((log, number, offset) for log, number, offset in (found.record.position for found in group))
        fresh = [found for found in group if tuple(found.record.position) not in receipt.pending]
        claims, others = self._claims(site, group)
        closed = closed_before(self._stores)
        days = {day for found in group for day in found.days}
        newest = max(found.record.log_time for found in group)
        fresh_positions = {found.record.position for found in fresh}
        receipt = receipt.plus(
            hits=sum(found.hits for found in fresh),
            raw_records=len(fresh),
            claims=sum(claim.position in fresh_positions for claim in claims),
            log_records=sum(self._stores.log_eraser.record(position) is not None for position in fresh_positions),
        ).on_days(days, [day for day in days if day >= closed])
        receipt = receipt.rewriting(positions, newest)
        save(receipt)
        again = sorted(day for day in (days | others).difference(moved) if day < closed)
        if again:
            self._stores.dirty.mark(self._dirty(site, again))
        self._stores.claims.remove(claims)
        for found in group:
            self._blank_in_log(found, visitors)
            if not self._stores.raw.replace(found.blanked, found.record.value):
                raise StaleGeneration(f"record {found.record.position} was rewritten since it was read; read it again")
        return receipt

    def _claims(self, site: str, group: Iterable[FoundHits]) -> tuple[list[OrderClaim], set[int]]:
        """Return the claims that the hits in `group` make.

        Also return the days of all other claims and refunds with the same ids.
        """
        stores = self._stores.claims
        places = {(found.record.position, row) for found in group for row in found.rows}
        order_ids = sorted({id_ for found in group for id_ in found.order_ids})
        refund_ids = sorted({id_ for found in group for id_ in found.refund_ids})
        every = [
            *(stores.of(site, order_ids) if order_ids else ()),
            *(stores.of(site, refund_ids, ClaimKind.REFUND) if refund_ids else ()),
        ]
        of_hits = [claim for claim in every if (claim.position, claim.row) in places]
        others = {claim.day for claim in every if (claim.position, claim.row) not in places}
        refunds = stores.refund_days(site, order_ids) if order_ids else {}
        return of_hits, others | {day for days in refunds.values() for day in days}

    def _dirty(self, site: str, days: Sequence[int]) -> Sequence[DirtyMark]:
        """Return a dirty mark for each given day that is already settled.

        A day that is not settled yet needs no mark, because it will be settled anyway.
        """
        settled = self._stores.generations.current(site, min(days), max(days) + 1)
        return self._marks.on(site, [day for day in days if day in settled])

    def _blank_in_log(self, found: FoundHits, visitors: ErasedVisitors) -> None:
        logged = self._stores.log_eraser.record(found.record.position)
        if logged is None:
            return
        blank, is_changed = without_erased_hits(logged, read_rows(logged.record.value, _ROWS), visitors)
        if not is_changed or self._stores.log_eraser.replace(blank, logged.record.value):
            return
        if self._stores.log_eraser.record(found.record.position) is not None:
            raise StaleGeneration(f"record {found.record.position} was rewritten since it was read; read it again")
