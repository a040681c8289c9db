"""Build the visits of a day's hits (settlement, rules L4 and S6).

The functions work on any set of hits that contains all hits of its visitors.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl

from hitmesh.model.arrays import BoolArray, I64Array
from hitmesh.model.limits import DERIVED_FROM_MS
from hitmesh.model.zones import DAY_MS
from processor.rules.carry import no_open_visits, open_rows
from processor.rules.seam import build_after
from processor.rules.visits import Visits, build_visits, open_at
from processor.settle.inputs import DayInputs


def wanted_hits(inputs: DayInputs, times: I64Array, visitors: I64Array) -> BoolArray:
    """Return which hits of these visitors are settled: those of the day, and those that may continue its last visits.

    Args:
        inputs: the settlement's inputs.
        times: event times (n,).
        visitors: visitor_lo (n,).
    """
    begin, end = inputs.owner.day * DAY_MS, (inputs.owner.day + 1) * DAY_MS
    active_at_end = visitors[(times >= end - inputs.policy.gap_ms) & (times < end)]
    wanted: BoolArray = (times >= begin) & (times < end)
    following = (times >= end) & (times < inputs.known_until)
    wanted[following] = np.isin(visitors[following], active_at_end)
    return wanted


def hits_before(inputs: DayInputs, times: I64Array) -> BoolArray:
    """Return which hits lie in the 24 h before the day, from which the carry is derived (rule L4)."""
    begin = inputs.owner.day * DAY_MS
    found: BoolArray = (times >= begin - DERIVED_FROM_MS) & (times < begin)
    return found


def derived_carry(inputs: DayInputs, before: pl.DataFrame) -> pl.DataFrame:
    """Return the visits open at the day's start, from `hits_before` without copies."""
    if before.is_empty():
        return no_open_visits()
    begin, policy = inputs.owner.day * DAY_MS, inputs.carried_policy or inputs.policy
    visits = build_visits(before, no_open_visits(), policy, inputs.zone)
    return open_rows(open_at(visits, begin, policy), before, no_open_visits())


def visits_of_day(inputs: DayInputs) -> Callable[[pl.DataFrame, pl.DataFrame], Visits]:
    """Return the function that builds visits from hits and carried-in visits, under the day's policies."""

    def build(hits: pl.DataFrame, carried: pl.DataFrame) -> Visits:
        if inputs.carried_policy is not None:
            return build_after(hits, carried, inputs.carried_policy, inputs.policy, inputs.zone)
        return build_visits(hits, carried, inputs.policy, inputs.zone)

    return build
