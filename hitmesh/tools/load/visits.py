"""Counts a visitor's visits by a direct implementation of rules S1 and S3, for comparison with the mesh.

The code shares nothing with the processor's code for visits. This module counts only visits of on-time hits. A visit's
maximum length of 24 hours is ignored, because a run is far shorter. If a visitor has nearly 5,000 hits, the visits are
reported as unknown.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from hitmesh.model.limits import VISIT_GAP_MS

NO_CAMPAIGN: Final = 0
QUIET: Final = -1
"""Campaign value of a non-interactive hit without a campaign.

A non-interactive hit with campaign n has the value QUIET − n.

A non-interactive hit may continue a visit, but never starts a visit. A non-interactive hit that continues no visit
belongs to no visit (rule S2).
"""


class VisitCounts(NamedTuple):
    """The number of visits, and the number of bounces (visits with a single interactive hit)."""

    visits: int
    bounces: int


def count_visits(hits: Iterable[tuple[int, int]]) -> VisitCounts:
    """Count a visitor's visits. Each hit is a pair (event time in ms, campaign value).

    All event times must be different; the hits may be in any order.
    """
    sizes: list[int] = []
    last_ms, current = 0, NO_CAMPAIGN
    for at_ms, campaign in sorted(hits):
        by_gap = not sizes or at_ms - last_ms > VISIT_GAP_MS
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
