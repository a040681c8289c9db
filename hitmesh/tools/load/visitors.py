"""A site's visitors: their arrivals, returns and departures, and the number of visits.

This module chooses each visitor's next action. The module has no I/O and no clock, and the random source is an
argument. A visitor who has left never sends again. When a visitor leaves, this module counts the visitor's visits and
forgets the visitor.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate
from random import Random
from typing import Final

from hitmesh.tools.load import encoding, scenery
from hitmesh.tools.load.encoding import Worth
from hitmesh.tools.load.visits import NO_CAMPAIGN, count_visits

MEAN_HITS: Final = 5.0
RETURN_SHARE: Final = 0.2
CAMPAIGN_SHARE: Final = 0.25
EVENT_SHARE: Final = 0.05
# Probability that a hit is an order; the first hit of a visit is never an order.
ORDER_SHARE: Final = 0.025
# The mean time between a visitor's hits is MAX_THINK_S seconds or THINK_PART of the run's duration, whichever is
# shorter. The time is shorter than in real life, so that most visits end within the run.
MAX_THINK_S: Final = 8.0
THINK_PART: Final = 1 / 20
MIN_VISITORS: Final = 20
# Maximum number of on-time hits from a visitor whose visits are known. The mesh cuts a visit after 5,000 hits
# (docs/rules.md, S5). MOST_TIMELINE is lower than 5,000, because the mesh also counts late hits and copies, but
# `Visitor.timeline` contains only on-time hits.
MOST_TIMELINE: Final = 3_500
_ORDER_TEMPLATES: Final = 64


def visitors_at_once(rate: float, duration_s: float) -> int:
    """Return the number of simultaneous visitors on a site with `rate` hits per second."""
    return round(rate * min(MAX_THINK_S, duration_s * THINK_PART))


class Visitor:
    """A visitor on the site. `timeline` maps the event time of each on-time hit to the hit's campaign."""

    __slots__ = ("arriving", "campaign", "head", "is_bot", "page", "referrer", "timeline")

    def __init__(self, head: bytes, *, is_bot: bool, campaign: int, referrer: int) -> None:
        self.head = head
        self.is_bot = is_bot
        self.campaign = campaign
        self.referrer = referrer
        self.arriving = True
        self.page = 0
        self.timeline: dict[int, int] = {}

    def be_seen(self, event_ms: int) -> int:
        """Add an on-time hit, and return its event time.

        The time is moved to the next free ms, so that no two hits have the same time.
        """
        while event_ms in self.timeline:
            event_ms += 1
        self.timeline[event_ms] = self.campaign if self.arriving else NO_CAMPAIGN
        return event_ms


class Crowd:
    """The visitors of a site.

    If a visitor had too many hits, the site's visits are unknown, and `is_countable` is False.
    """

    def __init__(self, random: Random, prefix: bytes, size: int, bots_percent: float) -> None:
        self.visits = 0
        self.bounces = 0
        self.is_countable = True
        self._random = random
        self._prefix = prefix
        self._bots = bots_percent / 100
        self._made = 0
        self._places: list[Visitor | None] = [None] * max(MIN_VISITORS, size)

    def somebody(self) -> tuple[int, Visitor]:
        """Choose the next hit's visitor, and return the visitor's index and the visitor.

        If there is no visitor at this index, a visitor is created.
        """
        place = int(self._random.random() * len(self._places))
        visitor = self._places[place]
        if visitor is None:
            visitor = self._places[place] = self._new()
        return place, visitor

    def move_on(self, place: int, visitor: Visitor) -> None:
        """Decide whether a visitor stays, leaves, or returns through a campaign.

        If the visitor returns, another visit starts (rule S3).
        """
        visitor.arriving = False
        if self._random.random() * MEAN_HITS >= 1:
            return
        if self._random.random() < RETURN_SHARE:
            visitor.arriving = True
            visitor.campaign = 1 + visitor.campaign % len(scenery.CAMPAIGNS)
        else:
            self._places[place] = None
            self._count(visitor)

    def leave_all(self) -> None:
        """End all visits at the end of the run."""
        for place, visitor in enumerate(self._places):
            if visitor is not None:
                self._places[place] = None
                self._count(visitor)

    def _count(self, visitor: Visitor) -> None:
        self.is_countable = self.is_countable and len(visitor.timeline) <= MOST_TIMELINE
        if not visitor.is_bot:
            counted = count_visits(visitor.timeline.items())
            self.visits += counted.visits
            self.bounces += counted.bounces

    def _new(self) -> Visitor:
        random = self._random
        is_bot = random.random() < self._bots
        agents = scenery.BOT_AGENTS if is_bot else scenery.AGENTS
        context = encoding.visitor_context(random.choice(agents), random.choice(scenery.LANGUAGES))
        self._made += 1
        by_campaign = random.random() < CAMPAIGN_SHARE
        return Visitor(
            encoding.visitor(self._prefix + b"%x" % self._made, context),
            is_bot=is_bot,
            campaign=1 + random.randrange(len(scenery.CAMPAIGNS)) if by_campaign else NO_CAMPAIGN,
            referrer=random.randrange(len(scenery.REFERRERS)),
        )


class Doings:
    """Creates the encoded payloads of hits.

    Payloads are cached, because there are few pages, referrers and campaigns.
    """

    def __init__(self, random: Random) -> None:
        self._random = random
        self._arrivals: dict[tuple[int, int, int], bytes] = {}
        self._steps: dict[tuple[int, int], bytes] = {}
        self._events = [encoding.event(name) for name in scenery.EVENTS]
        self._orders = list(_orders(Random("orders")))
        self._page_ends = list(accumulate(scenery.PAGE_WEIGHTS))
        self._pages = range(len(scenery.PAGES))

    def view(self, visitor: Visitor) -> bytes:
        """Return a page view; the first view of a visit has the visit's referrer and campaign."""
        page = self._random.choices(self._pages, cum_weights=self._page_ends)[0]
        before, visitor.page = visitor.page, page
        if not visitor.arriving:
            return self._step(page, before)
        key = (page, visitor.campaign, visitor.referrer)
        if key not in self._arrivals:
            query = scenery.CAMPAIGNS[visitor.campaign - 1].query if visitor.campaign else ""
            self._arrivals[key] = encoding.page_view(scenery.PAGES[page], query, scenery.REFERRERS[visitor.referrer])
        return self._arrivals[key]

    def event(self) -> bytes:
        """Return an event."""
        return self._random.choice(self._events)

    def order(self, order_id: bytes) -> tuple[bytes, Worth]:
        """Return an order and its totals."""
        content, worth = self._random.choice(self._orders)
        return encoding.order(content, order_id), worth

    def _step(self, page: int, before: int) -> bytes:
        key = (page, before)
        if key not in self._steps:
            referrer = scenery.ORIGIN + scenery.PAGES[before]
            self._steps[key] = encoding.page_view(scenery.PAGES[page], "", referrer)
        return self._steps[key]


def _orders(random: Random) -> Iterator[tuple[bytes, Worth]]:
    for _ in range(_ORDER_TEMPLATES):
        products = random.sample(scenery.PRODUCTS, random.choice((1, 1, 2, 3)))
        yield encoding.order_content((product, random.choice((1, 1, 1, 2))) for product in products)
