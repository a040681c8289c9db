"""The load that a mesh must take, and the rules of the plan. Pure."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final

from hitmesh.model.errors import RefusedError
from hitmesh.model.reasons import LocalReason

DAY_S: Final = 86_400
RANGES: Final[dict[str, tuple[float, float]]] = {
    "hits_per_day": (1, 1e12),
    "sites": (1, 1e9),
    "retention_days": (1, 7_300),
    "peak": (1, 100),
    "reports_per_day": (0, 1e12),
    "largest_site": (0, 1),
    "zones": (1, 9),
    "cpu_factor": (0.1, 10),
}
"""Smallest and largest permitted value of each field of a load."""


@dataclass(frozen=True, slots=True)
class Load:
    """What a mesh must take.

    Attributes:
        hits_per_day: accepted hits of an average day.
        sites: sites that get hits on a day.
        retention_days: days for which raw records, series and Druid's rows are kept.
        peak: rate of hits and of reports in the busiest hour, divided by the mean rate.
        reports_per_day: reports of an average day.
        largest_site: share of the hits that the largest site gets, from 0 to 1.
        zones: availability zones. The mesh must take the peak without one of them.
        cpu_factor: CPU time for the same work on the cluster's cores, divided by the time on the measured cores.

    Raises:
        RefusedError: a value is outside its range.

    Example:
        >>> load = Load(hits_per_day=864_000_000, sites=1_000, retention_days=30, reports_per_day=86_400)
        >>> load.mean_hits_s, load.peak_hits_s, load.peak_reports_s
        (10000.0, 30000.0, 3.0)
    """

    hits_per_day: float
    sites: float
    retention_days: float
    peak: float = 3.0
    reports_per_day: float = 0.0
    largest_site: float = 0.02
    zones: int = 3
    cpu_factor: float = 1.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value, (low, high) = getattr(self, field.name), RANGES[field.name]
            if not low <= value <= high:
                raise RefusedError(
                    f"{field.name} is {value:g}: it must be from {low:g} to {high:g}",
                    field=field.name,
                    reason=LocalReason.INVALID_LOAD,
                )

    @property
    def mean_hits_s(self) -> float:
        """Hits per second, averaged over a day."""
        return self.hits_per_day / DAY_S

    @property
    def peak_hits_s(self) -> float:
        """Hits per second in the busiest hour."""
        return self.mean_hits_s * self.peak

    @property
    def peak_reports_s(self) -> float:
        """Reports per second in the busiest hour."""
        return self.reports_per_day / DAY_S * self.peak


REPORTS_PER_SITE: Final = 10.0
"""Reports of a site and day, if the load does not say."""
