"""Builds visits from timelines (journey step 5, rules S0 to S6).

Decides which hits form visits, and which hits are orphans. The input is a site's hits without copies, and the visits
that were open before the first hit. Nearly every timeline can be split into visits by comparing neighbouring hits. A
comparison of neighbouring hits is not enough in two cases: a visit reaches a cap or another local date, or a
non-interactive hit has another campaign. In these cases, `timeline.walk` goes through the timeline hit by hit. In all
other cases, the comparison and the walk give the same visits.

All times are UTC ms.

A worked example: ten hits of one visitor on a morning. In the diagram, each character stands for 2 min. Square brackets
enclose a visit, `o` is an orphan, and `30'` is a gap of 30 min.

    09:00          09:30     09:50     10:10          10:40     11:00     11:20     11:40
    1      30'     2   20'   3   20'   4   30' + 1 ms 5 6       7 8       9         10
    [------------- visit 1 ------------]              o [2]     [3]       o         [4]

    hit  time          type        sent with        visit  decided by
      1  09:00:00.000  PAGE_VIEW   campaign=spring      1  S1: no visit is open
      2  09:30:00.000  PAGE_VIEW                        1  S1: a gap of exactly 30 min splits nothing
      3  09:50:00.000  ENGAGEMENT                       1  S2: a non-interactive hit extends the open visit
      4  10:10:00.000  PAGE_VIEW                        1  S1: the gap is 20 min, from hit 3
      5  10:40:00.001  ENGAGEMENT                       -  S1 ends visit 1; S2: a non-interactive hit starts no visit
      6  10:45:00.000  PAGE_VIEW                        2  S1: the gap is 35 min, from hit 4; orphans extend nothing
      7  11:00:00.000  PAGE_VIEW   campaign=summer      3  S3: visit 2 has no campaign
      8  11:05:00.000  PAGE_VIEW                        3  S3: a hit without a campaign keeps that of the visit
      9  11:20:00.000  ORDER       offline              -  S2: an offline hit is in no visit
     10  11:40:00.000  PAGE_VIEW                        4  S1: the gap is 35 min, from hit 8

    visit  hits  interactive hits  views  duration
        1     4                 3      3    70 min
        2     1                 1      1     0 min  a bounce
        3     2                 2      2     5 min
        4     1                 1      1     0 min  a bounce
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
import polars as pl

from hitmesh.model.arrays import BoolArray, I32Array, I64Array, U64Array
from hitmesh.model.hit_types import HitType
from hitmesh.model.sites import VisitPolicy
from hitmesh.model.zones import local_days
from processor.rules.timeline import Step, Timeline, walk

ORPHAN: Final = -1
VIEW_TYPES: Final = (int(HitType.PAGE_VIEW), int(HitType.SCREEN_VIEW))

# The columns that `open_visits` must have. `processor.rules.carry` adds the dimensions.
OPEN_COLUMNS: Final[dict[str, pl.DataType]] = {
    "visitor_hi": pl.UInt64(),
    "visitor_lo": pl.UInt64(),
    "excluded": pl.Boolean(),
    "start": pl.Int64(),
    "first_hash": pl.UInt64(),  # hit_hash of the first hit
    "last": pl.Int64(),
    "hits": pl.Int64(),
    "interactive_hits": pl.Int64(),
    "views": pl.Int64(),
    "campaign_hash": pl.UInt64(),  # the current campaign
}
# The columns that identify a timeline among a site's hits.
TIMELINE: Final = ("visitor_hi", "visitor_lo", "excluded")
_NO_PLACE: Final = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True)
class Summaries:
    """The summaries of visits (m,), ordered by timeline and start.

    Attributes:
        first: the row of the first hit; −1 − i if open visit i was carried in.
        start: the first hit's event time.
        first_hash: the first hit's hit_hash.
        last: the last hit's event time.
        hits: the number of hits in the visit, including hits before the visit was carried in.
        interactive_hits: the number of interactive hits in the visit.
        views: the number of page and screen views in the visit.
        landing: the row of the first view among the given rows; −1 without a view.
        exit: the row of the last view among the given rows; −1 without a view.
        campaign: the hash of the current campaign; 0 = none.
        bot_behaviour: whether the visit began because the previous visit was full (rule S5).
    """

    first: I64Array
    start: I64Array
    first_hash: U64Array
    last: I64Array
    hits: I64Array
    interactive_hits: I64Array
    views: I64Array
    landing: I64Array
    exit: I64Array
    campaign: U64Array
    bot_behaviour: BoolArray

    def __len__(self) -> int:
        return len(self.first)

    def only(self, kept: BoolArray) -> Summaries:
        """Return the visits for which `kept` is true."""
        return Summaries(**{name: getattr(self, name)[kept] for name in Summaries.__dataclass_fields__})


@dataclass(frozen=True, slots=True)
class Line:
    """Hits and carried-in visits, sorted by timeline, event time, hit_hash and hit_id.

    Each element stands for a hit or for a carried-in visit. Every array has the shape (n,). `row` is the row of a hit,
    or −1 − i for open visit i. `weight`, `acts` and `views` are the numbers of hits, interactive hits and views for
    which an element stands. `number` is the index of the element's visit, or ORPHAN. `starts` is true for an element
    that starts a visit. `full` is true for an element that starts a visit because the previous visit was full (rule
    S5).
    """

    row: I64Array
    timeline: I64Array
    time: I64Array
    start: I64Array
    first_hash: U64Array
    weight: I64Array
    acts: I64Array
    views: I64Array
    campaign: U64Array
    number: I64Array
    starts: BoolArray
    full: BoolArray

    def only(self, kept: BoolArray) -> Line:
        """Return the elements for which `kept` is true."""
        return Line(**{name: getattr(self, name)[kept] for name in Line.__dataclass_fields__})


@dataclass(frozen=True, slots=True)
class Visits:
    """The visits that were built from hits.

    Attributes:
        visit_of: (hits,) each hit's index into `visits`, or ORPHAN if the hit is in no visit.
        visits: one entry per visit; carried-in visits have a negative `first`.
        line: the hits without offline hits, and the carried-in visits, sorted.
    """

    visit_of: I64Array
    visits: Summaries
    line: Line


def build_visits(
    hits: pl.DataFrame,
    open_visits: pl.DataFrame,
    policy: VisitPolicy,
    zone: str = "UTC",
    timeline: Sequence[str] = TIMELINE,
) -> Visits:
    """Build the visits of one site's hits.

    If `timeline` includes the site, the hits may be from several sites with the same policy.

    Args:
        hits: the timeline's columns, event_time, hit_hash, hit_type, interactive, offline, campaign_hash; in any order,
            without copies.
        open_visits: the open visits with `OPEN_COLUMNS` and the timeline's columns; at most one visit per timeline. An
            open visit must be older than all hits of its timeline.
        policy: gap, caps and flags.
        zone: the site's time zone, for split_at_local_midnight.
        timeline: columns that both frames have. Rows with equal values in these columns form a timeline.
    """
    line = _sorted_line(hits, open_visits, timeline)
    starts, inside, unsure = _cut_at_neighbours(line, policy)
    days = local_days(zone, line.start) if policy.split_at_local_midnight else None
    unsure |= _beyond_caps(line, starts, inside, days, policy)
    full = _walk_unsure(line, starts, inside, unsure, days, policy)
    line.number[:] = np.where(inside, np.cumsum(starts) - 1, ORPHAN)
    line.starts[:] = starts
    line.full[:] = full
    visit_of = np.full(hits.height, ORPHAN, np.int64)
    real = line.row >= 0
    visit_of[line.row[real]] = line.number[real]
    return Visits(visit_of, summarise(line), line)


def summarise(line: Line) -> Summaries:
    """Return the summaries of the visits in a `Line`.

    The line must contain all hits of each visit, beginning with the visit's first hit.
    """
    inside = line.only(line.number != ORPHAN)
    begins = np.flatnonzero(inside.starts)
    ends = np.append(begins[1:], len(inside.row))[: len(begins)] - 1
    is_view = (inside.views > 0) & (inside.row >= 0)
    places = np.arange(len(inside.row))
    landing = _reduced(np.minimum, np.where(is_view, places, _NO_PLACE), begins)
    leaving = _reduced(np.maximum, np.where(is_view, places, -1), begins)
    seen = leaving >= 0
    return Summaries(
        first=inside.row[begins],
        start=inside.start[begins],
        first_hash=inside.first_hash[begins],
        last=inside.time[ends],
        hits=_reduced(np.add, inside.weight, begins),
        interactive_hits=_reduced(np.add, inside.acts, begins),
        views=_reduced(np.add, inside.views, begins),
        landing=np.where(seen, inside.row[np.where(seen, landing, -1)], -1) if len(seen) else landing,
        exit=np.where(seen, inside.row[leaving], -1) if len(seen) else leaving,
        campaign=inside.campaign[begins],
        bot_behaviour=inside.full[begins],
    )


def open_at(visits: Visits, instant: int, policy: VisitPolicy) -> Summaries:
    """Return the visits that a hit at `instant` or later could extend (rule L4).

    Each visit is in its state before `instant`.
    """
    line = visits.line
    before = line.only((line.time < instant) & (line.number != ORPHAN))
    latest = np.ones(len(before.row), np.bool_)
    latest[:-1] = before.timeline[1:] != before.timeline[:-1]
    number = before.number[latest]
    reachable = (before.time[latest] + policy.gap_ms >= instant) & (
        visits.visits.start[number] + policy.cap_ms > instant
    )
    is_open = np.zeros(len(visits.visits), np.bool_)
    is_open[number[reachable]] = True
    return summarise(before.only(is_open[before.number]))


def _are_tied(line: pl.DataFrame, names: Sequence[str]) -> bool:
    """Return whether any two neighbouring rows have equal values in all columns `names`.

    If two hits have equal values in these columns and neither is a copy, their ids differ but have the same hash.
    """
    tied = np.ones(max(line.height - 1, 0), np.bool_)
    for name in reversed(names):  # hashes are compared first, because nearly all neighbours differ in their hashes
        if not tied.any():
            return False
        values = line[name].to_numpy()
        tied &= values[1:] == values[:-1]
    return bool(tied.any())


@cache
def _line_of_hits(timeline: tuple[str, ...]) -> list[pl.Expr]:
    """Return the columns of a `Line` for hits. The expressions are built once per process."""
    return [
        pl.int_range(pl.len(), dtype=pl.Int64).alias("row"),
        *map(pl.col, timeline),
        pl.col("event_time").alias("time"),
        pl.col("hit_hash").alias("hash"),
        pl.col("event_time").alias("start"),
        pl.col("hit_hash").alias("first_hash"),
        pl.lit(1, pl.Int64).alias("weight"),
        pl.col("interactive").cast(pl.Int64).alias("acts"),
        pl.col("hit_type").is_in(VIEW_TYPES).cast(pl.Int64).alias("views"),
        pl.col("campaign_hash").fill_null(0),
    ]


@cache
def _line_of_visits(timeline: tuple[str, ...]) -> list[pl.Expr]:
    """Return the columns of a `Line` for open visits. The expressions are built once per process."""
    return [
        (-1 - pl.int_range(pl.len(), dtype=pl.Int64)).alias("row"),
        *map(pl.col, timeline),
        pl.col("last").alias("time"),
        pl.lit(0, pl.UInt64).alias("hash"),
        pl.col("start"),
        pl.col("first_hash"),
        pl.col("hits").alias("weight"),
        pl.col("interactive_hits").alias("acts"),
        pl.col("views"),
        pl.col("campaign_hash"),
    ]


@cache
def _changes(timeline: tuple[str, ...]) -> pl.Expr:
    """Return an expression: whether a row of a sorted line has another timeline than the row before."""
    return pl.any_horizontal(pl.col(name) != pl.col(name).shift(1) for name in timeline).fill_null(value=False)


def _sorted_line(hits: pl.DataFrame, open_visits: pl.DataFrame, timeline: Sequence[str]) -> Line:
    """Return hits and open visits as a sorted `Line`, in which no element is assigned to a visit yet."""
    of_hits = hits.select(_line_of_hits(tuple(timeline))).filter(~hits["offline"])
    carried = open_visits.select(_line_of_visits(tuple(timeline)))
    line = (pl.concat([of_hits, carried]) if carried.height else of_hits).sort(*timeline, "time", "hash")
    if _are_tied(line, (*timeline, "time", "hash")):
        ids = hits["hit_id"].gather(line["row"].clip(0))
        line = line.with_columns(ids).sort(*timeline, "time", "hash", "hit_id")
    names = ("row", "time", "start", "first_hash", "weight", "acts", "views", "campaign_hash")
    row, time, start, first_hash, weight, acts, views, campaign = (line[name].to_numpy() for name in names)
    changes = line.select(_changes(tuple(timeline)))
    number_of_timeline = np.cumsum(changes.to_series().to_numpy(), dtype=np.int64)
    n = len(row)
    number = np.empty(n, np.int64)
    return Line(
        row, number_of_timeline, time, start, first_hash, weight, acts, views, campaign, number, np.zeros(n, np.bool_),
        np.zeros(n, np.bool_),
    )  # fmt: skip


def _cut_at_neighbours(line: Line, policy: VisitPolicy) -> tuple[BoolArray, BoolArray, BoolArray]:
    """Return whether each element starts a visit, is in a visit, or is unsure, according to gaps and campaigns only.

    An element is unsure if it is non-interactive and has another campaign than its visit. A timeline with an unsure
    element must be walked hit by hit.
    """
    n = len(line.row)
    if n == 0:
        return np.zeros(0, np.bool_), np.zeros(0, np.bool_), np.zeros(0, np.bool_)
    cut = np.ones(n, np.bool_)
    cut[1:] = (line.timeline[1:] != line.timeline[:-1]) | (np.diff(line.time) > policy.gap_ms)
    acts = line.acts > 0
    segment = np.cumsum(cut) - 1
    begins = np.flatnonzero(cut)
    so_far: I64Array = np.cumsum(acts, dtype=np.int64)
    acted = so_far - (so_far[begins] - acts[begins])[segment]
    inside = acted > 0  # non-interactive hits at the start of a segment are orphans (rule S2)
    starts = acts & (acted == 1)
    if not policy.campaign_splits or not line.campaign.any():
        return starts, inside, np.zeros(n, np.bool_)
    named = line.campaign != 0
    latest = np.maximum.accumulate(np.where(named & acts, np.arange(n), -1))
    previous = np.concatenate([[-1], latest[:-1]])
    current = np.where(previous >= begins[segment], line.campaign[previous], np.uint64(0))
    differs = inside & named & (line.campaign != current)
    return starts | (differs & acts), inside, differs & ~acts


def _beyond_caps(
    line: Line, starts: BoolArray, inside: BoolArray, days: I64Array | I32Array | None, policy: VisitPolicy
) -> BoolArray:
    """Return whether each element exceeds a cap of its visit, or has a later local date than its visit.

    The visits in `line` are split only by gaps and campaigns.
    """
    beyond = np.zeros(len(starts), np.bool_)
    if not starts.any():
        return beyond
    begins = np.flatnonzero(starts)
    first = begins[np.cumsum(starts) - 1]  # for each element, its visit's first element; undefined for orphans
    beyond |= inside & (line.time - line.start[first] >= policy.cap_ms)
    counts = np.add.reduceat(np.where(inside, line.weight, 0), begins)
    beyond[begins[counts > policy.max_hits]] = True
    if days is not None:
        beyond |= inside & (days != days[first])
    return beyond


def _walk_unsure(
    line: Line,
    starts: BoolArray,
    inside: BoolArray,
    unsure: BoolArray,
    days: I64Array | I32Array | None,
    policy: VisitPolicy,
) -> BoolArray:
    """Go hit by hit through each timeline that has a hit in `unsure`.

    Overwrite `starts` and `inside` of the timeline's hits. Return whether each hit starts a visit because the previous
    visit was full.
    """
    full = np.zeros(len(starts), np.bool_)
    doubtful = np.unique(line.timeline[unsure])
    for begin, end in zip(
        np.searchsorted(line.timeline, doubtful, "left").tolist(),
        np.searchsorted(line.timeline, doubtful, "right").tolist(),
        strict=True,
    ):
        part = slice(begin, end)
        steps = walk(
            Timeline(
                times=line.time[part].tolist(),
                starts=line.start[part].tolist(),
                weights=line.weight[part].tolist(),
                interactive=(line.acts[part] > 0).tolist(),
                campaigns=line.campaign[part].tolist(),
                days=days[part].tolist() if days is not None else None,
            ),
            policy,
        )
        taken = np.array(steps, np.int64)
        inside[part] = taken != Step.ORPHAN
        starts[part] = taken >= Step.START
        full[part] = taken == Step.START_AFTER_FULL
    return full


def _reduced(how: np.ufunc, values: I64Array, begins: I64Array) -> I64Array:
    """Return `how.reduceat`, or an empty array if there is no group, because NumPy would raise an error."""
    reduced: I64Array = how.reduceat(values, begins) if len(begins) else np.empty(0, np.int64)
    return reduced
