"""The measured speed of reprocessings, from which a plan estimates its duration. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from hitmesh.model.plan import HIT_US, KEEP_REPLACED_DAYS, SITE_DAY_MS, Kind, Plan, plan_of
from hitmesh.model.reprocessings import Reprocessing

MIN_MEASURED_MS: Final = 1_000
"""Minimum duration in ms of a reprocessing whose speed is measured.

A shorter reprocessing spends most of its time waiting until the settler's current pass ends.
"""


class Speed(NamedTuple):
    """The speed of a reprocessing: time per hit in µs, and additional time per site-day in ms."""

    hit_us: float = HIT_US
    site_day_ms: float = SITE_DAY_MS


def measured_speed(newest_first: Iterable[Reprocessing]) -> Speed:
    """Return the speed of the newest measured reprocessing, or the default speed if no reprocessing was measured.

    A measured duration does not show how much time the hits took and how much the site-days took. Both default times
    are therefore multiplied by the same factor.
    """
    for each in newest_first:
        estimate_s = plan_of(each.logic, each.site_days, each.hits).seconds
        if each.recompute_ms >= MIN_MEASURED_MS and estimate_s > 0:
            factor = each.recompute_ms / 1e3 / estimate_s
            return Speed(HIT_US * factor, SITE_DAY_MS * factor)
    return Speed()


def plan_for(reprocessing: Reprocessing, speed: Speed) -> Plan:
    """Return the plan of a reprocessing. The speed determines the plan's estimated duration."""
    return plan_of(
        reprocessing.logic,
        reprocessing.site_days,
        reprocessing.hits,
        following=reprocessing.following,
        hit_us=speed.hit_us,
        site_day_ms=speed.site_day_ms,
        keep_days=0 if reprocessing.kind is Kind.ERASE else KEEP_REPLACED_DAYS,
    )
