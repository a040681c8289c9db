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
"""Stands for no campaign of a hit that is not interactive, QUIET − n for campaign n. Such a hit goes with a visit and
starts none: where another one would, it is in no visit (rule S2)."""


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
        is_quiet = campaign <= QUIET
        campaign = QUIET - campaign if is_quiet else campaign
        begins = by_gap or campaign not in (NO_CAMPAIGN, current)
        if is_quiet:
            last_ms = last_ms if begins else at_ms
            continue
        if begins:
            sizes.append(0)
            current = campaign
        sizes[-1] += 1
        last_ms = at_ms
    return VisitCounts(len(sizes), sizes.count(1))
