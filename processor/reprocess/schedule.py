"""Decides which reprocessing gets work next, which plans expire, and which reprocessings are removed.

Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Final

from hitmesh.model.reprocessings import OPEN_STATES, Reprocessing, State

_FINISHED: Final = (State.PUBLISHED, State.ROLLED_BACK, State.CANCELLED, State.ERASED)


def to_work_on(stored: Iterable[Reprocessing], waiting: Collection[str] = ()) -> Iterator[Reprocessing]:
    """Yield the running reprocessings, oldest first.

    If a reprocessing shares a site-day with an older open reprocessing, the younger reprocessing is left out. Work that
    a settler has begun counts as older than all other work. Two reprocessings therefore never take turns on a site-day.
    `waiting` contains the ids of erasures that cannot begin yet, or that wait for streams or for the settler. Other
    reprocessings do not wait for the erasures in `waiting`.
    """
    older: list[Reprocessing] = []
    for reprocessing in sorted(stored, key=lambda each: (not each.parts, each.created_at, each.id)):
        is_ready = reprocessing.state is State.RUNNING and reprocessing.id not in waiting
        if is_ready and not any(map(reprocessing.overlaps, older)):
            yield reprocessing
        if reprocessing.state in OPEN_STATES:
            older.append(reprocessing)


def expired(stored: Iterable[Reprocessing], created_before: int) -> Sequence[Reprocessing]:
    """Return the plans that were created before `created_before` (UTC ms) and never ran."""
    return [
        reprocessing
        for reprocessing in stored
        if reprocessing.state is State.PLANNED and reprocessing.created_at < created_before
    ]


def removable(stored: Iterable[Reprocessing], expired_before: int, finished_before: int) -> Sequence[Reprocessing]:
    """Return plans that expired before `expired_before`, and reprocessings that finished before `finished_before`."""
    before = {State.EXPIRED: expired_before} | dict.fromkeys(_FINISHED, finished_before)
    return [
        reprocessing
        for reprocessing in stored
        if reprocessing.state in before and reprocessing.updated_at < before[reprocessing.state]
    ]
