"""Builds the visits for a visitor whose hits do not fit into memory. The visits are built in pieces of time.

Whether a hit starts a visit, extends a visit or is an orphan depends only on earlier hits. After a piece has been
processed, all the visitor's visits are therefore finished, except the latest visit of each timeline. The latest visit
of a timeline has at most `VisitPolicy.max_hits` hits (rule S5). Unfinished visits' hits are used again with the
next piece, so that each visit is built as a whole. An orphan changes no visit and is finished immediately (rule S2).

While pieces are cut, each of the visitor's hits takes 40 bytes of memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl

from hitmesh.model.arrays import BoolArray, I32Array, I64Array, U64Array
from processor.rules.carry import first_values, no_open_visits, open_rows
from processor.rules.visits import TIMELINE, Visits, build_visits, open_at
from processor.settle.inputs import DayInputs
from processor.settle.memory import SettleMemory
from processor.settle.spill import Spill
from processor.settle.visitor_ranges import VisitorRange
from processor.settle.window import chosen


@dataclass(frozen=True, slots=True)
class Step:
    """The visits that are known after a piece of time has been processed.

    Attributes:
        hits: the piece's hits, and the hits of visits that the previous piece left unfinished.
        carried: the carried-in visits that are unfinished before this piece.
        visits: the visits that were built from `hits` and `carried`.
        finished: whether each visit is finished.
    """

    hits: pl.DataFrame
    carried: pl.DataFrame
    visits: Visits
    finished: BoolArray


def cut_in_pieces(visitor: VisitorRange, wanted: BoolArray, memory: SettleMemory) -> Spill:
    """Return the wanted hits in groups of about `memory.range_hits` hits. The groups are in the order of rule S0."""
    pieces = _piece_numbers(visitor.column("event_time"), visitor.column("hit_hash"), wanted, memory.range_hits)
    spill, begin = Spill(memory.scratch), 0
    for rows in visitor.read():
        numbers = pieces[begin : begin + rows.height]
        begin += rows.height
        spill.add(chosen(rows, numbers >= 0), numbers[numbers >= 0].astype(np.int64))
    return spill


def _piece_numbers(times: pl.Series, hashes: pl.Series, wanted: BoolArray, limit: int) -> I32Array:
    """Return the piece number of each wanted hit, and −1 for all other hits.

    If hits have the same event time and hash, only `hit_id` decides their order. Such hits must be in the same piece.
    """
    pieces = np.full(len(wanted), -1, np.int32)
    rows = np.flatnonzero(wanted)
    time, hit_hash = times.to_numpy()[rows], hashes.to_numpy()[rows]
    order: I64Array = np.lexsort((hit_hash, time))
    begin = number = 0
    while begin < len(order):
        end = _next_cut(time, hit_hash, order, begin + limit)
        pieces[rows[order[begin:end]]] = number
        begin, number = end, number + 1
    return pieces


def _next_cut(times: I64Array, hashes: U64Array, order: I64Array, end: int) -> int:
    while (
        end < len(order) and times[order[end]] == times[order[end - 1]] and hashes[order[end]] == hashes[order[end - 1]]
    ):
        end += 1
    return end


def steps(
    pieces: Spill, carried: pl.DataFrame, build: Callable[[pl.DataFrame, pl.DataFrame], Visits]
) -> Iterator[Step]:
    """Yield the visits piece by piece. Each visit is finished in exactly one of the yielded steps.

    Args:
        pieces: the visitor's hits without copies, from `cut_in_pieces`.
        carried: the visitor's visits that were open before the first hit, with CARRY_COLUMNS.
        build: builds visits from hits and carried-in visits.
    """
    numbers = pieces.groups()
    held: list[pl.DataFrame] = []
    for number in numbers:
        hits = pl.concat([*held, *pieces.read(number)]).rechunk()
        visits = build(hits, carried)
        finished = np.ones(len(visits.visits), np.bool_)
        if number != numbers[-1]:
            finished[_latest(visits, hits, carried)] = False
        yield Step(hits, carried, visits, finished)
        is_held = visits.visit_of >= 0
        is_held[is_held] = ~finished[visits.visit_of[is_held]]
        goes_on = ~finished & (visits.visits.first < 0)
        held, carried = [chosen(hits, is_held)], carried[-1 - visits.visits.first[goes_on]]


def _latest(visits: Visits, hits: pl.DataFrame, carried: pl.DataFrame) -> I64Array:
    """Return the number of the latest visit in each timeline.

    `Summaries` is ordered by timeline and start. If the previous day has another policy, carried-in visits come first
    (`seam`). The last visit of a timeline is nevertheless the latest visit, because a carried-in visit has ended if the
    timeline has a later visit.
    """
    timelines = first_values(visits.visits, hits, carried, TIMELINE).with_row_index("number")
    latest: I64Array = timelines.group_by(TIMELINE).agg(pl.col("number").max())["number"].to_numpy().astype(np.int64)
    return latest


def derived_in_pieces(inputs: DayInputs, pieces: Spill, begin: int) -> pl.DataFrame:
    """Return the visitor's visits that are open at the day's start `begin`.

    The visits are derived from earlier hits (rule L4).
    """
    found, policy = [no_open_visits()], inputs.carried_policy or inputs.policy

    def build(hits: pl.DataFrame, carried: pl.DataFrame) -> Visits:
        return build_visits(hits, carried, policy, inputs.zone)

    for step in steps(pieces, no_open_visits(), build):
        still_open = open_at(step.visits, begin, policy)
        is_finished = np.isin(still_open.first, step.visits.visits.first[step.finished])
        found.append(open_rows(still_open.only(is_finished), step.hits, step.carried))
    return pl.concat(found)
