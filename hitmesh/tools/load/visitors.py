"""The visitors of one site: who is on it, who comes back, who leaves, and how many visits that makes.

Decides what a visitor does next. Refuses to know frames, copies and how hits are sent. Pure: the source of chance is an
argument. A visitor that has left never sends again, so its visits are counted then and it is forgotten.
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
# Of later hits of a visit only; an order never comes first.
ORDER_SHARE: Final = 0.025
# How long people look at a page before they do the next thing: shorter than in life, and no longer than this part of
# the run, so that most visits end within it.
MAX_THINK_S: Final = 8.0
THINK_PART: Final = 1 / 20
MIN_VISITORS: Final = 20
# Beyond 5,000 hits a visit is cut, and late hits of a visitor wait (rules S5, S9); late hits and copies come on top.
MOST_TIMELINE: Final = 3_500
_ORDER_TEMPLATES: Final = 64


def visitors_at_once(rate: float, duration_s: float) -> int:
    """Returns how many visitors a site with so many hits a second has at any time."""
    return round(rate * min(MAX_THINK_S, duration_s * THINK_PART))


class Visitor:
    """Somebody on the site. `timeline` has the campaign of each on-time hit by its event time."""

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
        """Adds an on-time hit; returns its time, moved on to one without a hit: the order of hits is never a tie."""
        while event_ms in self.timeline:
            event_ms += 1
        self.timeline[event_ms] = self.campaign if self.arriving else NO_CAMPAIGN
        return event_ms


class Crowd:
    """The visitors of a site. Visits are not known (`is_countable`) once a visitor had too many hits."""

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
        """Returns a visitor that does something now, new where nobody is, and its place."""
        place = int(self._random.random() * len(self._places))
        visitor = self._places[place]
        if visitor is None:
            visitor = self._places[place] = self._new()
        return place, visitor

    def move_on(self, place: int, visitor: Visitor) -> None:
        """Lets a visitor stay, leave, or leave and come back by a campaign, which is another visit (rule S3)."""
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
        """Lets everybody leave: the run is over."""
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
    """What visitors do, as bytes; what was encoded once is kept, since pages, referrers and campaigns are few."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._arrivals: dict[tuple[int, int, int], bytes] = {}
        self._steps: dict[tuple[int, int], bytes] = {}
        self._events = [encoding.event(name) for name in scenery.EVENTS]
        self._orders = list(_orders(Random("orders")))
        self._page_ends = list(accumulate(scenery.PAGE_WEIGHTS))
        self._pages = range(len(scenery.PAGES))

    def view(self, visitor: Visitor) -> bytes:
        """Returns a page view; one that begins a visit says where the visitor came from."""
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
        """Returns an event."""
        return self._random.choice(self._events)

    def order(self, order_id: bytes) -> tuple[bytes, Worth]:
        """Returns an order and what it is worth."""
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
