"""Arrival times: put hits with event times into an order of arrival, by a plan and a seed.

Decides each hit's delay and which hits are sent twice. Independent of the content of hits and of admission.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import NamedTuple

from tests.generate.scenarios import HOUR, MINUTE, SECOND
from tests.reference.hits import RefHit


@dataclass(frozen=True)
class Plan:
    """How a file's arrivals differ from its event times.

    Every hit arrives up to `shuffled_ms` after its event time. Shares of the hits (0 to 1) arrive later: `delayed` by
    up to 50 minutes, still on time; `far_delayed` by up to 48 hours, late or history. Shares arrive twice: `resent`
    after 3 seconds to 60 minutes, while the stream knows the id; `far_resent` after 91 minutes to 20 hours.
    """

    name: str
    shuffled_ms: int = 0
    delayed: float = 0.0
    far_delayed: float = 0.0
    resent: float = 0.0
    far_resent: float = 0.0

    @property
    def settles_as_streamed(self) -> bool:
        """Whether no hit is late and no copy arrives after 90 minutes, so that no day may have drift (P2)."""
        return not self.far_delayed and not self.far_resent


DELAYED_MS = 50 * MINUTE
FAR_DELAYED_MS = 48 * HOUR
RESENT_MS = (3 * SECOND, 60 * MINUTE)
FAR_RESENT_MS = (91 * MINUTE, 20 * HOUR)

IN_ORDER = Plan("in-order")
SHUFFLED = Plan("shuffled", shuffled_ms=10 * MINUTE)
DELAYED = Plan("delayed", delayed=0.05)
FAR_DELAYED = Plan("far-delayed", far_delayed=0.02)
RESENT = Plan("resent", resent=0.02)
FAR_RESENT = Plan("far-resent", far_resent=0.01)
EVERYTHING = Plan("everything", 10 * MINUTE, delayed=0.05, far_delayed=0.02, resent=0.02, far_resent=0.01)
PLANS = (IN_ORDER, SHUFFLED, DELAYED, FAR_DELAYED, RESENT, FAR_RESENT, EVERYTHING)


class Arrival(NamedTuple):
    """A hit's arrival; a hit that is sent twice arrives twice."""

    at_ms: int
    hit: RefHit
    attempt: int = 1


def arrivals(hits: Sequence[RefHit], plan: Plan, seed: int = 1) -> list[Arrival]:
    """Return the plan's arrivals by time; arrivals in the same millisecond keep the order of `hits`."""
    dice = Random(f"{plan.name} {seed}")
    sent = [arrival for hit in hits for arrival in _of_one(hit, plan, dice)]
    return sorted(sent, key=lambda arrival: arrival.at_ms)


def _of_one(hit: RefHit, plan: Plan, dice: Random) -> Iterator[Arrival]:
    at_ms = hit.event_time + _delay_ms(plan, dice)
    yield Arrival(at_ms, hit)
    if dice.random() < plan.resent:
        yield Arrival(at_ms + dice.randint(*RESENT_MS), hit, attempt=2)
    elif dice.random() < plan.far_resent:
        yield Arrival(at_ms + dice.randint(*FAR_RESENT_MS), hit, attempt=2)


def _delay_ms(plan: Plan, dice: Random) -> int:
    lot = dice.random()
    if lot < plan.far_delayed:
        return dice.randint(0, FAR_DELAYED_MS)
    if lot < plan.far_delayed + plan.delayed:
        return dice.randint(0, DELAYED_MS)
    return dice.randint(0, plan.shuffled_ms)


def on_sites(hits: Iterable[RefHit], sites: Sequence[str]) -> list[RefHit]:
    """Return the hits once for each site, like that many files with equal content."""
    of_one = list(hits)
    return [replace(hit, site=site) for site in sites for hit in of_one]


def in_slices(sent: Iterable[Arrival], max_hits: int, max_ms: int) -> Iterator[list[Arrival]]:
    """Yield arrivals, by time, in groups that span less than `max_ms` and hold at most `max_hits`."""
    part: list[Arrival] = []
    for arrival in sent:
        if part and (len(part) == max_hits or arrival.at_ms - part[0].at_ms >= max_ms):
            yield part
            part = []
        part.append(arrival)
    if part:
        yield part
