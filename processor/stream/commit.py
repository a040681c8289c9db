"""Defines the order in which a window's effects become durable (journey step 6, architecture A6).

The steps are, in this order:

1. raw records and refusals;
2. dirty marks;
3. claims;
4. counts of waiting hits;
5. the transaction that commits rows and positions, so that the state in memory agrees with the committed positions
   again;
6. partials and ledger;
7. snapshot chunks;
8. the snapshot manifest.

Every step before the transaction is idempotent: values are keyed by position, or are totals and not increments. The
steps after the transaction also write totals. If a step after the transaction may have been interrupted, the step is
repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import StrEnum

import polars as pl

from hitmesh.model.claims import ClaimKind, OrderClaim
from hitmesh.model.closing import is_closed
from hitmesh.model.generations import DirtyMark
from hitmesh.model.sites import SiteDay
from hitmesh.ports import DirtyDays, Ledger, OrderClaims, Outbox, RawStore, RejectedStore
from processor.stream.intake import Intake


class CommitStep(StrEnum):
    """A step of a commit. A step's value is also the name of the fail point after the step."""

    RAW = "raw"
    MARKS = "marks"
    CLAIMS = "claims"
    TRANSACTION = "transaction"
    STATE = "state"
    PARTIALS = "partials"
    CHUNKS = "chunks"
    MANIFEST = "manifest"


Reached = Callable[[CommitStep], None]
"""A function that is called after each commit step. In a test, the function may kill the process."""


def ignore_step(step: CommitStep) -> None:
    """Ignore the step."""


def new_writer(outbox: Outbox, writer: int) -> int:
    """Return a new, higher writer number.

    A snapshot that is saved under this number replaces earlier snapshots at the same position.

    Raises:
        Fenced: another writer took over.
    """
    outbox.resolve(writer)
    return outbox.take_over()


def store_before_transaction(
    intake: Intake,
    raw: RawStore,
    rejected: RejectedStore,
    dirty: DirtyDays,
    claims: OrderClaims,
    reached: Reached = ignore_step,
) -> None:
    """Store a window's effects that must be durable before its rows are committed.

    Raw records are stored before dirty marks, because a settlement that sees a mark must find the marked hits. Claims
    are stored before the positions are committed. A settlement scans all records below the committed positions, and
    must find the claims from the hits in these records.
    """
    if intake.raw:
        raw.put(intake.raw)
    for record in intake.raw:
        if record.position in intake.blanked:
            raw.replace(record)  # an earlier window may have stored the record before the hits were erased
    if intake.rejected:
        rejected.put(intake.rejected)
    reached(CommitStep.RAW)
    if intake.marks:
        dirty.mark(intake.marks)
    if intake.awaited:
        dirty.await_close(sorted(intake.awaited))
    reached(CommitStep.MARKS)
    if intake.claims:
        claims.claim(intake.claims)
    if intake.refunds:
        claims.note_refunds(sorted(intake.refunds))
    late_orders = list(_marks_of_refunds(intake.claims, claims))
    if late_orders:
        dirty.mark(late_orders)
    reached(CommitStep.CLAIMS)


def note_waiting(ledger: Ledger, waiting: Iterable[pl.DataFrame | None]) -> None:
    """Store each partition's counts for hits that wait for settlement (rule S9).

    This function must be called before the rows become visible, because the rows do not include the visits of waiting
    hits.

    Like all ledger entries, these entries contain totals per epoch. Storing the entries again changes nothing.
    """
    noted = [entries for entries in waiting if entries is not None]
    if noted:
        ledger.put(pl.concat(noted))


def _marks_of_refunds(made: Sequence[OrderClaim], claims: OrderClaims) -> Iterator[DirtyMark]:
    """Yield dirty marks for closed days on which a newly claimed order's total is refunded (rule D3).

    If another partition stores a refund at the same time, this function may miss the refund. The settlement of the
    order's day then marks the day of the missed refund.
    """
    orders: dict[str, list[OrderClaim]] = {}
    for claim in made:
        if claim.kind is ClaimKind.ORDER:
            orders.setdefault(claim.site, []).append(claim)
    for site, site_claims in orders.items():
        days = claims.refund_days(site, [claim.order_id for claim in site_claims])
        for claim in site_claims:
            for day in days.get(claim.order_id, ()):
                if is_closed(day, claim.log_time):
                    yield DirtyMark(SiteDay(site, day), claim.position, claim.log_time)
