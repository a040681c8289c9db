"""Step 6 of the journey: the order in which the effects of a window become durable (decision A6), written once.

raw records, refusals | marks | claims | hits that wait | transaction of rows and positions | state kept | partials and
ledger | snapshot chunks | manifest. Everything before the transaction is keyed by position, or absolute, and may be
done twice; what comes after is absolute, and written again by whoever cannot know that it was. Decides nothing about
hits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import StrEnum

import polars as pl

from hitmesh.model.claims import ClaimKind, OrderClaim
from hitmesh.model.closing import is_closed
from hitmesh.model.generations import DirtyMark
from hitmesh.model.sites import SiteDay
from hitmesh.ports import DirtyDays, Ledger, OrderClaims, RawStore, RejectedStore
from processor.stream.intake import Intake


class CommitStep(StrEnum):
    """What was just made durable; the name of a fail point behind it."""

    RAW = "raw"
    MARKS = "marks"
    CLAIMS = "claims"
    TRANSACTION = "transaction"
    STATE = "state"
    PARTIALS = "partials"
    CHUNKS = "chunks"
    MANIFEST = "manifest"


Reached = Callable[[CommitStep], None]
"""Is told of each step when it is done; a test ends the process there."""


def nowhere(step: CommitStep) -> None:
    """Go on."""


def store_before_transaction(
    intake: Intake,
    raw: RawStore,
    rejected: RejectedStore,
    dirty: DirtyDays,
    claims: OrderClaims,
    reached: Reached = nowhere,
) -> None:
    """Make durable what a window brings whatever becomes of its rows.

    Raw records first: a mark says that there is something to scan. Claims before the positions are committed: a
    settlement scans what is below them, and must find every claim of it.
    """
    if intake.raw:
        raw.put(intake.raw)
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
    """Note the hits of each partition that wait for settlement before rows without their visits are seen (rule S9).

    Entries are absolute per epoch, like all of the ledger: a redo writes the same.
    """
    noted = [entries for entries in waiting if entries is not None]
    if noted:
        ledger.put(pl.concat(noted))


def _marks_of_refunds(made: Sequence[OrderClaim], claims: OrderClaims) -> Iterator[DirtyMark]:
    """Yield marks on closed days whose refunds take the total of an order that comes now (rule D3).

    A refund that comes at the same moment elsewhere may be missed: the settlement of the order's day marks its day.
    """
    orders: dict[str, list[OrderClaim]] = {}
    for claim in made:
        if claim.kind is ClaimKind.ORDER:
            orders.setdefault(claim.site, []).append(claim)
    for site, own in orders.items():
        days = claims.refund_days(site, [claim.order_id for claim in own])
        for claim in own:
            for day in days.get(claim.order_id, ()):
                if is_closed(day, claim.log_time):
                    yield DirtyMark(SiteDay(site, day), claim.position, claim.log_time)
