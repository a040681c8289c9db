"""Reads a site's hits in a time range from stored records. The hits are in log order.

Up to `SettleMemory.range_hits` hits of the window are kept in memory. If the window has more hits, all its hits are on
disk, in groups of visitors.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np
import polars as pl

from hitmesh.model.arrays import I64Array
from hitmesh.model.hit_types import HitType
from hitmesh.model.records import RawRecord
from processor.settle.deciding import AS_STORED, ERASED_COLUMNS, Decided, Deciding
from processor.settle.memory import DEFAULT_MEMORY, SettleMemory
from processor.settle.record_positions import RecordPositions
from processor.settle.spill import Spill
from processor.settle.window import READ_COLUMNS, WINDOW_COLUMNS, read_together

_NONE_ERASED: Final = pl.DataFrame(schema={name: WINDOW_COLUMNS[name] for name in ERASED_COLUMNS})
EXCLUDED_BEFORE: Final = "excluded_before"
_RECORDS_AT_ONCE: Final = 256
_ROWS_AT_ONCE: Final = 131_072  # a list of records ends at this many rows, including other sites' hits

# The columns of hits that claim an order or a refund, or use an order's total (rule D3).
CLAIMING_COLUMNS: Final = (
    "event_time",
    "hit_type",
    "order_id",
    "refund_id",
    "refund_amount",
    "excluded",
    EXCLUDED_BEFORE,
    "record",
    "row",
)


@dataclass(frozen=True, slots=True)
class Window:
    """One site's hits with `start <= event_time < end`, in log order.

    Attributes:
        rows: the hits with `WINDOW_COLUMNS`, in log order (rule D1).
        positions: the records' positions; the column `record` is an index into them.
        start: the lower event-time bound in ms, inclusive.
        end: the upper event-time bound in ms, exclusive.
        erased: event_time, hit_hash and record of the erased hits in the same time range, which are not in `rows`. The
            event time in a blank row is the start of its day.
        not_applicable: how many hits on the settled day have no stored network; 0 if no rule of the day compares
            networks.
        excluded_before: (n,) whether the rules `Deciding.before` exclude each hit; None if the column `excluded` of
            `rows` has the same values.
    """

    rows: pl.DataFrame
    positions: RecordPositions
    start: int
    end: int
    erased: pl.DataFrame = field(default_factory=_NONE_ERASED.clone)
    not_applicable: int = 0
    excluded_before: pl.Series | None = None

    @property
    def claiming(self) -> pl.DataFrame:
        """The hits that may have claims, with `CLAIMING_COLUMNS`."""
        return claiming_in(with_excluded_before(self.rows, self.excluded_before))


@dataclass(frozen=True, slots=True)
class SpilledWindow:
    """A window whose hits are on disk, in groups of visitors.

    Attributes:
        spill: the hits with `WINDOW_COLUMNS` and EXCLUDED_BEFORE (never null). Each group is in log order. All hits of
            a visitor are in the same group.
        positions, start, end, erased, not_applicable: as in `Window`.
        claiming: the hits that may have claims, with `CLAIMING_COLUMNS`.
    """

    spill: Spill
    positions: RecordPositions
    claiming: pl.DataFrame
    start: int
    end: int
    erased: pl.DataFrame = field(default_factory=_NONE_ERASED.clone)
    not_applicable: int = 0

    def close(self) -> None:
        """Delete the hits from the disk."""
        self.spill.close()


def read_window(
    records: Iterable[RawRecord],
    site: str,
    start: int,
    end: int,
    memory: SettleMemory = DEFAULT_MEMORY,
    deciding: Deciding = AS_STORED,
) -> Window | SpilledWindow:
    """Return the site's hits with start <= event_time < end, on disk if there are more than `memory.range_hits`.

    Args:
        records: the records in log order, as RawStore.scan yields them.
        site: the site's full resource name.
        start: UTC ms.
        end: UTC ms.
        memory: the limits that bound the memory.
        deciding: decides which hits are erased and which are excluded.

    Raises:
        StoreCorrupt: a record does not decode.
    """
    positions = RecordPositions()
    parts: list[_Part] = []
    spilled: _Spilled | None = None
    hits = 0
    wanted = (record for record in records if record.max_event_time >= start and record.min_event_time < end)
    for together in records_together(wanted):
        memory.rest()
        parts.append(_part_of(together, len(positions), site, start, end, deciding.columns))
        for record in together:
            positions.add(record.position)
        hits += parts[-1].hits.height
        if hits > memory.range_hits:
            spilled = spilled or _Spilled(memory)
            for part in parts:
                spilled.add(deciding.decide(_window_rows([part])))
            parts.clear()
    if spilled is not None:
        return spilled.window(positions, start, end)
    if not parts:
        return Window(pl.DataFrame(schema=WINDOW_COLUMNS), positions, start, end)
    rows, erased, excluded_before, not_applicable = deciding.decide(_window_rows(parts))
    return Window(rows, positions, start, end, erased, not_applicable, excluded_before)


class _Spilled:
    """Collects the parts for a window whose hits are on disk."""

    def __init__(self, memory: SettleMemory) -> None:
        self._groups_log2 = memory.groups_log2
        self._hits = Spill(memory.scratch)
        self._claiming: list[pl.DataFrame] = []
        self._erased: list[pl.DataFrame] = []
        self._not_applicable = 0

    def add(self, part: Decided) -> None:
        rows = with_excluded_before(part.rows, part.excluded_before)
        self._hits.add(rows, visitor_groups(rows, self._groups_log2))
        self._claiming.append(claiming_in(rows))
        self._erased.append(part.erased)
        self._not_applicable += part.not_applicable

    def window(self, positions: RecordPositions, start: int, end: int) -> SpilledWindow:
        claiming, erased = pl.concat(self._claiming), pl.concat(self._erased).rechunk()
        return SpilledWindow(self._hits, positions, claiming, start, end, erased, self._not_applicable)


def with_excluded_before(rows: pl.DataFrame, excluded_before: pl.Series | None) -> pl.DataFrame:
    """Return a window's rows with the column EXCLUDED_BEFORE.

    If `excluded_before` is None, the column is equal to `excluded`.
    """
    return rows.with_columns((rows["excluded"] if excluded_before is None else excluded_before).alias(EXCLUDED_BEFORE))


def visitor_groups(rows: pl.DataFrame, groups_log2: int) -> I64Array:
    """Return each hit's group: the upper bits of the visitor key.

    The key is a keyed hash, so groups have similar sizes.
    """
    if groups_log2 == 0:
        return np.zeros(rows.height, np.int64)
    groups: I64Array = (rows["visitor_lo"].to_numpy() >> np.uint64(64 - groups_log2)).astype(np.int64)
    return groups


def claiming_in(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the hits that may have claims, with `CLAIMING_COLUMNS`. `rows` must have the column EXCLUDED_BEFORE."""
    return rows.filter(pl.col("hit_type").is_in((int(HitType.ORDER), int(HitType.REFUND)))).select(CLAIMING_COLUMNS)


