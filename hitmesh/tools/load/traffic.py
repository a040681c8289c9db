"""Generates the traffic of a run, frame by frame: the bytes and the expected counts.

The module is pure, and random choices are seeded.

A hit is a visitor's page view, event or order, or a copy of an earlier hit. A hit may be on time, out of order or late.
The start time is an argument, and equal arguments give equal bytes. A hit's event time is the time at which the hit is
sent. For late and out-of-order hits, the event time is earlier than the time of sending.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final, NamedTuple

from hitmesh.api.hit.v1 import hit_pb2
from hitmesh.client.batches import part_of
from hitmesh.tools.load import encoding
from hitmesh.tools.load.encoding import Worth
from hitmesh.tools.load.expected import NOTHING, Copy, Counts, FrameFacts
from hitmesh.tools.load.plan import LoadPlan
from hitmesh.tools.load.visitors import EVENT_SHARE, ORDER_SHARE, Crowd, Doings, Visitor, visitors_at_once
from hitmesh.tools.load.visits import VisitCounts

# Ranges, in ms, for the time between the event time and the sending of a hit. A hit is on time if it arrives within 60
# minutes (rule T4). Late hits are at least 61 minutes old when they are sent. Other hits are at most 50 minutes old. A
# slow transport therefore does not change whether a hit is late.
OUT_OF_ORDER_MS: Final = (1_000, 50 * 60_000)
LATE_MS: Final = (61 * 60_000, 20 * 3_600_000)
COPY_AFTER_MS: Final = (3_000, 60_000)


class Frame(NamedTuple):
    """A batch for a site, ready to be sent. `content` is an encoded HitBatch; `due_s` is in seconds after the start."""

    number: int
    site: int
    due_s: float
    hits: int
    content: bytes
    facts: FrameFacts

    @property
    def size(self) -> int:
        """Size of the batch in bytes."""
        return len(self.content)

    def part(self, indexes: Sequence[int], attempt: int) -> Frame:
        """Return a frame with the hits at these indexes."""
        part = part_of(hit_pb2.HitBatch.FromString(self.content), indexes, attempt)
        return self._replace(hits=len(indexes), content=part.SerializeToString())


class _Again(NamedTuple):
    """A hit to send again at `due_ms`.

    If the site has no frame between `due_ms` and `ends_ms`, the copy is dropped.
    """

    due_ms: int
    ends_ms: int
    content: bytes
    copy: Copy


class Made(NamedTuple):
    """An encoded hit with its counts.

    If `is_repeat` is true, no copy of the hit is sent, because the hit's counts depend on earlier hits.
    """

    content: bytes
    counts: Counts
    is_repeat: bool = False


@dataclass(slots=True)
class Site:
    """The state of a site: the common fields of its batches, its visitors, and the copies to send."""

    head: bytes
    crowd: Crowd
    again: list[_Again]


class Traffic:
    """An iterable over the frames of a plan.

    Iterate only once. `visits` is complete when the iteration has ended.

    Args:
        plan: the traffic to send.
        keys: the ingest key for each site.
        start_ms: start of the run in UTC ms. Every id contains the start time, so that hits from different runs never
            have equal ids.
    """

    def __init__(self, plan: LoadPlan, keys: dict[int, str], start_ms: int) -> None:
        self._plan = plan
        self._start_ms = start_ms
        self._run = b"%x" % start_ms
        self._random = Random(f"hits-{plan.seed}")
        self._doings = Doings(self._random)
        self._sites = {site: self._site(site, key) for site, key in keys.items()}
        self._late = plan.late_percent / 100
        self._early_end = self._late + plan.out_of_order_percent / 100
        self._copied = plan.duplicates_percent / 100

    @property
    def visits(self) -> dict[int, VisitCounts]:
        """Visits and bounces of each site whose visits are known, counted from on-time hits.

        The counts are complete when the iteration over the frames has ended.
        """
        crowds = {number: site.crowd for number, site in self._sites.items()}
        return {
            number: VisitCounts(crowd.visits, crowd.bounces) for number, crowd in crowds.items() if crowd.is_countable
        }

    def __iter__(self) -> Iterator[Frame]:
        for number, site in enumerate(self._plan.site_of_frames):
            yield self._frame(number, site)
        for site_traffic in self._sites.values():
            site_traffic.crowd.leave_all()

    def _site(self, number: int, key: str) -> Site:
        return Site(encoding.batch_head(key), self._crowd(number, b"%b-v%x-" % (self._run, number)), [])

    def _crowd(self, number: int, prefix: bytes) -> Crowd:
        visitors = visitors_at_once(self._plan.shares[number] * self._plan.rate, self._plan.duration_s)
        return Crowd(self._random, prefix, visitors, self._plan.bots_percent)

    def _frame(self, number: int, site_number: int) -> Frame:
        site = self._sites[site_number]
        numbers = self._plan.hits_of(number)
        contents: list[bytes] = []
        copies: list[Copy] = []
        fresh = [0] * len(NOTHING)
        for hit in numbers:
            at_ms = self._plan.happens_ms(hit)
            again = _due(site.again, at_ms)
            if again is not None:
                contents.append(again.content)
                copies.append(again.copy)
                continue
            content, counts, is_repeat = self._hit(site, hit, at_ms)
            contents.append(content)
            for place, count in enumerate(counts):
                fresh[place] += count
            if self._random.random() < self._copied and not is_repeat:
                heapq.heappush(site.again, self._copy(content, Copy(number, hit, counts), at_ms))
        facts = FrameFacts(number, site_number, Counts(*fresh), tuple(copies))
        content = encoding.batch(site.head, b"%b-%x" % (self._run, number), contents)
        return Frame(number, site_number, self._plan.due_s(number), len(numbers), content, facts)

    def _copy(self, content: bytes, copy: Copy, at_ms: int) -> _Again:
        first, last = COPY_AFTER_MS
        # The copy's due time is before the end of the run.
        left_ms = max(first, min(last, int(self._plan.duration_s * 1_000) - at_ms))
        due_ms = at_ms + first + int(self._random.random() * (left_ms - first))
        return _Again(due_ms, at_ms + last, content, copy)

    def _hit(self, site: Site, number: int, at_ms: int) -> Made:
        place, visitor = site.crowd.somebody()
        event_ms, late = self._event_time(visitor, self._start_ms + at_ms)
        happened, view, event, worth = self._happens(visitor, number)
        content = encoding.hit(happened, visitor.head, b"%b-%x" % (self._run, number), event_ms)
        counts = Counts(0, 0, 0, 0, 0, 1, late) if visitor.is_bot else _counts(view, event, worth, late)
        site.crowd.move_on(place, visitor)
        return Made(content, counts)

    def _event_time(self, visitor: Visitor, at_ms: int) -> tuple[int, int]:
        """Choose the event time.

        Return the event time, and 1 for a late hit or 0 for any other hit.
        """
        drawn = self._random.random()
        if drawn < self._late:
            return at_ms - self._between(LATE_MS), 1
        if drawn < self._early_end:
            at_ms -= self._between(OUT_OF_ORDER_MS)
        return visitor.be_seen(at_ms), 0

    def _happens(self, visitor: Visitor, number: int) -> tuple[bytes, int, int, Worth | None]:
        """Choose the kind of a hit, and encode its payload.

        Return the payload, the number of page views (0 or 1), the number of events (0 or 1), and an order's totals or
        None.
        """
        drawn = self._random.random()
        if visitor.arriving or visitor.is_bot or drawn >= ORDER_SHARE + EVENT_SHARE:
            return self._doings.view(visitor), 1, 0, None
        if drawn >= ORDER_SHARE:
            return self._doings.event(), 0, 1, None
        content, worth = self._doings.order(b"%b-o%x" % (self._run, number))
        return content, 0, 0, worth

    def _between(self, bounds: Sequence[int]) -> int:
        low, high = bounds
        return low + int(self._random.random() * (high - low))


def _counts(view: int, event: int, worth: Worth | None, late: int) -> Counts:
    if worth is None:
        return Counts(1, view, event, 0, 0, 0, late)
    return Counts(
        1, 0, 0, 1, worth.total, 0, late,
        tax=worth.tax, shipping=worth.shipping, item_revenue=worth.item_revenue, items_sold=worth.items_sold,
    )  # fmt: skip


def _due(again: list[_Again], at_ms: int) -> _Again | None:
    """Remove and return the next copy that is due; drop copies whose `ends_ms` has passed."""
    while again and again[0].due_ms <= at_ms:
        first = heapq.heappop(again)
        if at_ms <= first.ends_ms:
            return first
    return None
