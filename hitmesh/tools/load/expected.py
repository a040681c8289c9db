"""Computes the totals that the mesh must report for the sent frames, and compares the reports with these totals. Pure.

This module decides which hits count, which hits are copies, and which totals are unknown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from hitmesh.tools.load.visits import VisitCounts


class Counts(NamedTuple):
    """The amounts that hits add to a site's totals; copies are not included.

    Hits from bots add only to `bot_hits` and `late_hits`.
    """

    hits: int
    pageviews: int
    events: int
    orders: int
    gross_revenue: int  # micros
    bot_hits: int
    late_hits: int
    refunds: int = 0  # `refunds`, `tax`, `shipping`, `discounts` and `item_revenue` are in micros
    tax: int = 0
    shipping: int = 0
    discounts: int = 0
    item_revenue: int = 0
    items_sold: int = 0
    product_views: int = 0
    cart_adds: int = 0
    checkouts_started: int = 0


class Copy(NamedTuple):
    """A hit that is sent again.

    The fields describe the original hit: the number of its frame, its number in the run, and its counts.
    """

    frame: int
    hit: int
    counts: Counts


class FrameFacts(NamedTuple):
    """The counts that a frame adds to totals: `fresh` adds up the original hits, and `copies` lists the copies."""

    frame: int
    site: int
    fresh: Counts
    copies: tuple[Copy, ...]


NOTHING: Final = Counts(0, 0, 0, 0, 0, 0, 0)
VISIT_METRICS: Final = VisitCounts._fields
METRICS: Final = (*Counts._fields, "excluded_hits", "duplicate_hits", *VISIT_METRICS)


@dataclass(frozen=True, slots=True)
class Difference:
    """A total that differs from the expected value."""

    site: str
    metric: str
    expected: int
    reported: int


class Expected:
    """Adds up the totals of frames, in the order in which the frames are due. Each frame is either sent or left out."""

    def __init__(self) -> None:
        self._counts: dict[int, list[int]] = {}
        self._copies: dict[int, int] = {}
        self._left_out: set[int] = set()
        # Hits that the mesh counts because a copy was sent, although the original frame was left out.
        self._stand_ins: set[int] = set()

    @property
    def is_complete(self) -> bool:
        """Whether every frame was sent. If a frame was left out, the generator's visits do not match the sent hits."""
        return not self._left_out

    def leave_out(self, facts: FrameFacts) -> None:
        """Record that a frame is left out and will never be sent."""
        self._left_out.add(facts.frame)

    def send(self, facts: FrameFacts) -> None:
        """Add the totals of a frame that is sent."""
        self._add(facts.site, facts.fresh)
        for copy in facts.copies:
            if copy.frame in self._left_out and copy.hit not in self._stand_ins:
                self._stand_ins.add(copy.hit)
                self._add(facts.site, copy.counts)
            else:
                self._copies[facts.site] = self._copies.get(facts.site, 0) + 1

    def totals(self, visits: Mapping[int, VisitCounts]) -> dict[int, dict[str, int]]:
        """Return the expected totals by site and metric.

        The visits of a site are included only if the visits are known and every frame was sent.
        """
        return {site: self._totals_of(site, counts, visits) for site, counts in sorted(self._counts.items())}

    def _totals_of(self, site: int, counts: list[int], visits: Mapping[int, VisitCounts]) -> dict[str, int]:
        totals = dict(zip(Counts._fields, counts, strict=True))
        totals["excluded_hits"] = totals["bot_hits"]
        totals["duplicate_hits"] = self._copies.get(site, 0)
        return totals | (visits[site]._asdict() if self.is_complete and site in visits else {})

    def _add(self, site: int, counts: Counts) -> None:
        kept = self._counts.setdefault(site, [0] * len(NOTHING))
        for place, count in enumerate(counts):
            kept[place] += count


def differences(
    site: str, expected: Mapping[str, int], reported: Mapping[str, int], *, extra_copies: int = 0
) -> list[Difference]:
    """Return the differences between a site's reported and expected totals.

    `extra_copies` is the number of hits sent again after a broken stream; each may be counted as a copy.
    """
    found = []
    for metric, wanted in expected.items():
        most = wanted + (extra_copies if metric == "duplicate_hits" else 0)
        if not wanted <= reported[metric] <= most:
            found.append(Difference(site, metric, wanted, reported[metric]))
    return found