def records_together(records: Iterable[RawRecord]) -> Iterator[list[RawRecord]]:
    """Yield the records in lists, each of which is decoded at once."""
    together: list[RawRecord] = []
    rows = 0
    for record in records:
        together.append(record)
        rows += record.rows
        if len(together) >= _RECORDS_AT_ONCE or rows >= _ROWS_AT_ONCE:
            yield together
            together, rows = [], 0
    if together:
        yield together


class _Part(NamedTuple):
    """The wanted hits from some records: the columns that were read, and each hit's log time, record and row.

    In `hits`, each record's rows are a separate chunk.
    """

    hits: pl.DataFrame
    log_time: I64Array
    record: I64Array
    row: I64Array


def _part_of(records: list[RawRecord], first: int, site: str, start: int, end: int, more: tuple[str, ...]) -> _Part:
    """Return the wanted hits from these records, with READ_COLUMNS and the columns in `more`.

    `first` is the first record's index in the window.
    """
    parts = read_together([record.value for record in records], (*READ_COLUMNS, *more))
    heights = np.array([part.height for part in parts], np.int64)
    begins = np.cumsum(heights) - heights
    added = (
        np.repeat(np.array([record.log_time for record in records], np.int64), heights),
        np.repeat(np.arange(first, first + len(records)), heights),
        np.arange(heights.sum()) - np.repeat(begins, heights),
    )
    rows = pl.concat(parts)
    in_time = pl.col("event_time").is_between(start, end, closed="left")
    wanted = rows.select((pl.col("site") == site) & in_time).to_series().to_numpy()
    return _Part(rows, *added) if wanted.all() else _Part(rows.filter(wanted), *(values[wanted] for values in added))


def _window_rows(parts: Sequence[_Part]) -> pl.DataFrame:
    """Return the hits in the form that `Deciding.decide` takes, each column in a single chunk."""
    rows = pl.concat([part.hits for part in parts]).rechunk()
    return rows.with_columns(
        pl.Series("log_time", np.concatenate([part.log_time for part in parts])),
        pl.Series("record", np.concatenate([part.record for part in parts])),
        pl.Series("row", np.concatenate([part.row for part in parts])),
        pl.col("utm_campaign").alias("campaign"),
    )
