"""Decide which reprocessing is worked on, which plans expire, and what is removed (reprocessing). Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from hitmesh.model.reprocessings import OPEN_STATES, Reprocessing, State

_FINISHED: Final = (State.PUBLISHED, State.ROLLED_BACK, State.CANCELLED, State.ERASED)


def next_to_work_on(stored: Iterable[Reprocessing], waiting: str = "") -> Reprocessing | None:
    """Return the oldest running reprocessing; older open reprocessings with the same site-days come first.

    `waiting` is the id of an erasure that waits for streams or for the settler: others do not wait for this erasure.
    """
    older: list[Reprocessing] = []
    for reprocessing in sorted(stored, key=lambda reprocessing: (reprocessing.created_at, reprocessing.id)):
        is_ready = reprocessing.state is State.RUNNING and reprocessing.id != waiting
        if is_ready and not any(map(reprocessing.overlaps, older)):
            return reprocessing
        if reprocessing.state in OPEN_STATES:
            older.append(reprocessing)
    return None


def expired(stored: Iterable[Reprocessing], created_before: int) -> Sequence[Reprocessing]:
    """Return the plans created before a time (UTC ms) that nobody ran."""
    return [
        reprocessing
        for reprocessing in stored
        if reprocessing.state is State.PLANNED and reprocessing.created_at < created_before
    ]


def removable(stored: Iterable[Reprocessing], expired_before: int, finished_before: int) -> Sequence[Reprocessing]:
    """Return the plans that expired, and the reprocessings that finished, before a time each (UTC ms)."""
    before = {State.EXPIRED: expired_before} | dict.fromkeys(_FINISHED, finished_before)
    return [
        reprocessing
        for reprocessing in stored
        if reprocessing.state in before and reprocessing.updated_at < before[reprocessing.state]
    ]
