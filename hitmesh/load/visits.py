"""How many visits a visitor's hits are, by the plain rules (S1, S3): what the mesh is compared with.

Written apart from the processor's visits on purpose. Knows on-time hits of one visitor only; no caps, since
a run is far shorter than 24 hours; of visitors that come near 5,000 hits nothing is said.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

GAP_MS: Final = 1_800_000
NO_CAMPAIGN: Final = 0
QUIET: Final = -1
"""Stands where the campaign of a hit does that is not interactive: it goes with a visit, and starts none (rule S2)."""


class VisitCounts(NamedTuple):
    """Visits, and those of them with one hit."""

    visits: int
    bounces: int


def count_visits(hits: Iterable[tuple[int, int]]) -> VisitCounts:
    """Returns the visits of (event time in ms, campaign, NO_CAMPAIGN or QUIET) pairs in any order; times differ."""
    sizes: list[int] = []
    last_ms, current = 0, NO_CAMPAIGN
    for at_ms, campaign in sorted(hits):
        by_gap = not sizes or at_ms - last_ms > GAP_MS
        if campaign == QUIET:
            last_ms = last_ms if by_gap else at_ms
            continue
        if by_gap or (campaign != NO_CAMPAIGN and campaign != current):
            sizes.append(0)
            current = campaign
        sizes[-1] += 1
        last_ms = at_ms
    return VisitCounts(len(sizes), sizes.count(1))
