"""Builds visits across days with different policies (rules L4 and §4).

A visit has the policy of the day on which it begins. A day's policy depends on the day's logic version, and on the
site's changes of its policy. If a day's policy differs from the previous day's policy, settlement calls `build_after`.
Carried-in visits continue under the previous day's policy, which the settlement of the previous day has already applied
to these visits. All other hits form visits under the day's own policy. Whatever logic versions two neighbouring days
have, every hit is in at most one visit. `build_by_start` builds visits for any range of time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import reduce
from typing import Final

import numpy as np
import polars as pl

from hitmesh.model.arrays import I64Array
from hitmesh.model.sites import VisitPolicy
from processor.rules.carry import no_open_visits
from processor.rules.visits import ORPHAN, TIMELINE, Summaries, Visits, build_visits

_NEVER: Final = np.iinfo(np.int64).max


def build_after(
    hits: pl.DataFrame, carried: pl.DataFrame, carried_policy: VisitPolicy, policy: VisitPolicy, zone: str
) -> Visits:
    """Build visits as `build_visits` does, with a separate policy for carried-in visits.

    The carried-in visits come first in the result. Callers use the `line` of the result to find the visits that are
    open at the day's end. A visit lasts at most a day (rule S5), so no carried-in visit is open at the day's end. The
    `line` of the result therefore contains neither carried-in visits nor hits of carried-in visits.

    Args:
        hits: as for `build_visits`.
        carried: the visits that were open at the day's start, with CARRY_COLUMNS.
        carried_policy: the policy for carried-in visits; its cap must be at most a day.
        policy: the policy for all other visits.
        zone: the site's time zone, for split_at_local_midnight.
    """
    continued = build_visits(hits, carried, carried_policy, zone)
    is_carried = continued.visits.first < 0
    goes_on = continued.visit_of != ORPHAN
    goes_on[goes_on] = is_carried[continued.visit_of[goes_on]]
    rest = np.flatnonzero(~goes_on)
    begun = build_visits(hits[rest], no_open_visits(), policy, zone)
    before, after = continued.visits.only(is_carried), _with_rows(begun.visits, rest)
    visit_of = np.full(hits.height, ORPHAN, np.int64)
    visit_of[goes_on] = (np.cumsum(is_carried) - 1)[continued.visit_of[goes_on]]
    visit_of[rest] = _numbered_from(len(before), begun.visit_of)
    line = replace(begun.line, row=rest[begun.line.row], number=_numbered_from(len(before), begun.line.number))
    return Visits(visit_of, _together(before, after), line)


def build_by_start(
    hits: pl.DataFrame,
    carried: pl.DataFrame,
    policies: Sequence[tuple[int, VisitPolicy]],
    zone: str,
    timeline: Sequence[str] = TIMELINE,
) -> tuple[I64Array, Summaries]:
    """Build visits, each under the policy that is in force when the visit begins.

    Args:
        hits: as for `build_visits`.
        carried: as for `build_visits`; the visits may have begun under different policies.
        policies: the policies, each with the instant from which it is in force, ascending. Hits and carried-in visits
            must not be before the first instant.
        zone: the site's time zone, for split_at_local_midnight.
        timeline: as for `build_visits`.

    Returns:
        Each hit's visit (or ORPHAN), and the visits. Visits that began under an earlier policy come first. Visits under
        the same policy are in the order of `build_visits`.
    """
    if len(policies) == 1:
        found = build_visits(hits, carried, policies[0][1], zone, timeline)
        return found.visit_of, found.visits
    visit_of = np.full(hits.height, ORPHAN, np.int64)
    times, starts = hits["event_time"].to_numpy(), carried["start"].to_numpy()
    rows, number, parts = np.arange(hits.height), 0, []
    for place, (begin, policy) in enumerate(policies):
        end = policies[place + 1][0] if place + 1 < len(policies) else _NEVER
        of_part = np.flatnonzero((starts < end) & ((starts >= begin) | (place == 0)))
        found = build_visits(hits[rows], carried[of_part], policy, zone, timeline)
        is_kept = found.visits.start < end
        of_kept = found.visit_of != ORPHAN
        of_kept[of_kept] = is_kept[found.visit_of[of_kept]]
        visit_of[rows[of_kept]] = number + (np.cumsum(is_kept) - 1)[found.visit_of[of_kept]]
        parts.append(_with_carried(_with_rows(found.visits.only(is_kept), rows), of_part))
        number += int(is_kept.sum())
        rows = rows[~of_kept & (times[rows] >= end)]
    return visit_of, reduce(_together, parts)


def _with_carried(visits: Summaries, places: I64Array) -> Summaries:
    """Return the summaries; for a carried-in visit, `first` refers to the visit's place among all carried-in visits."""
    first = visits.first.copy()
    is_carried = first < 0
    first[is_carried] = -1 - places[-1 - first[is_carried]]
    return replace(visits, first=first)


def _with_rows(visits: Summaries, rows: I64Array) -> Summaries:
    """Return the summaries of visits that were built from some hits, with row numbers that refer to all hits.

    `rows` contains, for each hit from which visits were built, its row among all hits.
    """

    def row_of(places: I64Array) -> I64Array:
        found: I64Array = np.where(places >= 0, rows[np.maximum(places, 0)], places) if len(rows) else places
        return found

    return replace(visits, first=row_of(visits.first), landing=row_of(visits.landing), exit=row_of(visits.exit))


def _numbered_from(first: int, numbers: I64Array) -> I64Array:
    return np.where(numbers == ORPHAN, ORPHAN, numbers + first)


def _together(visits: Summaries, others: Summaries) -> Summaries:
    names = Summaries.__dataclass_fields__
    return Summaries(**{name: np.concatenate([getattr(visits, name), getattr(others, name)]) for name in names})
