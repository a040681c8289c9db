"""Read one site's hits in a time range from stored records, in log order (settlement).

Up to `SettleMemory.range_hits` hits are in memory; more hits are on disk, in groups of visitors.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol

import numpy as np
import polars as pl

from hitmesh.model.arrays import BoolArray, I64Array
from hitmesh.model.hit_types import HitType
from hitmesh.model.reasons import EXCLUDING_FLAGS
from hitmesh.model.records import RawRecord
from hitmesh.model.rows.erased_rows import is_erased
from processor.settle.memory import DEFAULT_MEMORY, SettleMemory
from processor.settle.record_positions import RecordPositions
from processor.settle.spill import Spill
from processor.settle.window import READ_COLUMNS, WINDOW_COLUMNS, read_rows

_ERASED_COLUMNS: Final = ("event_time", "hit_hash", "record")
_NONE_ERASED: Final = pl.DataFrame(schema={name: WINDOW_COLUMNS[name] for name in _ERASED_COLUMNS})
_RECORDS_AT_ONCE: Final = 256
_ROWS_AT_ONCE: Final = 131_072  # with other sites' hits in shared records
# The columns of hits that claim an order or a refund, or use an order's total (rule D3).
CLAIMING_COLUMNS: Final = (
    "event_time",
    "hit_type",
    "order_id",
    "refund_id",
    "refund_amount",
    "excluded",
    "record",
    "row",
)


@dataclass(frozen=True, slots=True)
class Window:
    """One site's hits with `start <= event_time < end`, in log order.

    Attributes:
        rows: `WINDOW_COLUMNS`, in log order (rule D1).
        positions: record positions, indexed by the column `record`.
        start: inclusive lower bound of event time, ms.
        end: exclusive upper bound of event time, ms.
        erased: event_time, hit_hash and record of the erased hits in the same range, which `rows` lacks. The event time
            of a blank row is the start of its day.
    """

    rows: pl.DataFrame
    positions: RecordPositions
    start: int
    end: int
    erased: pl.DataFrame = field(default_factory=_NONE_ERASED.clone)

    @property
    def claiming(self) -> pl.DataFrame:
        """The hits that may have claims: `CLAIMING_COLUMNS`."""
        return _claiming(self.rows)


@dataclass(frozen=True, slots=True)
class SpilledWindow:
    """A window whose hits are on disk, in groups of visitors.

    Attributes:
        spill: `WINDOW_COLUMNS`, in log order within a group; all hits of a visitor are in one group.
        positions, start, end, erased: as in `Window`.
        claiming: the hits that may have claims: `CLAIMING_COLUMNS`.
    """

    spill: Spill
    positions: RecordPositions
    claiming: pl.DataFrame
    start: int
    end: int
    erased: pl.DataFrame = field(default_factory=_NONE_ERASED.clone)

    def close(self) -> None:
        """Delete the hits from the disk."""
        self.spill.close()


class Erased(Protocol):
    """Recognises the hits of erased visitors (processor.erase.visitors:ErasedVisitors)."""

    def __bool__(self) -> bool: ...

    def hits(self, rows: pl.DataFrame) -> BoolArray:
        """Return whether each row is a hit of an erased visitor (n,)."""


def read_window(
    records: Iterable[RawRecord],
    site: str,
    start: int,
    end: int,
    memory: SettleMemory = DEFAULT_MEMORY,
    erased: Erased | None = None,
) -> Window | SpilledWindow:
    """Return the site's hits with start <= event_time < end, on disk if there are more than `memory.range_hits`.

    Args:
        records: in log order, as RawStore.scan yields them.
        site: full resource name.
        start: UTC ms.
        end: UTC ms.
        memory: limits.
        erased: recognises erased hits that are not blank yet.

    Raises:
        StoreCorrupt: a record does not decode.
    """
    positions = RecordPositions()
    parts: list[_Part] = []
    spilled: _Spilled | None = None
    hits = 0
    wanted = (record for record in records if record.max_event_time >= start and record.min_event_time < end)
    for together in _together(wanted):
        parts.append(_part_of(together, len(positions), site, start, end))
        for record in together:
            positions.add(record.position)
        hits += parts[-1].hits.height
        if hits > memory.range_hits:
            spilled = spilled or _Spilled(Spill(memory.scratch), [], [])
            for part in parts:
                rows, without = _without_erased(_window_rows([part]), site, erased)
                spilled.claiming.append(_claiming(rows))
                spilled.erased.append(without)
                spilled.hits.add(rows, visitor_groups(rows, memory.groups_log2))
            parts.clear()
    if spilled is not None:
        claiming, without = pl.concat(spilled.claiming), pl.concat(spilled.erased).rechunk()
        return SpilledWindow(spilled.hits, positions, claiming, start, end, without)
    rows, without = _without_erased(_window_rows(parts), site, erased)
    return Window(rows, positions, start, end, without)


class _Spilled(NamedTuple):
    """The parts of a window whose hits are on disk."""

    hits: Spill
    claiming: list[pl.DataFrame]
    erased: list[pl.DataFrame]


def _without_erased(rows: pl.DataFrame, site: str, erased: Erased | None) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the rows that are not erased, and `_ERASED_COLUMNS` of the erased rows."""
    gone = rows.select(is_erased()).to_series().to_numpy()
    if erased:
        gone = gone | erased.hits(rows.with_columns(pl.lit(site).alias("site")))
    if not gone.any():
        return rows, _NONE_ERASED
    return rows.filter(pl.Series(~gone)), rows.filter(pl.Series(gone)).select(_ERASED_COLUMNS)


def visitor_groups(rows: pl.DataFrame, groups_log2: int) -> I64Array:
    """Return each hit's group: the upper bits of the visitor key, which is keyed and so evenly distributed."""
    if groups_log2 == 0:
        return np.zeros(rows.height, np.int64)
    groups: I64Array = (rows["visitor_lo"].to_numpy() >> np.uint64(64 - groups_log2)).astype(np.int64)
    return groups


def _claiming(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.filter(pl.col("hit_type").is_in((int(HitType.ORDER), int(HitType.REFUND)))).select(CLAIMING_COLUMNS)


def _together(records: Iterable[RawRecord]) -> Iterator[list[RawRecord]]:
    """Yield records in lists that are decoded together."""
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
    """The wanted hits of some records: READ_COLUMNS, in as many chunks as there are records, and three more columns."""

    hits: pl.DataFrame
    log_time: I64Array
    record: I64Array
    row: I64Array


def _part_of(records: list[RawRecord], first: int, site: str, start: int, end: int) -> _Part:
    """Return the wanted hits of these records; `first` is the first record's index in the window."""
    parts = [read_rows(record.value, READ_COLUMNS) for record in records]
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
    """Return `WINDOW_COLUMNS`, each in a single chunk. The hits are copied only here."""
    if not parts:
        return pl.DataFrame(schema=WINDOW_COLUMNS)
    rows = pl.concat([part.hits for part in parts]).rechunk()
    return rows.with_columns(
        pl.Series("log_time", np.concatenate([part.log_time for part in parts])),
        pl.Series("record", np.concatenate([part.record for part in parts])),
        pl.Series("row", np.concatenate([part.row for part in parts])),
        (pl.col("flags") & int(EXCLUDING_FLAGS) != 0).alias("excluded"),
        pl.col("utm_campaign").alias("campaign"),
    ).select(*WINDOW_COLUMNS)
