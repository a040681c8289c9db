"""Decides whether a reprocessing's work may begin. All functions are pure.

Work must not begin if it would undo a later publication. The control service refuses requests that would undo a later
publication, but may accept two conflicting requests that arrive at the same moment. The settler therefore checks again
before the first site-day is moved.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from hitmesh.model.publication_order import must_be_newest, next_publication_time, published_after
from hitmesh.model.reprocessings import Reprocessing, State, Work
from processor.reprocess.parts import parts_of


def begun(reprocessing: Reprocessing, stored: Iterable[Reprocessing], now: int) -> Reprocessing:
    """Return the reprocessing with its work marked as begun.

    If the work began earlier, or if it continues work that failed, return the reprocessing unchanged. A reprocessing's
    place in the publication order is determined when it is published for the first time. If the work would undo a
    later publication, the request is withdrawn and `error` states the reason.
    """
    if reprocessing.begun_at or parts_of(reprocessing):
        return reprocessing
    others = [other for other in stored if other.id != reprocessing.id]
    newer = published_after(reprocessing, others) if must_be_newest(reprocessing, reprocessing.work) else None
    if newer is not None:
        state = State.PUBLISHED if reprocessing.work is Work.ROLL_BACK else State.ROLLED_BACK
        error = f"{reprocessing.work} was not begun, because {newer.id} was published later: roll {newer.id} back first"
        return replace(reprocessing, state=state, work=None, done=0, parts=(), error=error)
    is_first = reprocessing.work is Work.PUBLISH and not reprocessing.published_at
    published_at = next_publication_time(others, now) if is_first else reprocessing.published_at
    return replace(reprocessing, begun_at=now, published_at=published_at)
