"""Measures a site's or key's hits and bytes, and keeps this collector's share in two token buckets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from hitmesh.model.quotas import NO_QUOTA, HitLimits, Quota, QuotaUse, Use, limits_in, share_of
from hitmesh.model.token_bucket import TokenBucket

# A collector counts as short for this many periods after a refusal, because a client waits before it sends again.
_SHORT_PERIODS: Final = 2
# A use below this number of units per second counts as none.
_LEAST_USE: Final = 0.5
_UNSET: Final = HitLimits(0, 0)


class Meter:
    """A resource's use, and its buckets for hits and bytes. Not thread-safe.

    Args:
        resource: the site's or key's full name.
        burst_s: each bucket's capacity, in seconds.
        now_ms: the monotonic time.
    """

    __slots__ = (
        "_burst_s",
        "_bytes_use",
        "_default",
        "_hits_use",
        "_quota",
        "_refused_hits",
        "_round",
        "_short_of_bytes",
        "_short_of_hits",
        "_used_bytes",
        "_used_hits",
        "bytes",
        "hits",
        "limits",
        "resource",
    )

    def __init__(self, resource: str, burst_s: int, now_ms: int) -> None:
        self.resource = resource
        self._burst_s = burst_s
        self._quota, self._default = NO_QUOTA, _UNSET
        self.limits = _UNSET
        self.hits = TokenBucket(1, 1, now_ms)
        self.bytes = TokenBucket(1, 1, now_ms)
        self._round = -1
        self._hits_use = self._bytes_use = Use()
        self._used_hits = self._used_bytes = self._refused_hits = 0
        self._short_of_hits = self._short_of_bytes = 0

    def refresh(
        self,
        quota: Quota,
        default: HitLimits,
        now_ms: int,
        round_: int,
        live: int,
        others: Mapping[str, Sequence[QuotaUse]],
    ) -> None:
        """Compute the share again if the quota changed, or if new reports arrived (a new round).

        Args:
            quota: the resource's own quota.
            default: limits for fields that the quota does not set.
            now_ms: the monotonic time.
            round_: numbers the latest reports.
            live: how many collectors are live.
            others: the use by other collectors in the latest reports, by resource.
        """
        if round_ == self._round and quota is self._quota and default is self._default:
            return
        self._round, self._quota, self._default = round_, quota, default
        before, self.limits = self.limits, limits_in(quota, default)
        uses = others.get(self.resource, ())
        hits_s = share_of(self.limits.hits_s, self._hits_use, [use.hits for use in uses], live)
        bytes_s = share_of(self.limits.bytes_s, self._bytes_use, [use.bytes for use in uses], live)
        self._set_rates(max(1, int(hits_s)), max(1, int(bytes_s)), now_ms, is_new=before == _UNSET)

    def count(self, hits: int, size: int) -> None:
        """Count a charged batch."""
        self._used_hits += hits
        self._used_bytes += size

    def give_back(self, hits: int, size: int) -> None:
        """Return a batch's charge, because the batch was not stored."""
        self.hits.give_back(hits)
        self.bytes.give_back(size)
        self._used_hits -= hits
        self._used_bytes -= size

    def refused(self, hits: int, of_hits: bool, of_bytes: bool) -> None:
        """Count a refused batch, and note which quota was too small for the batch."""
        if of_hits:
            self._short_of_hits = _SHORT_PERIODS
        if of_bytes:
            self._short_of_bytes = _SHORT_PERIODS
        if of_hits or of_bytes:
            self._refused_hits += hits

    def ended_period(self, elapsed_s: float) -> QuotaUse:
        """Return the use in the period that ends now, and start the next period.

        A falling use is reported as at least half the previous use, so that a pause between two batches does not
        cost the collector its share.
        """
        self._hits_use = _next_use(self._hits_use, self._used_hits / elapsed_s, self._short_of_hits)
        self._bytes_use = _next_use(self._bytes_use, self._used_bytes / elapsed_s, self._short_of_bytes)
        refused_hits_s = self._refused_hits / elapsed_s
        self._used_hits = self._used_bytes = self._refused_hits = 0
        self._short_of_hits = max(0, self._short_of_hits - 1)
        self._short_of_bytes = max(0, self._short_of_bytes - 1)
        return QuotaUse(self.resource, self.limits, self._hits_use, self._bytes_use, refused_hits_s)

    @property
    def is_idle(self) -> bool:
        """Whether the last period had no use worth a report."""
        return self._hits_use == self._bytes_use == Use()

    def _set_rates(self, hits_s: int, bytes_s: int, now_ms: int, *, is_new: bool) -> None:
        if is_new:
            self.hits = TokenBucket(hits_s, hits_s * self._burst_s, now_ms)
            self.bytes = TokenBucket(bytes_s, bytes_s * self._burst_s, now_ms)
        else:
            self.hits.resize(hits_s, hits_s * self._burst_s, now_ms)
            self.bytes.resize(bytes_s, bytes_s * self._burst_s, now_ms)


def _next_use(before: Use, per_s: float, short_periods: int) -> Use:
    smooth = max(per_s, before.per_s / 2)
    return Use(smooth if smooth >= _LEAST_USE or short_periods else 0.0, bool(short_periods))
