"""Choose the time at which each hit arrives, from its event time, a plan and a seed.

This module decides each hit's delay, and which hits are sent twice. The decisions do not depend on the content of hits.
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
    """The delays between the event times and the arrivals of a file's hits.

    Every hit arrives up to `shuffled_ms` after its event time. Each of the fields below is a share of all hits, from 0
    to 1. The share `delayed` arrives up to 50 minutes after its event time, which is on time. Hits of the share
    `far_delayed` arrive up to 48 hours after their event time, and may be late or arrive after their day has closed.
    The share `resent` arrives again after 3 seconds to 60 minutes, while the stream still finds copies. The share
    `far_resent` arrives again after 91 minutes to 20 hours.
    """

    name: str
    shuffled_ms: int = 0
    delayed: float = 0.0
    far_delayed: float = 0.0
    resent: float = 0.0
    far_resent: float = 0.0

    @property
    def settles_as_streamed(self) -> bool:
        """Whether settlement must confirm the stream (P2).

        Settlement must confirm the stream if no hit is late and no copy comes after 90 minutes.
        """
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
    """The arrival of a hit. A hit that is sent twice has two arrivals."""

    at_ms: int
    hit: RefHit
    attempt: int = 1


def arrivals(hits: Sequence[RefHit], plan: Plan, seed: int = 1) -> list[Arrival]:
    """Return the arrivals in the order of time. Arrivals in the same millisecond keep the order of `hits`."""
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
    """Return a copy of all hits for each site, as if each site had a file with the same content."""
    of_one = list(hits)
    return [replace(hit, site=site) for site in sites for hit in of_one]


def in_slices(sent: Iterable[Arrival], max_hits: int, max_ms: int) -> Iterator[list[Arrival]]:
    """Yield the arrivals in groups that span less than `max_ms` and contain at most `max_hits` arrivals."""
    part: list[Arrival] = []
    for arrival in sent:
        if part and (len(part) == max_hits or arrival.at_ms - part[0].at_ms >= max_ms):
            yield part
            part = []
        part.append(arrival)
    if part:
        yield part
