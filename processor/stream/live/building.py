"""Builds visits as columns (journey step 5). The input is the hits and open visits of many timelines.

Decides how the results of `rules.visits` are stored: numbers for dimensions, exit page, order flag and deadline. The
fast path and the slow path (`timelines_step`) both call `build`. The fast path continues from the current open visit.
The slow path continues from the visit that was open at the horizon. The module `horizon` calls `build` too, when the
horizon moves.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from hitmesh.model.arrays import BoolArray, I32Array, I64Array
from hitmesh.model.rows.rollup_rows import VISIT_DIMENSIONS
from processor.rules.seam import build_by_start
from processor.rules.visits import VIEW_TYPES, Summaries
from processor.stream.live.interning import Interned
from processor.stream.live.sites import BuildingRules, Sites
from processor.stream.live.visit_table import VisitColumns


@dataclass(frozen=True, slots=True)
class Built:
    """The visits that were built for some timelines. Carried-in visits are included.

    Attributes:
        visits: (m,) grouped by their sites' rules. The visits under the same rules are sorted by timeline and start.
        visit_of: (hits,) each hit's visit as an index into `visits`; −1 for an orphan.
        carried: (m,) index of each visit among the carried-in visits; −1 for a new visit.
    """

    visits: VisitColumns
    visit_of: I64Array
    carried: I64Array

    def is_last(self) -> BoolArray:
        """Return a boolean array (m,): True for the latest visit in each timeline."""
        last = np.ones(len(self.visits), np.bool_)
        last[:-1] = self.visits.key[1:] != self.visits.key[:-1]
        return last


def build(hits: pl.DataFrame, carried: VisitColumns, sites: Sites, interned: Interned) -> Built:
    """Build the visits that the hits form together with the carried-in visits.

    Args:
        hits: the hits with KEPT_COLUMNS, without copies, in any order.
        carried: the carried-in visits, at most one per timeline. A carried-in visit is older than all given hits of its
            timeline.
        sites: has the rules for all sites in `hits` and `carried`.
        interned: numbers for texts and for tuples of CARRIED_DIMENSIONS; new texts and tuples are added.
    """
    of_hits, of_carried = hits["site"].to_numpy(), carried.site
    times = np.concatenate([hits["event_time"].to_numpy(), carried.start])
    if not len(times):
        return Built(VisitColumns.empty(), np.empty(0, np.int64), np.empty(0, np.int64))
    groups = sites.by_rules(np.concatenate([of_hits, of_carried]), int(times.min()), int(times.max()))
    if len(groups) == 1:
        return _of_one_group(hits, carried, groups[0][0], sites, interned)
    parts: list[tuple[Built, I64Array, I64Array]] = []
    for rules, mask in groups:
        assert mask is not None  # if there are several groups, each group has a mask
        rows, places = np.flatnonzero(mask[: len(of_hits)]), np.flatnonzero(mask[len(of_hits) :])
        parts.append((_of_one_group(hits[rows], carried.take(places), rules, sites, interned), rows, places))
    return _together(parts, hits.height)


def own_dimensions(hits: pl.DataFrame, interned: Interned) -> I32Array:
    """Return each hit's own CARRIED_DIMENSIONS tuple, as if the hit were a visit.

    An orphan or a late hit has no visit, so its rows have these dimensions.
    """
    page = pl.when(pl.col("hit_type").is_in(VIEW_TYPES)).then(pl.col("page_path")).otherwise(None)
    return interned.numbers(hits.with_columns(page.cast(pl.String).alias("landing_page")))


def dimensions_of(hits: pl.DataFrame, built: Built, interned: Interned) -> I32Array:
    """Return the dimension tuple of each hit's visit. For an orphan, return the hit's own dimensions."""
    dims = np.zeros(hits.height, np.int32)
    inside = built.visit_of >= 0
    dims[inside] = built.visits.dims[built.visit_of[inside]]
    if not inside.all():
        dims[~inside] = own_dimensions(hits[np.flatnonzero(~inside)], interned)
    return dims


def _of_one_group(
    hits: pl.DataFrame, carried: VisitColumns, rules: BuildingRules, sites: Sites, interned: Interned
) -> Built:
    visit_of, summaries = build_by_start(hits, _as_open(carried), rules.policies, rules.zone, ("key",))
    is_carried = summaries.first < 0
    places = np.where(is_carried, -1 - summaries.first, -1)
    visits = VisitColumns.empty(len(summaries))
    before = carried.take(places[is_carried])
    rows = summaries.first[~is_carried]
    for name in ("key", "site"):
        column = getattr(visits, name)
        column[is_carried] = getattr(before, name)
        column[~is_carried] = hits[name].to_numpy()[rows]
    visits.start, visits.first_hash, visits.last = summaries.start, summaries.first_hash, summaries.last
    visits.hits, visits.acts, visits.views = (
        counts.astype(np.int32) for counts in (summaries.hits, summaries.interactive_hits, summaries.views)
    )
    visits.campaign = summaries.campaign
    visits.deadline = visits.last + sites.gaps(visits.site)
    _fill_pages(visits, summaries, is_carried, before, hits, interned)
    visits.has_order[is_carried] = before.has_order
    winning = visit_of[hits["wins_order"].to_numpy()]
    visits.has_order[winning[winning >= 0]] = True
    built = Built(visits, visit_of, places)
    return _by_timeline(built) if len(rules.policies) > 1 else built


def _by_timeline(built: Built) -> Built:
    """Return the visits, ordered by timeline and start."""
    order = np.lexsort((built.visits.start, built.visits.key))
    number = np.empty(len(order), np.int64)
    number[order] = np.arange(len(order))
    visit_of = built.visit_of.copy()
    visit_of[visit_of >= 0] = number[visit_of[visit_of >= 0]]
    return Built(built.visits.take(order), visit_of, built.carried[order])


def _fill_pages(
    visits: VisitColumns,
    summaries: Summaries,
    is_carried: BoolArray,
    before: VisitColumns,
    hits: pl.DataFrame,
    interned: Interned,
) -> None:
    """Set each visit's dimensions and exit page (rule S6)."""
    pages = hits["page_path"]
    landing = np.full(len(visits), 0, np.int32)
    viewed = summaries.landing >= 0
    landing[viewed] = interned.texts.codes(pages.gather(summaries.landing[viewed]))
    visits.exit[is_carried] = before.exit
    visits.exit[viewed] = interned.texts.codes(pages.gather(summaries.exit[viewed]))
    visits.dims[is_carried] = before.dims
    # If a carried-in visit had no view yet, its first view among the given hits determines its landing page.
    late_landing = np.flatnonzero(is_carried & viewed)
    late_landing = late_landing[before.views[np.cumsum(is_carried)[late_landing] - 1] == 0]
    if len(late_landing):
        dims = interned.with_value(visits.dims[late_landing], "landing_page", landing[late_landing])
        visits.dims[late_landing] = dims
    new = np.flatnonzero(~is_carried)
    if len(new):
        first = hits.select("hostname", *(name for name in VISIT_DIMENSIONS if name != "landing_page"))[
            summaries.first[new]
        ]
        texts = interned.texts.texts(landing[new]).alias("landing_page")
        visits.dims[new] = interned.numbers(first.with_columns(texts))


def _as_open(carried: VisitColumns) -> pl.DataFrame:
    """Return visits in the form of processor.rules.visits.OPEN_COLUMNS, with `key` as the timeline."""
    return pl.DataFrame(
        {
            "key": carried.key,
            "start": carried.start,
            "first_hash": carried.first_hash,
            "last": carried.last,
            "hits": carried.hits.astype(np.int64),
            "interactive_hits": carried.acts.astype(np.int64),
            "views": carried.views.astype(np.int64),
            "campaign_hash": carried.campaign,
        }
    )


def _together(parts: list[tuple[Built, I64Array, I64Array]], hits: int) -> Built:
    visit_of = np.full(hits, -1, np.int64)
    carried = []
    offset = 0
    for built, rows, places in parts:
        visit_of[rows] = np.where(built.visit_of >= 0, built.visit_of + offset, -1)
        carried.append(np.where(built.carried >= 0, places[built.carried] if len(places) else -1, -1))
        offset += len(built.visits)
    return Built(VisitColumns.concat(*(built.visits for built, _, _ in parts)), visit_of, np.concatenate(carried))
