"""Applies steps. A step turns a partition's records into signed rows (journey step 5, A5 to A8, rules S7, T4, D5).

`prepare` decides whether hits are history hits, copies, late hits or on-time hits. `prepare` assigns numbers to new
sites, but changes nothing else in the state. `apply` changes the state and returns the rows to emit. Between `prepare`
and `apply`, the caller must determine which claims on orders and refunds win (rule D3). All records of a step must
belong to the same epoch. How an epoch's records are divided into steps changes neither the state nor the net sum of the
rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import polars as pl

from hitmesh.model.arrays import BoolArray, U64Array
from hitmesh.model.hit_types import HitType
from hitmesh.model.keys import timeline_keys
from hitmesh.model.stream_values import FoldedRows
from processor.rules.refunds import claims_refund, with_wins
from processor.stream.live.batch import are_history, are_on_time, epoch_of, hit_ids
from processor.stream.live.building import own_dimensions
from processor.stream.live.contributions import Contributions
from processor.stream.live.copies import find_stream_copies
from processor.stream.live.epochs import DueValues
from processor.stream.live.horizon import advance, move_horizon, tidy
from processor.stream.live.kept import KEPT_COLUMNS, forms_visits
from processor.stream.live.ledger import ledger_of, waiting_of
from processor.stream.live.rows import added, folded_traffic, folded_visits, named_cells, of_copies
from processor.stream.live.sites import SiteRules
from processor.stream.live.state import LiveState, PathCounts
from processor.stream.live.timelines_step import take_hits
from processor.stream.live.waiting import waiting_hits

_MICROS: Final = 1_000


@dataclass(frozen=True, slots=True)
class RecordsOf:
    """The records of a step, in log order. All records belong to the same partition and epoch.

    Attributes:
        ends: (offset, log time) of each record, including heartbeats and records that do not decode.
        hits: the records' hits in log order, with the columns of processor.stream.intake.PartitionIntake.
        siteless: ledger rows without a site.
    """

    ends: Sequence[tuple[int, int]]
    hits: pl.DataFrame
    siteless: Sequence[pl.DataFrame] = ()


@dataclass(frozen=True, slots=True)
class Prepared:
    """The classified hits of a step, before the step changes the state.

    Attributes:
        records: the step's records.
        rows: hits other than history hits, in log order: KEPT_COLUMNS without `wins_order` and `waits`, plus `order_id`
            and `refund_id`.
        ids: each row's id hash.
        collides: whether each row is a copy whose content differs from the original.
        is_history: whether each hit in the records is a history hit.
    """

    records: RecordsOf
    rows: pl.DataFrame
    ids: U64Array
    collides: BoolArray
    is_history: BoolArray

    @property
    def claiming(self) -> BoolArray:
        """Whether each row claims an order or a refund (n,). A copy never claims an order or a refund."""
        is_order = (pl.col("hit_type") == HitType.ORDER) & pl.col("order_id").is_not_null()
        claims = (is_order | claims_refund()) & ~pl.col("is_copy")
        claiming: BoolArray = self.rows.select(claims).to_series().to_numpy()
        return claiming


@dataclass(frozen=True, slots=True)
class Stepped:
    """The result of a step.

    Attributes:
        rows: the signed rows, which must be committed together with the partition's position.
        due: the final values of the previous epoch; None if no epoch ended.
        counts: the number of hits that took each path.
        waiting: the ledger entries (LEDGER_COLUMNS) for the epoch's hits that wait for settlement; None if the step
            adds no such hits. Entries of waiting hits must be stored before the rows become visible (rule S9).
    """

    rows: FoldedRows
    due: DueValues | None
    counts: PathCounts
    waiting: pl.DataFrame | None = None


def prepare(state: LiveState, records: RecordsOf, rules: Mapping[str, SiteRules]) -> Prepared:
    """Classify the records' hits and assign numbers to new sites, without any other change to the state.

    Args:
        state: the state after all earlier records.
        records: the step's records, whose epoch must not be before the state's epoch.
        rules: the rules of every site that is new to the state. Rules of further sites may be included.
    """
    known = placed(state, records, rules)
    copies = find_stream_copies(
        known.rows, known.rows["key"].to_numpy(), known.ids, state.ids, state.kept, state.limits.compared_copies
    )
    rows = known.rows.with_columns(pl.Series("is_copy", copies.is_copy))
    return replace(known, rows=rows, collides=copies.collides)


def placed(state: LiveState, records: RecordsOf, rules: Mapping[str, SiteRules]) -> Prepared:
    """Classify each hit independently of all other hits: timeline, id, and whether the hit is on time.

    The arguments are as for `prepare`. In the result, `is_copy` and `collides` are False.
    """
    state.sites.add(rules)
    hits = records.hits
    is_history = are_history(hits["event_time"].to_numpy(), hits["log_time"].to_numpy())
    open_hits = hits.filter(pl.Series(~is_history)) if is_history.any() else hits
    sites = state.sites.numbers(open_hits["site"])
    keys = timeline_keys(
        state.sites.hashes(sites),
        open_hits["visitor_hi"].to_numpy(),
        open_hits["visitor_lo"].to_numpy(),
        open_hits["excluded"].to_numpy(),
    )
    on_time = are_on_time(open_hits["event_time"].to_numpy(), open_hits["log_time"].to_numpy())
    rows = open_hits.with_columns(
        pl.Series("key", keys),
        pl.Series("site", sites),
        pl.Series("on_time", on_time),
        pl.lit(value=False).alias("is_copy"),
    )
    ids = hit_ids(keys, open_hits["hit_hash"].to_numpy())
    return Prepared(records, rows, ids, np.zeros(rows.height, np.bool_), is_history)


def apply(state: LiveState, prepared: Prepared, wins: BoolArray, *, is_redo: bool = False) -> Stepped:
    """Apply the records to the state. Return the rows and values to emit.

    Args:
        state: the state, which must not have changed since `prepare`.
        prepared: the result of `prepare`.
        wins: whether each row's claim on an order or a refund wins (n,).
        is_redo: whether the records have been applied before, perhaps divided into other steps.
    """
    due = _enter_epoch(state, prepared.records)
    _move_position(state, prepared.records.ends)
    contributions = Contributions(is_redo)
    advance(state, contributions)
    if due is not None:
        move_horizon(state, state.sums.epoch)
    rows = _to_be_kept(state, with_wins(prepared.rows, wins))
    rows = state.texts.take(rows, prepared.records.ends[0][1])
    counts = _take_rows(state, rows, contributions)
    counts.history = int(prepared.is_history.sum())
    state.kept.add(rows, state.sums.epoch)
    state.ids.add(prepared.ids, state.sums.epoch)
    traffic = folded_traffic(contributions.of_hits, state.sites, state.interned, state.limits.lg_k)
    visits = folded_visits(contributions.of_visits, state.sites, state.interned)
    state.sums.add_rows(traffic, visits)
    if is_redo:
        state.sums.touch(named_cells(contributions.cells(), state.sites))
    counted = ledger_of(prepared.records.hits, prepared.is_history, rows["is_copy"])
    waiting = _waiting_counts(state, rows) if counts.waiting else []
    state.sums.add_counts([*counted, *waiting, *prepared.records.siteless])
    noted = state.sums.waiting(state.partition, state.written) if counts.waiting else None
    tidy(state)
    return Stepped(FoldedRows(state.partition, traffic.rows, visits.rows), due, counts, noted)


def _enter_epoch(state: LiveState, records: RecordsOf) -> DueValues | None:
    """If the records begin a new epoch, begin this epoch and return the final values of the previous epoch.

    Otherwise return None.
    """
    epoch = epoch_of(records.ends[0][1])
    if epoch == state.sums.epoch:
        return None
    due = state.sums.take(state.partition, state.written)
    state.sums.begin(epoch)
    return due


def _move_position(state: LiveState, ends: Sequence[tuple[int, int]]) -> None:
    for offset, log_time in ends:
        state.next_offset = offset + 1
        state.log_time = max(state.log_time, log_time)
        state.written = max(log_time * _MICROS, state.written + 1)


def _to_be_kept(state: LiveState, rows: pl.DataFrame) -> pl.DataFrame:
    """Decide which rows wait for settlement. Return the rows with KEPT_COLUMNS."""
    rows = rows.with_columns(pl.lit(value=False).alias("waits"))
    forming = rows.select(forms_visits()).to_series().to_numpy()
    waits = waiting_hits(state, rows, forming)
    return rows.with_columns(pl.Series("waits", waits)).select(*KEPT_COLUMNS)


def _waiting_counts(state: LiveState, rows: pl.DataFrame) -> list[pl.DataFrame]:
    hits = rows.filter("waits").select("site", "event_time", "hit_hash", "excluded")
    return waiting_of(hits.with_columns(state.sites.texts(hits["site"].to_numpy()).alias("site")))


def _take_rows(state: LiveState, rows: pl.DataFrame, contributions: Contributions) -> PathCounts:
    """Add the contributions of all rows. Return the number of hits that took each path."""
    is_copy, on_time, offline, waits = (rows[name].to_numpy() for name in ("is_copy", "on_time", "offline", "waits"))
    contributions.of_hits += of_copies(rows.filter(pl.Series(is_copy)) if is_copy.any() else rows.clear())
    alone = ~is_copy & (~on_time | offline | waits)
    if alone.any():
        hits = rows.filter(pl.Series(alone))
        contributions.of_hits += added(hits, own_dimensions(hits, state.interned))
    in_time = ~is_copy & on_time & ~waits
    forming = in_time & ~offline
    fast, slow = take_hits(state, rows if forming.all() else rows.filter(pl.Series(forming)), contributions)
    offline_hits = int((in_time & offline).sum())  # offline hits count as fast, because no other hit affects them
    return PathCounts(
        fast=fast + offline_hits,
        slow=slow,
        waiting=int(waits.sum()),
        late=int((~is_copy & ~on_time).sum()),
        copies=int(is_copy.sum()),
    )
