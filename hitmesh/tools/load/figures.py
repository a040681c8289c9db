"""Percentiles and rates of a run. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Spread:
    """Percentiles of values; all are None if there are no values."""

    p50: float | None
    p99: float | None
    max: float | None

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Return the percentiles for values in any order."""
        ordered = sorted(values)
        return cls(percentile(ordered, 50), percentile(ordered, 99), percentile(ordered, 100))

    def as_json(self, digits: int) -> dict[str, float | None]:
        """Return the percentiles, rounded."""
        values = {"p50": self.p50, "p99": self.p99, "max": self.max}
        return {name: None if value is None else round(value, digits) for name, value in values.items()}


def percentile(ordered: Sequence[float], percent: float) -> float | None:
    """Return a percentile of ascending values by nearest rank. The result is None if there are no values."""
    if not ordered:
        return None
    rank = -(-len(ordered) * percent // 100)
    return ordered[max(0, int(rank) - 1)]


def per_second(count: float, seconds: float) -> float:
    """Return a rate; 0 if no time passed."""
    return count / seconds if seconds > 0 else 0.0
