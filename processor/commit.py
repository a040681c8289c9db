"""Step 6 of the journey: the order in which the effects of a window become durable (decision A6), written once.

raw records, refusals | marks | claims | transaction of rows and positions | state kept | partials and ledger |
snapshot chunks | manifest. Everything before the transaction is keyed by position and may be done twice; what comes
after is absolute, and written again by whoever cannot know that it was. Decides nothing about hits.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

from hitmesh.ports import DirtyDays, OrderClaims, RawStore, RejectedStore
from processor.intake import Intake


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
    reached(CommitStep.CLAIMS)
