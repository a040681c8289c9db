"""Build a day's visits after a day that was settled under another logic version (settlement, rule L4).

The day on which a visit begins decides the visit's version. The carried-in visits therefore continue under the previous
day's policy, as that day's settlement followed these visits; the other hits form visits under the day's own policy.
Every hit is in at most one visit, whichever versions two neighbouring days have.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl

from hitmesh.model.arrays import I64Array
from hitmesh.model.sites import VisitPolicy
from processor.rules.carry import no_open_visits
from processor.rules.visits import ORPHAN, Summaries, Visits, build_visits


def build_after(
    hits: pl.DataFrame, carried: pl.DataFrame, carried_policy: VisitPolicy, policy: VisitPolicy, zone: str
) -> Visits:
    """Build the visits that `build_visits` builds, with a separate policy for carried-in visits.

    The carried-in visits come first in the result. Its `line` lacks these visits and their hits, because no carried-in
    visit is still open at the day's end: a visit lasts at most a day (rule S5).

    Args:
        hits: as for `build_visits`.
        carried: CARRY_COLUMNS, the visits that were open at the day's start.
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


def _with_rows(visits: Summaries, rows: I64Array) -> Summaries:
    """Return the summaries with row numbers that refer to all hits, given the row of each hit."""

    def row_of(places: I64Array) -> I64Array:
        found: I64Array = np.where(places >= 0, rows[places], places) if len(rows) else places
        return found

    return replace(visits, first=row_of(visits.first), landing=row_of(visits.landing), exit=row_of(visits.exit))


def _numbered_from(first: int, numbers: I64Array) -> I64Array:
    return np.where(numbers == ORPHAN, ORPHAN, numbers + first)


def _together(visits: Summaries, others: Summaries) -> Summaries:
    names = Summaries.__dataclass_fields__
    return Summaries(**{name: np.concatenate([getattr(visits, name), getattr(others, name)]) for name in names})
