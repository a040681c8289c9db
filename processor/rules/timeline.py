"""Walk a single timeline hit by hit: rules S1 to S5 as written (step 5 of the journey).

This is the exact method for the few timelines that `visits` cannot cut by comparing neighbours. It decides for each hit
whether the hit starts a visit, extends the open visit or is an orphan.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from hitmesh.model.sites import VisitPolicy


class Step(IntEnum):
    """The effect of a hit. Every step from START on starts a visit."""

    ORPHAN = 0
    EXTEND = 1
    START = 2
    START_AFTER_FULL = 3


@dataclass(frozen=True, slots=True)
class Timeline:
    """The hits of one timeline by (event time, hit hash), each list (n,).

    `starts` and `weights` differ from the event time and 1 only for a carried-in visit. That visit stands first, as a
    single hit at its last hit's time. `days` are local dates, given when the policy splits at local midnight; for a
    carried-in visit, the date of its start.
    """

    times: Sequence[int]
    starts: Sequence[int]
    weights: Sequence[int]
    interactive: Sequence[bool]
    campaigns: Sequence[int]
    days: Sequence[int] | None = None


def walk(timeline: Timeline, policy: VisitPolicy) -> list[Step]:
    """Return the effect of each hit (n,)."""
    steps: list[Step] = []
    first = last = -1  # places of the open visit's first and latest hit
    count = 0
    for place, weight in enumerate(timeline.weights):
        step = _step(timeline, place, first, last, count, policy)
        if step is not Step.EXTEND and not timeline.interactive[place]:
            step = Step.ORPHAN
        if step >= Step.START:
            first, count = place, 0
        if step is not Step.ORPHAN:
            last = place
            count += weight
        steps.append(step)
    return steps


def _step(timeline: Timeline, place: int, first: int, last: int, count: int, policy: VisitPolicy) -> Step:
    """Return the effect the hit would have if interactive."""
    if first < 0:
        return Step.START
    time, campaign = timeline.times[place], timeline.campaigns[place]
    if time - timeline.times[last] > policy.gap_ms:
        return Step.START
    if time - timeline.starts[first] >= policy.cap_ms:
        return Step.START
    if policy.campaign_splits and campaign not in (0, timeline.campaigns[first]):
        return Step.START
    if timeline.days is not None and timeline.days[place] != timeline.days[first]:
        return Step.START
    return Step.START_AFTER_FULL if count >= policy.max_hits else Step.EXTEND
