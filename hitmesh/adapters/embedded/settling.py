"""Step S of the journey on one machine: which site-days wait to be settled, and who claimed an order (raw.db).

Marks are kept one by one, so that what is left after a `clear` is exact. Decides nothing about settlement.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Final

from hitmesh.adapters.embedded.sqlite import Database, Transaction, to_signed, to_unsigned
from hitmesh.adapters.marks import gathered, whole_sites
from hitmesh.ports import DirtyMark, DirtySiteDay, MarkRange, OrderClaim, PartitionId, Position, SiteDay

_RANGES: Final = """SELECT site, day, log_id, partition_no, min(record_offset), max(record_offset), min(log_time)
    FROM dirty_marks WHERE {which} GROUP BY site, day, log_id, partition_no ORDER BY site, day, log_id, partition_no"""
_CLAIM_COLUMNS: Final = """site, order_id, log_time, log_id, partition_no, record_offset, row_no, visitor_hi,
    visitor_lo, hit_id, day, excluded, duplicate"""


class EmbeddedDirtyDays:
    """A DirtyDays in raw.db."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def mark(self, marks: Sequence[DirtyMark]) -> None:
        """Adds marks durably in one transaction. Marking twice is marking once."""
        with self._database.writing() as transaction:
            transaction.run_many(
                "INSERT OR IGNORE INTO dirty_marks VALUES (?, ?, ?, ?, ?, ?)",
                [(*mark.site_day, *mark.position, mark.log_time) for mark in marks],
            )

    def take(self, limit: int) -> Sequence[DirtySiteDay]:
        """Returns at most `limit` dirty site-days by (site, day); cuts no site in two unless it alone is longer."""
        with self._database.reading() as transaction:
            dirty = transaction.rows(
                SiteDay,
                "SELECT DISTINCT site, day FROM dirty_marks ORDER BY site, day LIMIT ?",
                (limit + 1,),
            )
            taken = whole_sites(dirty, limit)
            if not taken:
                return []
            which = "(site, day) >= (?, ?) AND (site, day) <= (?, ?)"
            return _site_days(transaction, which, (*taken[0], *taken[-1]))

    def clear(self, taken: DirtySiteDay) -> None:
        """Removes the marks in `taken`, and only those: marks behind its ranges stay."""
        with self._database.writing() as transaction:
            transaction.run_many(
                """DELETE FROM dirty_marks WHERE site = ? AND day = ? AND log_id = ? AND partition_no = ?
                AND record_offset >= ? AND record_offset <= ?""",
                [(*taken.site_day, *marks.partition, marks.first_offset, marks.last_offset) for marks in taken.marks],
            )

    def pending(self, site: str) -> Sequence[DirtySiteDay]:
        """Returns what waits for a site."""
        with self._database.reading() as transaction:
            return _site_days(transaction, "site = ?", (site,))


class EmbeddedOrderClaims:
    """An OrderClaims in raw.db."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def claim(self, claims: Sequence[OrderClaim]) -> None:
        """Stores claims durably in one transaction; those that are there stay as they are."""
        with self._database.writing() as transaction:
            transaction.run_many(
                f"INSERT OR IGNORE INTO order_claims ({_CLAIM_COLUMNS}) VALUES ({', '.join('?' * 13)})",
                [
                    (
                        claim.site,
                        claim.order_id,
                        claim.log_time,
                        *claim.position,
                        claim.row,
                        to_signed(claim.visitor_hi),
                        to_signed(claim.visitor_lo),
                        claim.hit_id,
                        claim.day,
                        claim.excluded,
                        claim.duplicate,
                    )
                    for claim in claims
                ],
            )

    def of(self, site: str, order_ids: Sequence[str]) -> Sequence[OrderClaim]:
        """Returns all claims on these orders in log order (log time, log, partition, offset, row)."""
        with self._database.reading() as transaction:
            return transaction.rows(
                _claim,
                f"""SELECT {_CLAIM_COLUMNS} FROM order_claims
                WHERE site = ? AND order_id IN (SELECT value FROM json_each(?))
                ORDER BY log_time, log_id, partition_no, record_offset, row_no""",
                (site, json.dumps(list(order_ids))),
            )

    def set_duplicates(self, site: str, verdicts: Mapping[tuple[Position, int], bool]) -> None:
        """Records which claims are of duplicate hits, durably in one transaction."""
        with self._database.writing() as transaction:
            transaction.run_many(
                """UPDATE order_claims SET duplicate = ?
                WHERE log_id = ? AND partition_no = ? AND record_offset = ? AND row_no = ? AND site = ?""",
                [(duplicate, *position, row, site) for (position, row), duplicate in verdicts.items()],
            )


def _site_days(transaction: Transaction, which: str, values: Sequence[str | int]) -> list[DirtySiteDay]:
    return gathered(transaction.rows(_range, _RANGES.format(which=which), values))


def _range(
    site: str, day: int, log: str, partition: int, first_offset: int, last_offset: int, first_log_time: int
) -> tuple[SiteDay, MarkRange]:
    return SiteDay(site, day), MarkRange(PartitionId(log, partition), first_offset, last_offset, first_log_time)


def _claim(
    site: str,
    order_id: str,
    log_time: int,
    log: str,
    partition: int,
    offset: int,
    row: int,
    visitor_hi: int,
    visitor_lo: int,
    hit_id: str,
    day: int,
    excluded: int,
    duplicate: int,
) -> OrderClaim:
    return OrderClaim(
        site=site,
        order_id=order_id,
        log_time=log_time,
        position=Position(log, partition, offset),
        row=row,
        visitor_hi=to_unsigned(visitor_hi),
        visitor_lo=to_unsigned(visitor_lo),
        hit_id=hit_id,
        day=day,
        excluded=bool(excluded),
        duplicate=bool(duplicate),
    )
