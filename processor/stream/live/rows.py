"""Folds the contributions of hits and visits into signed rows of many sites and days (journey step 5, S7 and S8).

Decides when a visit's measures count. Visits, bounces, entries and visits with an order count while the visit is still
open. Duration, views and exits count when the visit has ended. Before a visit ends, its row has no exit page. This
module also decides which contributions are retracted when a hit's visit changes. Contributions with the same row key
are summed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl

from hitmesh.model.amounts import as_rows
from hitmesh.model.amounts import sums as exact_sums
from hitmesh.model.arrays import I32Array, I64Array, U64Array
from hitmesh.model.generations import STREAM_GENERATION
from hitmesh.model.limits import CELL_MS, LG_K_CELL
from hitmesh.model.rows.rollup_rows import (
    HIT_DIMENSIONS,
    TRAFFIC_MEASURES,
    VISIT_DIMENSIONS,
    VISITS_MEASURES,
    RowSource,
    with_escaped_names,
)
from hitmesh.model.rows.row_digest import RowDigest
from hitmesh.model.rows.stream_columns import MOVED_VISITORS, STREAM_COLUMNS
from hitmesh.model.zones import DAY_MS
from processor.rules.rollups import copy_contributions, filled_rows, hit_contributions, hit_type_name, visitor_sketches
from processor.stream.live.exact_index import seed
from processor.stream.live.hash_index import HashIndex
from processor.stream.live.interning import Interned, are_all_equal
from processor.stream.live.sites import Sites
from processor.stream.live.visit_table import VisitColumns

# The columns that form the row key of a hit's contribution. `site` and `dims` are numbers.
_DIMENSIONS: Final = ("site", *HIT_DIMENSIONS, "dims")
_TEXTS: Final = tuple(name for name in HIT_DIMENSIONS if name != "hit_type")
_NUMBERS: Final = ("site", "cell", "excluded", "hit_type", "dims")
_VISITS_KEY: Final = ("site", "cell", "excluded", "dims", "exit")
_NO_VISITORS: Final = pl.DataFrame(schema={"visitor": pl.UInt64})  # contributions of copies have no visitors
_NO_ROWS: Final = {source: pl.DataFrame(schema=columns) for source, columns in STREAM_COLUMNS.items()}
_STEP: Final = np.uint64(0x9E3779B97F4A7C15)
_MIX: Final = np.uint64(0xD6E8FEB86659FD93)


@dataclass(frozen=True, slots=True)
class SignedRows:
    """Rows (STREAM_COLUMNS) whose measures are differences that are added to the stored rows.

    Each row has a digest (hitmesh.model.rows.row_digest).
    """

    rows: pl.DataFrame
    digests: U64Array


def added(hits: pl.DataFrame, dims: I32Array) -> list[pl.DataFrame]:
    """Return the contributions that hits add.

    Args:
        hits: the hits with KEPT_COLUMNS, without copies (n,).
        dims: each hit's dimension tuple, as a number (n,). A hit in a visit has the visit's tuple; an orphan has a
            tuple with the orphan's own dimensions.
    """
    return hit_contributions(hits.with_columns(pl.Series("dims", dims)), _DIMENSIONS)


def taken_back(hits: pl.DataFrame, dims: I32Array) -> list[pl.DataFrame]:
    """Return the negated contributions of hits, which retract the contributions that `added` returned before.

    A visitor cannot be removed from a sketch. The retracting contribution therefore has `moved_visitors` = 1 and no
    visitor (rule S8).
    """
    parts = []
    for part in added(hits, dims):
        measures = [name for name in TRAFFIC_MEASURES if name in part.columns]
        negated = part.with_columns(-pl.col(name) for name in measures)
        if "visitor" in part.columns:
            moved = pl.col("visitor").is_not_null().cast(pl.Int64).alias(MOVED_VISITORS)
            negated = negated.with_columns(moved, pl.lit(None, pl.UInt64).alias("visitor"))
        parts.append(negated)
    return parts


def of_copies(copies: pl.DataFrame) -> list[pl.DataFrame]:
    """Return the contributions of copies. A copy is in no visit."""
    if copies.is_empty():
        return []
    return [copy_contributions(copies.with_columns(pl.lit(0, pl.Int32).alias("dims")), _DIMENSIONS)]


def of_visits(visits: VisitColumns, log_time: int, sign: int) -> pl.DataFrame:
    """Return the contributions that visits have at a log time, multiplied by `sign`."""
    ended = visits.ended(log_time)
    viewed = visits.views > 0
    return pl.DataFrame(
        {
            "site": visits.site,
            "cell": visits.start - visits.start % CELL_MS,
            "excluded": visits.excluded,
            "dims": visits.dims,
            "exit": np.where(ended, visits.exit, 0),
            "visits": np.full(len(visits), sign),
            "bounces": np.where(visits.acts == 1, sign, 0),
            "visit_duration_total": np.where(ended, sign * (visits.last - visits.start), 0),
            "visit_views": np.where(ended, sign * visits.views.astype(np.int64), 0),
            "entries": np.where(viewed, sign, 0),
            "exits": np.where(ended & viewed, sign, 0),
            "order_visits": np.where(visits.has_order, sign, 0),
        }
    )


def folded_traffic(
    parts: Sequence[pl.DataFrame], sites: Sites, interned: Interned, lg_k: int = LG_K_CELL
) -> SignedRows:
    """Add up contributions of hits by row key, and return signed rows. The rows' sketches have the size `lg_k`.

    Rows that change nothing are dropped.
    """
    if not parts:
        return no_rows(RowSource.TRAFFIC)
    contributions = with_escaped_names(pl.concat([*parts, _NO_VISITORS], how="diagonal").rechunk())
    sums = _that_are_not_zero(contributions, (*TRAFFIC_MEASURES, MOVED_VISITORS))
    groups = _grouped(contributions, sums, interned.hash_bits)
    groups = groups.with_columns(visitor_sketches(groups["visitor"], lg_k)).drop("visitor")
    has_content = pl.any_horizontal(*(pl.col(name) != 0 for name in sums), pl.col("visitors").is_not_null())
    groups = as_rows(groups.filter(has_content))
    named = contributions.select("site", "cell", "excluded", *HIT_DIMENSIONS, "dims")[groups["at"]]
    texts, known = interned.names(named["dims"].to_numpy(), VISIT_DIMENSIONS)
    rows = named.drop("site", "dims").with_columns(hit_type_name(), *texts, *groups.drop("at"))
    return _of_sites(rows, named["site"].to_numpy(), sites, interned.digest, RowSource.TRAFFIC, known)


def folded_visits(parts: Sequence[pl.DataFrame], sites: Sites, interned: Interned) -> SignedRows:
    """Add up contributions of visits by row key, and return signed rows. Rows that change nothing are dropped."""
    if not parts:
        return no_rows(RowSource.VISITS)
    groups = pl.concat(parts).group_by(_VISITS_KEY).agg(pl.col(VISITS_MEASURES).sum())
    groups = groups.filter(pl.any_horizontal(pl.col(name) != 0 for name in VISITS_MEASURES))
    names, known = interned.names(groups["dims"].to_numpy(), ("hostname", *VISIT_DIMENSIONS))
    exits = groups["exit"].to_numpy()
    known["exit_page"] = interned.texts.name_hashes(exits)
    rows = groups.drop("site", "dims", "exit").with_columns(*names, interned.texts.names(exits).alias("exit_page"))
    return _of_sites(rows, groups["site"].to_numpy(), sites, interned.digest, RowSource.VISITS, known)


def of_refusals(hits_by_cell: pl.DataFrame, digest: RowDigest) -> SignedRows:
    """Return the rows of refused hits.

    `hits_by_cell` has the columns `site`, `cell` (the cell of the collect time) and `rejected_hits`.
    """
    rows = hits_by_cell.with_columns(pl.lit(value=False).alias("excluded"), _day())
    return _signed(rows, digest, RowSource.TRAFFIC, {})


def named_cells(cells: pl.DataFrame, sites: Sites) -> pl.DataFrame:
    """Return cells with site names in place of site numbers, and with each cell's day.

    Reserved words in currencies are escaped, as in rows.
    """
    return with_escaped_names(cells).with_columns(
        sites.texts(cells["site"].to_numpy()).alias("site"), _day().cast(pl.Int32)
    )


def no_rows(source: RowSource) -> SignedRows:
    """Return an empty set of signed rows, with the columns of the given source."""
    return SignedRows(_NO_ROWS[source].clone(), np.empty(0, np.uint64))


def _of_sites(
    rows: pl.DataFrame,
    numbers: I32Array,
    sites: Sites,
    digest: RowDigest,
    source: RowSource,
    known: Mapping[str, U64Array],
) -> SignedRows:
    named = rows.with_columns(sites.texts(numbers).alias("site"), _day())
    return _signed(named, digest, source, {**known, "site": sites.hashes(numbers)})


def _signed(rows: pl.DataFrame, digest: RowDigest, source: RowSource, known: Mapping[str, U64Array]) -> SignedRows:
    """Return signed rows. Add missing columns to rows whose names are already escaped, and compute the digests."""
    complete = filled_rows(rows, {"generation": STREAM_GENERATION}, STREAM_COLUMNS[source])
    return SignedRows(complete, digest.of(complete, source, known))


def _day() -> pl.Expr:
    return (pl.col("cell") // DAY_MS).alias("day")


def _that_are_not_zero(rows: pl.DataFrame, measures: Sequence[str]) -> list[str]:
    """Return the measures that have a value other than 0 in any row."""
    there = [name for name in measures if name in rows.columns]
    found = rows.select((pl.col(name) != 0).any() for name in there).row(0)
    return [name for name, is_there in zip(there, found, strict=True) if is_there]


def _grouped(contributions: pl.DataFrame, sums: Sequence[str], hash_bits: int) -> pl.DataFrame:
    """Return one row per row key.

    The columns are the sums, the visitors, and `at`, the index of the row's first contribution. Grouping by a number is
    cheap; grouping by eight texts is expensive. Contributions are therefore grouped by a hash of their row key. If
    different row keys share a hash, contributions are grouped by the row key itself (rule D0).
    """
    texts = [name for name in _TEXTS if contributions[name].null_count() < contributions.height]
    keys = _keys(contributions, texts) & np.uint64((1 << hash_bits) - 1)
    place = pl.int_range(pl.len(), dtype=pl.UInt32).alias("at")
    keyed = contributions.with_columns(pl.Series("key", keys), place)
    values = (*exact_sums(sums), pl.col("at").first(), pl.col("visitor"))
    groups = keyed.group_by("key").agg(*values)
    if _have_distinct_keys(contributions, texts, _first_places(keys, groups)):
        return groups.drop("key")
    return keyed.group_by(*_NUMBERS, *texts).agg(*values).drop(*_NUMBERS, *texts)


def _keys(contributions: pl.DataFrame, texts: Sequence[str]) -> U64Array:
    """Return a hash of each contribution's row key.

    Each call uses a new seed. Hashes from different calls therefore do not match.
    """
    start = seed()
    keys = np.full(contributions.height, start, np.uint64)
    for name in _NUMBERS:
        keys = _mixed(keys, contributions[name].to_numpy().astype(np.int64).view(np.uint64))
    for name in texts:
        keys = _mixed(keys, contributions[name].hash(start).to_numpy())
    return keys


def _first_places(keys: U64Array, groups: pl.DataFrame) -> I64Array:
    """Return for each contribution the index of the first contribution with the same key (n,)."""
    index = HashIndex(groups.height)
    index.add(groups["key"].to_numpy() * _STEP, groups["at"].to_numpy().astype(np.int64))
    return index.find(keys * _STEP)


def _have_distinct_keys(contributions: pl.DataFrame, texts: Sequence[str], first: I64Array) -> bool:
    """Return whether each contribution has the row key of the contribution to which `first` points."""
    for name in _NUMBERS:
        values = contributions[name].to_numpy()
        if (values[first] != values).any():
            return False
    places = pl.Series(first)
    return all(are_all_equal(contributions[name].gather(places), contributions[name]) for name in texts)


def _mixed(keys: U64Array, values: U64Array) -> U64Array:
    mixed = (keys * _STEP) ^ values
    mixed ^= mixed >> np.uint64(32)
    return mixed * _MIX
