"""The settings and implementations of hitmesh.ports that the composition root passes to the control service's RPCs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from hitmesh.access.callers import TokenReader
from hitmesh.model.plan import MAX_SITE_DAYS
from hitmesh.ports import (
    Clock,
    CollectorReports,
    DirtyDays,
    Generations,
    Ledger,
    LogScan,
    Merchants,
    MetricStore,
    OneStream,
    ProgressReader,
    RawStore,
    RejectedStore,
    Reprocessings,
    SeriesStore,
    SiteDirectory,
    Streams,
)


@dataclass(frozen=True, slots=True)
class Bookkeeping:
    """The implementations of hitmesh.ports that account for hits and correct history."""

    ledger: Ledger
    generations: Generations
    dirty: DirtyDays
    progress: ProgressReader
    log_scan: LogScan
    reprocessings: Reprocessings
    metrics: MetricStore
    rejected: RejectedStore
    raw: RawStore
    series: SeriesStore
    streams: Streams
    stream: OneStream
    collector_reports: CollectorReports


@dataclass(frozen=True, slots=True)
class ReprocessingLimits:
    """Limits of a plan and of a comparison.

    Attributes:
        names: maximum number of site names in a request.
        sites: maximum number of sites in a plan.
        site_days: maximum number of site-days in a plan.
        compared_site_days: maximum number of site-days in a comparison by dimension; the limit exists because the query
            lists every site-day in its filter.
        cell_site_days: maximum number of site-days in a comparison by cell: 48,000 cells with 27 old and 27 new sums
            each take about 40 MB.
    """

    names: int = 1_000
    sites: int = 20_000
    site_days: int = MAX_SITE_DAYS
    compared_site_days: int = 2_000
    cell_site_days: int = 500


PRODUCTION: Final = ReprocessingLimits()
MAX_SITES: Final = 1_000
MAX_KEYS: Final = 1_000


@dataclass(frozen=True, slots=True)
class Backend:
    """The objects that all RPCs of a control service share: settings, and implementations of hitmesh.ports.

    `bookkeeping`: returns the implementations for ledger, drift and reprocessings; the first call opens the stores.
    `new_token`: returns a random text with at least 256 bits, in URL-safe characters.
    `open_reads`: if true, every caller may read every site; otherwise a caller needs a server key of the site's
    merchant.
    `tokens`: reads the tokens of callers; None if tokens are refused.
    `limits`: the limits for plans and comparisons.
    `max_sites`: maximum number of sites per merchant, counting deleted sites, whose data is kept.
    `max_keys`: maximum number of keys per merchant, not counting revoked and expired keys.
    """

    directory: SiteDirectory
    merchants: Merchants
    bookkeeping: Callable[[], Bookkeeping]
    clock: Clock
    new_token: Callable[[], str]
    open_reads: bool = False
    tokens: TokenReader | None = None
    limits: ReprocessingLimits = PRODUCTION
    max_sites: int = MAX_SITES
    max_keys: int = MAX_KEYS
