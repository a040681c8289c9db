"""How many visits a visitor's hits are, by the plain rules (S1, S3): what the mesh is compared with.

Written apart from the processor's visits on purpose. Knows on-time interactive hits of one visitor only; no caps, since
a run is far shorter than 24 hours and a made-up visitor far from 5,000 hits.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

GAP_MS: Final = 1_800_000
NO_CAMPAIGN: Final = 0


class VisitCounts(NamedTuple):
    """Visits, and those of them with one hit."""

    visits: int
    bounces: int


def count_visits(hits: Iterable[tuple[int, int]]) -> VisitCounts:
    """Returns the visits of (event time in ms, campaign) pairs in any order; times differ, NO_CAMPAIGN is none."""
    sizes: list[int] = []
    last_ms, current = 0, NO_CAMPAIGN
    for at_ms, campaign in sorted(hits):
        by_gap = not sizes or at_ms - last_ms > GAP_MS
        if by_gap or (campaign != NO_CAMPAIGN and campaign != current):
            sizes.append(0)
            current = campaign
        sizes[-1] += 1
        last_ms = at_ms
    return VisitCounts(len(sizes), sizes.count(1))
