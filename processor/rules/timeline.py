"""Goes through a single timeline hit by hit. Applies rules S1 to S5 exactly as written (journey step 5).

Only few timelines need this walk. The module `visits` can split nearly all timelines by comparing neighbouring hits.
For each hit, the walk decides whether the hit starts a visit, extends the open visit or is an orphan.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from hitmesh.model.sites import VisitPolicy


class Step(IntEnum):
    """The effect of a hit on its timeline. A hit starts a visit if its effect is START or a higher value."""

    ORPHAN = 0
    EXTEND = 1
    START = 2
    START_AFTER_FULL = 3


@dataclass(frozen=True, slots=True)
class Timeline:
    """The hits of one timeline, sorted by (event time, hit hash). Each list has n elements.

    For a hit, `starts` is the event time, and `weights` is 1. If a visit was carried in, the visit is the first
    element, at the time of the visit's last hit. For a carried-in visit, `starts` is the visit's start, and `weights`
    is the visit's number of hits. `days` contains the local dates of `starts`. `days` is given only if the policy
    splits visits at local midnight.
    """

    times: Sequence[int]
    starts: Sequence[int]
    weights: Sequence[int]
    interactive: Sequence[bool]
    campaigns: Sequence[int]
    days: Sequence[int] | None = None


def walk(timeline: Timeline, policy: VisitPolicy) -> list[Step]:
    """Return each hit's effect (n,)."""
    steps: list[Step] = []
    first = last = -1  # the indexes of the open visit's first hit and latest hit
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
    """Return the effect that the hit would have if it were interactive."""
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
