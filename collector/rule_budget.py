"""The budget for matching exclusion rules. Each site has a token bucket, which RE2 steps (instructions × bytes) drain.

All sites share the collector's thread. A merchant chooses both the patterns and the hits. Without a budget, many
batches of a site with slow patterns would delay the hits of all other sites. If the level of a site's bucket is above
0, the site's next batch passes, and all steps of the batch are charged. Every batch, whatever its size, therefore
passes sooner or later. A bucket's debt is at most the steps of a single batch. An instance must be used by one thread
only.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final

from collector.token_buckets import TokenBuckets
from hitmesh.model.errors import RetryError
from hitmesh.model.reasons import ErrorReason

# A bucket's capacity in seconds of refill.
BURST_S: Final = 2.0
MAX_SITES: Final = 4_096
_MIN_WAIT_S: Final = 1.0


class RuleBudget:
    """Token buckets of RE2 steps, one per site.

    Args:
        steps_s: the refill of each bucket, in steps per second. By measurement, a step takes at most 12 ns.
        now_s: a monotonic clock, in seconds.
        max_sites: the maximum number of sites that have a bucket. If batches from more sites arrive, the site that was
            charged least recently loses its bucket, and so its debt.
    """

    def __init__(
        self, steps_s: float, now_s: Callable[[], float] = time.monotonic, *, max_sites: int = MAX_SITES
    ) -> None:
        self._steps_s = steps_s
        self._buckets: TokenBuckets[str] = TokenBuckets(steps_s, BURST_S, max_sites, now_s)

    def passing(self, site: str, steps: Sequence[int]) -> int:
        """Charge a site's batches in order until the budget is exhausted. Return the number of batches that pass.

        Args:
            site: full resource name.
            steps: the steps that each batch needs.
        """
        level, passing = self._buckets.level(site), 0
        for needed in steps:
            if level <= 0:
                break
            level, passing = level - needed, passing + 1
        self._buckets.set(site, level)
        return passing

    def wait_s(self, site: str) -> float:
        """Return the seconds until the site's next batch can pass; 0 = now."""
        level = self._buckets.level(site)
        return 0.0 if level > 0 else max(-level / self._steps_s, 1 / self._steps_s)

    def refusal(self, site: str) -> RetryError:
        """Return the error for a batch that does not pass.

        The error states the site, the limit, the remedy, and the time after which to send the batch again.
        """
        wait_s = max(_MIN_WAIT_S, self.wait_s(site))
        limit = int(self._steps_s)
        return RetryError(
            f"the exclusion rules of {site} need more than {limit:,} steps a second (RE2 instructions × bytes): send "
            f"the batch again in {wait_s:.0f} s, and shorten or delete the site's rules of kind page and user_agent",
            reason=ErrorReason.QUOTA,
            retry_after_s=wait_s,
            site=site,
            limit=limit,
            wait_s=f"{wait_s:.0f}",
        )
