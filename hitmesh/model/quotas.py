"""Quotas: how much a key, a site or a merchant may use, and how collectors share a quota.

All collectors together must keep a quota, but a collector decides about a batch without a request to a store. Once a
second, each collector therefore reports its use, and computes its own share of each quota from all reports. The shares
of all collectors that computed from the same reports add up to at most the quota.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple

MAX_QUOTA: Final = 10**9
"""Largest value of each field of a quota."""
MAX_QUOTA_AHEAD_MS: Final = 366 * 86_400_000
"""A change of a quota takes effect at most 366 days after the request."""
FLOOR: Final = 0.05
"""Part of a quota that is divided equally among all collectors, so that each collector can accept a first batch."""
HEADROOM: Final = 1.1
"""A collector that refuses nothing gets its use, multiplied by this number, so that its use can grow."""


@dataclass(frozen=True, slots=True)
class Quota:
    """A resource's quota. A limit that is None has the service's default.

    Attributes:
        hits_s: hits per second, for a site or a key.
        bytes_s: batch bytes per second, for a site or a key.
        report_units_min: report units per minute, for a merchant.
        pending: the limits that apply from a later time on.
        version: number of changes of the stored quota.
    """

    hits_s: int | None = None
    bytes_s: int | None = None
    report_units_min: int | None = None
    pending: PendingQuota | None = None
    version: int = field(default=0, compare=False)

    def at(self, now: int) -> Quota:
        """Return the quota in effect at a time, in UTC ms. The quota is the same object until a change takes effect.

        Example:
            >>> quota = Quota(hits_s=5, pending=PendingQuota(1_000, Quota(hits_s=9)))
            >>> quota.at(999).hits_s, quota.at(1_000).hits_s
            (5, 9)
        """
        return self if self.pending is None or now < self.pending.effective_at else self.pending.quota


class PendingQuota(NamedTuple):
    """A change of a quota: from `effective_at` (UTC ms) on, the limits in `quota` apply."""

    effective_at: int
    quota: Quota


NO_QUOTA: Final = Quota()


class QuotaKind(StrEnum):
    """The kinds of quotas. The values are in errors, in the headers `ratelimit`, and in metric labels."""

    SITE_HITS = "site_hits"
    SITE_BYTES = "site_bytes"
    KEY_HITS = "key_hits"
    KEY_BYTES = "key_bytes"
    REPORT_UNITS = "report_units"


class HitLimits(NamedTuple):
    """The limits that are in effect for a site or key: hits per second, and bytes per second."""

    hits_s: int
    bytes_s: int


def limits_in(quota: Quota, default: HitLimits) -> HitLimits:
    """Return a quota's limits, with defaults filled in.

    Example:
        >>> limits_in(Quota(hits_s=5), HitLimits(100, 1_000))
        HitLimits(hits_s=5, bytes_s=1000)
    """
    return HitLimits(
        default.hits_s if quota.hits_s is None else quota.hits_s,
        default.bytes_s if quota.bytes_s is None else quota.bytes_s,
    )


class Use(NamedTuple):
    """A collector's recent use of a limit: accepted units per second, and whether the collector refused a batch."""

    per_s: float = 0.0
    is_short: bool = False


class QuotaUse(NamedTuple):
    """A collector's recent use of a resource's quota.

    Attributes:
        resource: full name of the site or key.
        limits: the limits in effect, for all collectors together.
        hits: use of the limit on hits.
        bytes: use of the limit on bytes.
        refused_hits_s: hits per second in refused batches.
    """

    resource: str
    limits: HitLimits
    hits: Use
    bytes: Use
    refused_hits_s: float = 0.0


class CollectorReport(NamedTuple):
    """A live collector, with its use of quotas. Resources that the collector did not use are left out.

    `site_default` and `key_default` are the limits of sites and keys without a quota of their own.
    """

    collector: str
    site_default: HitLimits
    key_default: HitLimits
    uses: tuple[QuotaUse, ...] = ()


class UnitsSpent(NamedTuple):
    """What a merchant's reports cost in a reporter.

    Attributes:
        merchant: the merchant's full name.
        since: identifies the count; a reporter that starts to count again uses another number.
        units: units spent since the count began.
        level: units that remain for all reporters together, as far as this reporter knows; negative after reports that
            cost more than remained.
    """

    merchant: str
    since: int
    units: int
    level: int


class ReporterReport(NamedTuple):
    """A live reporter, with what merchants spent. Merchants that spent nothing recently are left out."""

    reporter: str
    spent: tuple[UnitsSpent, ...] = ()


def share_of(limit: int, this: Use, others: Iterable[Use], live: int) -> float:
    """Return a collector's share in a limit, in units per second.

    A collector that refused nothing gets its recent use and some headroom. The collectors that refused batches divide
    the rest equally. If no collector refused anything, all collectors divide the rest equally. The shares of all
    collectors therefore add up to the limit.

    Args:
        limit: units per second that all collectors together may accept.
        this: the collector's use.
        others: the other collectors' use; collectors without use may be left out.
        live: the number of live collectors, including this collector and the collectors without use.

    Example:
        >>> share_of(1_000, Use(), [], live=4)
        250.0
        >>> share_of(1_000, Use(500, is_short=True), [Use(300)], live=4)
        645.0
        >>> share_of(1_000, Use(300), [Use(500, is_short=True)], live=4)
        330.0
    """
    uses = [this, *others]
    idle = max(0, live - len(uses))
    floor = FLOOR * limit / (len(uses) + idle)
    short = sum(use.is_short for use in uses)
    claims = sum(_claim(use, floor) for use in uses if not use.is_short) + idle * floor
    room = limit - short * floor
    scale = min(1.0, room / claims) if claims else 1.0
    rest = max(0.0, limit - claims * scale)
    if this.is_short:
        return rest / short
    return _claim(this, floor) * scale + (0.0 if short else rest / (len(uses) + idle))


def _claim(use: Use, floor: float) -> float:
    return max(floor, use.per_s * HEADROOM)
