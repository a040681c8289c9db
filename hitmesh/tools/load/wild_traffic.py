"""Generates the traffic for the shape `wild`, frame by frame, from hits of `hitmesh.tools.load.wild`.

This module chooses each hit's visitor and time. Every second site has a single visitor. On the other sites, about half
of the hits come from a new visitor. Each hit is either late (more than an hour old) or up to 50 minutes old, so the
hits are not in order.
"""

from __future__ import annotations

from random import Random
from typing import Final

from hitmesh.tools.load import encoding
from hitmesh.tools.load.expected import Counts
from hitmesh.tools.load.plan import LoadPlan
from hitmesh.tools.load.traffic import LATE_MS, OUT_OF_ORDER_MS, Made, Site, Traffic
from hitmesh.tools.load.visitors import Crowd, Visitor
from hitmesh.tools.load.visits import NO_CAMPAIGN
from hitmesh.tools.load.wild import WildDoings

_PLACES: Final = 3
_NEW_SHARE: Final = 0.5
_VISITOR_ENDING: Final = "·\u202e🛒,|'\"\\\x1f-".encode()


class Strangers(Crowd):
    """A site's visitors.

    If the site has a single visitor, this visitor sends all hits. On other sites, a new visitor sends about half of the
    hits.
    """

    def __init__(self, random: Random, prefix: bytes, *, is_single: bool) -> None:
        super().__init__(random, prefix + _VISITOR_ENDING, 0, 0.0)
        self._places = [None] * (1 if is_single else _PLACES)
        self._new_share = 0.0 if is_single else _NEW_SHARE

    def somebody(self) -> tuple[int, Visitor]:
        """Return the index and the visitor of the next hit."""
        place = int(self._random.random() * len(self._places))
        visitor = self._places[place]
        if visitor is not None and self._random.random() < self._new_share:
            self._count(visitor)
            visitor = None
        if visitor is None:
            visitor = self._places[place] = self._new()
        return place, visitor

    def _new(self) -> Visitor:
        self._made += 1
        head = encoding.visitor(self._prefix + b"%x" % self._made, b"")
        return Visitor(head, is_bot=False, campaign=NO_CAMPAIGN, referrer=0)


class WildTraffic(Traffic):
    """An iterable over the frames of a plan with the shape `wild`; see Traffic."""

    def __init__(self, plan: LoadPlan, keys: dict[int, str], start_ms: int) -> None:
        super().__init__(plan, keys, start_ms)
        self._wild = WildDoings(self._random, f"{start_ms:x}")
        self._bots = plan.bots_percent / 100

    def _crowd(self, number: int, prefix: bytes) -> Crowd:
        return Strangers(self._random, prefix, is_single=number % 2 == 1)

    def _hit(self, site: Site, number: int, at_ms: int) -> Made:
        _, visitor = site.crowd.somebody()
        is_bot, is_late = self._random.random() < self._bots, self._random.random() < self._late
        deed = self._wild.deed(number, number // self._plan.frame_hits, is_bot=is_bot)
        event_ms = self._start_ms + at_ms - self._between(LATE_MS if is_late else OUT_OF_ORDER_MS)
        # An offline hit, for example from a payment provider, belongs to no visit.
        deed.hit.offline = deed.hit.HasField("order") and self._random.random() < _NEW_SHARE
        if not (is_bot or is_late or deed.hit.offline):
            event_ms = visitor.be_seen(event_ms)
            visitor.timeline[event_ms] = deed.campaign
        deed.hit.client_create_time.FromMilliseconds(event_ms)
        happened = deed.hit.SerializeToString()
        content = encoding.hit(happened, visitor.head, b"%b-%x" % (self._run, number), event_ms)
        late = int(is_late)
        counts = Counts(0, 0, 0, 0, 0, 1, late) if is_bot else deed.counts._replace(late_hits=late)
        return Made(content, counts, deed.is_repeat)


def traffic_of(plan: LoadPlan, keys: dict[int, str], start_ms: int) -> Traffic:
    """Return the traffic generator for the plan's shape; see Traffic."""
    return (WildTraffic if plan.is_wild else Traffic)(plan, keys, start_ms)
