"""Keeps site and key quotas in this collector: hits per second, and batch bytes per second.

A batch is charged after its hits were counted and before its hits are decoded. The check costs a few look-ups and
additions per batch. A batch that exceeds any quota is charged to no quota.

This collector has a share in each quota (hitmesh.model.quotas). Without reports from other collectors, the share is the
whole quota. Memory is bounded by `max_resources`.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from collector.admission import Grant, Sender
from collector.meters import Meter
from hitmesh.model.errors import QuotaExceeded
from hitmesh.model.names import ingest_key_name
from hitmesh.model.plurals import counted
from hitmesh.model.quotas import CollectorReport, HitLimits, QuotaKind, QuotaUse
from hitmesh.model.token_bucket import TokenBucket, charge_all
from hitmesh.ports import Clock

MAX_RESOURCES: Final = 20_000
MAX_SHORT_SENDERS: Final = 4_096
MAX_REPORTED: Final = 5_000
"""Maximum number of resources in all reports together."""


def monotonic_ms() -> int:
    """Return the monotonic time in ms."""
    return time.monotonic_ns() // 1_000_000


class Charged(NamedTuple):
    """A batch that was charged to the quotas of its site and key."""

    site: Meter
    key: Meter
    hits: int
    size: int


class HitQuotas:
    """The quotas for all sites and keys that recently sent hits to this collector. Thread-safe.

    Args:
        site_default: limits for a site that has no stored quota.
        key_default: limits for a key that has no stored quota.
        clock: the clock by which pending changes of quotas take effect.
        burst_s: a bucket's capacity, in seconds.
        now_ms: a monotonic clock, in ms.
        max_resources: maximum number of sites and keys with buckets. The resource that was used least recently loses
            its buckets. If it is used again, its buckets are full.
    """

    def __init__(
        self,
        site_default: HitLimits,
        key_default: HitLimits,
        *,
        clock: Clock,
        burst_s: int = 2,
        now_ms: Callable[[], int] = monotonic_ms,
        max_resources: int = MAX_RESOURCES,
    ) -> None:
        self._site_default = site_default
        self._key_default = key_default
        self._burst_s = burst_s
        self._now_ms = now_ms
        self._clock = clock
        self._max_resources = max_resources
        self._lock = threading.Lock()
        self._meters: OrderedDict[str, Meter] = OrderedDict()
        # The senders whose last batch was refused. Only these senders are checked before a batch is queued.
        self._short: OrderedDict[Sender, Grant] = OrderedDict()
        self._active: set[Meter] = set()
        self._live, self._round = 1, 0
        self._others: dict[str, list[QuotaUse]] = {}
        self._reported_ms = now_ms()

    def __len__(self) -> int:
        """Return how many resources have buckets."""
        return len(self._meters)

    def charge(self, sender: Sender, grant: Grant, hits: int, size: int) -> Charged | QuotaExceeded:
        """Charge a batch to its site and key, or return the error for a batch that must wait.

        Args:
            sender: key and site header, as the batch or its stream named them.
            grant: the sender's key and site.
            hits: hits in the batch.
            size: bytes in the batch.
        """
        with self._lock:
            now_ms = self._now_ms()
            site, key = self._present_meters(grant, now_ms)
            charges = _charges(site, key, hits, size)
            self._active.add(site)
            self._active.add(key)
            if charge_all(charges, now_ms):
                error = _exceeded(site, key, charges, now_ms)
                self._short[sender] = grant
                if len(self._short) > MAX_SHORT_SENDERS:
                    self._short.popitem(last=False)
                return error
            if self._short:
                self._short.pop(sender, None)
            site.count(hits, size)
            key.count(hits, size)
            return Charged(site, key, hits, size)

    def give_back(self, charged: Charged) -> None:
        """Return a batch's charge, because the batch was not stored and must be sent again."""
        with self._lock:
            for meter in (charged.site, charged.key):
                meter.give_back(charged.hits, charged.size)

    def headers(self, charged: Charged) -> tuple[tuple[str, str], ...]:
        """Return the headers `ratelimit-policy` and `ratelimit` for an accepted batch.

        The headers name the quota of which the smallest part remains in this collector.
        """
        with self._lock:
            now_ms = self._now_ms()
            left = [
                (min(limit, bucket.tokens(now_ms)), limit, kind)
                for meter, kinds in ((charged.site, _KINDS[:2]), (charged.key, _KINDS[2:]))
                for bucket, limit, kind in zip((meter.hits, meter.bytes), meter.limits, kinds, strict=True)
            ]
        tokens, limit, kind = min(left, key=lambda each: each[0] / each[1])
        return (("ratelimit-policy", f'"{kind}";q={limit};w=1'), ("ratelimit", f'"{kind}";r={tokens};t=1'))

    @property
    def live(self) -> int:
        """The number of live collectors, including this collector."""
        return self._live

    @property
    def any_short(self) -> bool:
        """Whether any sender's last batch was refused. The property takes no lock."""
        return bool(self._short)

    def is_short(self, sender: Sender) -> bool:
        """Return whether the sender's last batch was refused. The check takes no lock."""
        return sender in self._short

    def forget(self, sender: Sender) -> None:
        """Forget that the sender's last batch was refused, because the sender may no longer send hits."""
        with self._lock:
            self._short.pop(sender, None)

    def refusal(self, sender: Sender, grant: Grant | None, hits: int, size: int) -> QuotaExceeded | None:
        """Return the error for a batch that `charge` would refuse now, or None. Nothing is charged.

        Args:
            sender: key and site header, as the batch or its stream named them.
            grant: the sender's present key and site, with their present quotas. None while the directory is
                unavailable: the grant of the last refused batch is then used.
            hits: hits in the batch.
            size: bytes in the batch.
        """
        with self._lock:
            kept = self._short.get(sender)
            if kept is None:
                return None
            now_ms = self._now_ms()
            site, key = self._present_meters(grant or kept, now_ms)
            charges = _charges(site, key, hits, size)
            if not any(bucket.wait_ms(cost, now_ms) for bucket, cost in charges):
                return None
            self._active.add(site)
            self._active.add(key)
            return _exceeded(site, key, charges, now_ms)

    def report(self, collector: str) -> CollectorReport:
        """Return how this collector used quotas since the last report. Starts the next period."""
        with self._lock:
            now_ms = self._now_ms()
            elapsed_s = max(1, now_ms - self._reported_ms) / 1_000
            self._reported_ms = now_ms
            uses = sorted(
                (meter.ended_period(elapsed_s) for meter in self._active),
                key=lambda use: -max(use.hits.per_s / use.limits.hits_s, use.bytes.per_s / use.limits.bytes_s),
            )
            self._active = {meter for meter in self._active if not meter.is_idle}
            most = max(1, MAX_REPORTED // self._live)
            return CollectorReport(collector, self._site_default, self._key_default, tuple(uses[:most]))

    def share(self, reports: Sequence[CollectorReport], collector: str) -> None:
        """Adopt all live collectors' reports; from the next batch on, shares are computed from the reports."""
        others: dict[str, list[QuotaUse]] = {}
        for report in reports:
            for use in report.uses if report.collector != collector else ():
                others.setdefault(use.resource, []).append(use)
        with self._lock:
            self._live = len({collector, *(report.collector for report in reports)})
            self._others = others
            self._round += 1

    def _present_meters(self, grant: Grant, now_ms: int) -> tuple[Meter, Meter]:
        """Return the meters of a site and key, with this collector's present share in the present quotas."""
        site = self._meter(grant.site.name, now_ms)
        key = self._meter(ingest_key_name(grant.key.merchant, grant.key.key_id), now_ms)
        site_quota, key_quota = grant.site.quota, grant.key.quota
        if site_quota.pending or key_quota.pending:
            utc_ms = self._clock.now()
            site_quota, key_quota = site_quota.at(utc_ms), key_quota.at(utc_ms)
        site.refresh(site_quota, self._site_default, now_ms, self._round, self._live, self._others)
        key.refresh(key_quota, self._key_default, now_ms, self._round, self._live, self._others)
        return site, key

    def _meter(self, resource: str, now_ms: int) -> Meter:
        meter = self._meters.get(resource)
        if meter is None:
            meter = self._meters[resource] = Meter(resource, self._burst_s, now_ms)
            if len(self._meters) > self._max_resources:
                _, unused = self._meters.popitem(last=False)
                self._active.discard(unused)
        else:
            self._meters.move_to_end(resource)
        return meter


def _charges(site: Meter, key: Meter, hits: int, size: int) -> Sequence[tuple[TokenBucket, int]]:
    return ((site.hits, hits), (site.bytes, size), (key.hits, hits), (key.bytes, size))


def _exceeded(site: Meter, key: Meter, charges: Sequence[tuple[TokenBucket, int]], now_ms: int) -> QuotaExceeded:
    """Return the error for the quota with the longest wait, and note which quotas are short."""
    waits = [bucket.wait_ms(cost, now_ms) for bucket, cost in charges]
    hits = charges[0][1]
    site.refused(hits, bool(waits[0]), bool(waits[1]))
    key.refused(hits, bool(waits[2]), bool(waits[3]))
    kind, meter = max(zip(waits, _KINDS, strict=True))[1], site
    if kind in (QuotaKind.KEY_HITS, QuotaKind.KEY_BYTES):
        meter = key
    what, limit = (
        ("hit", meter.limits.hits_s)
        if kind in (QuotaKind.SITE_HITS, QuotaKind.KEY_HITS)
        else ("byte", meter.limits.bytes_s)
    )
    subject, seconds = meter.resource, max(waits) / 1_000
    wait_s = f"{seconds:.3f}"
    return QuotaExceeded(
        f"{subject} may send {counted(limit, what)} per second: send the batch again in {wait_s} s, and send less or "
        "ask the operator for a larger quota",
        retry_after_s=seconds,
        subject=subject,
        quota=kind,
        limit=limit,
        window_s=1,
        wait_s=wait_s,
    )


_KINDS: Final = (QuotaKind.SITE_HITS, QuotaKind.SITE_BYTES, QuotaKind.KEY_HITS, QuotaKind.KEY_BYTES)
