"""The plan of a reprocessing, as a value: the stages that the explanation prints and the settler executes.

A plan contains every stage in the order of execution. Stages without work are included, so that the printed plan shows
which stages are skipped. Making a plan has no side effects.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

HIT_BYTES: Final = 120
"""Estimated size of a stored hit, in bytes: a packed record of 300 hits has about this size per hit."""
HIT_US: Final = 4.0
"""Estimated time to recompute a hit, in µs (docs/performance.md)."""
SITE_DAY_MS: Final = 30.0
"""Estimated time to recompute a site-day without hits, in ms. The time for each hit (HIT_US) is added."""
KEEP_REPLACED_DAYS: Final = 30
"""Number of days for which the rows of a replaced generation are kept for a rollback."""
KEEP_PLAN_DAYS: Final = 7
"""Number of days for which a plan is kept if the plan is not executed."""
KEEP_FINISHED_DAYS: Final = 90
"""Number of days for which a published, rolled back or cancelled reprocessing is kept after its last change."""
MAX_SITE_DAYS: Final = 20_000
"""Maximum number of site-days in a plan."""


class Kind(StrEnum):
    """The reason why history is recomputed.

    LOGIC: the logic changed. REPAIR: a store lost or damaged values. RULES: exclusion rules of sites changed. ERASE: a
    visitor's hits must be erased.
    """

    LOGIC = "logic"
    REPAIR = "repair"
    RULES = "rules"
    ERASE = "erase"


@dataclass(frozen=True, slots=True)
class Scan:
    """Read the raw hits of the site-days."""

    site_days: int
    hits: int
    raw_bytes: int


@dataclass(frozen=True, slots=True)
class Recompute:
    """Settle each site-day under a version of the logic, into a generation that no report reads."""

    logic: str
    site_days: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Compare:
    """Compare each new generation with the generation that reports read."""

    site_days: int


@dataclass(frozen=True, slots=True)
class Publish:
    """Make the new generations current, one site-day after the other, in ascending order of days."""

    site_days: int


@dataclass(frozen=True, slots=True)
class Retire:
    """Keep the rows of the replaced generations for a rollback, then remove the rows."""

    keep_days: int


Stage = Scan | Recompute | Compare | Publish | Retire


@dataclass(frozen=True, slots=True)
class Plan:
    """The stages of a reprocessing, in order.

    Attributes:
        stages: the stages in the order of execution; each kind of stage occurs exactly once.
        seconds: the estimated duration until the differences can be read.
    """

    stages: tuple[Stage, ...]
    seconds: float


def plan_of(
    logic: str,
    site_days: int,
    hits: int,
    *,
    following: int = 0,
    hit_us: float = HIT_US,
    site_day_ms: float = SITE_DAY_MS,
    keep_days: int = KEEP_REPLACED_DAYS,
) -> Plan:
    """Return the plan to recompute some site-days.

    Args:
        logic: the name of the logic version.
        site_days: the number of site-days with hits.
        hits: the number of accepted hits on these site-days.
        following: the number of site-days after the plan that are known to be recomputed too.
        hit_us: the measured or estimated time per hit, in µs.
        site_day_ms: the measured or estimated time per site-day, in ms.
        keep_days: days for which replaced rows are kept for a rollback.

    Example:
        >>> plan = plan_of("v1", site_days=2, hits=1_000_000)
        >>> [type(stage).__name__ for stage in plan.stages]
        ['Scan', 'Recompute', 'Compare', 'Publish', 'Retire']
        >>> plan.seconds
        4.06
    """
    seconds = round(hits * hit_us / 1e6 + site_days * site_day_ms / 1e3, 3)
    stages = (
        Scan(site_days, hits, hits * HIT_BYTES),
        Recompute(logic, site_days + following, seconds),
        Compare(site_days + following),
        Publish(site_days + following),
        Retire(keep_days if site_days else 0),
    )
    return Plan(stages, seconds)
