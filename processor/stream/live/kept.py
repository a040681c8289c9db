"""Keeps the hits that a later step may need again (journey step 5, architecture A5). The hits are stored in pieces.

Each piece is sorted by timeline, so a lookup is a binary search in each piece. A function that the caller gives
(`Spill`) may move a large piece from memory to a file (processor.stream.spilled).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from hitmesh.model.arrays import BoolArray, I64Array, U64Array
from hitmesh.model.rows.columns import HITS_COLUMNS
from processor.settle.window import WINDOW_COLUMNS
from processor.stream.live.limits import PRODUCTION, Limits

_NOT_KEPT: Final = ("record", "visitor_hi", "order_id", "refund_id")

# A kept hit has the columns from which visits and rows are built, the stream's keys, and the hit's offset and row in
# the log.
KEPT_COLUMNS: Final[dict[str, pl.DataType]] = {
    "key": pl.UInt64(),  # timeline key; the lowest bit is 1 for excluded hits
    "site": pl.Int32(),
    **{name: dtype for name, dtype in WINDOW_COLUMNS.items() if name not in _NOT_KEPT},
    "offset": pl.Int64(),
    "on_time": pl.Boolean(),
    "is_copy": pl.Boolean(),
    "wins_order": pl.Boolean(),
    "waits": pl.Boolean(),  # whether the hit waits for settlement, and is in no visit until then (S9)
}
assert HITS_COLUMNS["items"] == KEPT_COLUMNS["items"]  # only orders need their items
_NO_HITS: Final = pl.DataFrame(schema=KEPT_COLUMNS)


Spill = Callable[[pl.DataFrame], pl.DataFrame]
"""A function that may move sorted rows to a file.

The returned rows are the same rows, in memory or mapped from the file.
"""


def forms_visits() -> pl.Expr:
    """Return an expression that is true for kept hits that form visits in the stream."""
    return pl.col("on_time") & ~pl.col("is_copy") & ~pl.col("offline") & ~pl.col("waits")


@dataclass(slots=True)
class _Chunk:
    """A piece of the kept hits, which is either in memory or mapped from a file.

    Attributes:
        rows: the hits, in any order.
        keys: the rows' timeline keys, sorted.
        order: the row number of each entry in `keys`; None if the rows are sorted too.
        selected: a cache of column selections, by column names, because a selection costs more than a lookup.
    """

    rows: pl.DataFrame
    keys: U64Array
    order: I64Array | None
    first_offset: int
    first_log_time: int
    last_log_time: int
    selected: dict[tuple[str, ...], pl.DataFrame] = field(default_factory=dict)

    def of_visitors(self, keys: U64Array) -> I64Array:
        """Return the row numbers of visitors' hits.

        `keys` contains the visitors' keys: sorted, distinct, with lowest bit 0.
        """
        begins = np.searchsorted(self.keys, keys)
        there = np.flatnonzero((self.keys[np.minimum(begins, len(self.keys) - 1)] ^ keys) <= np.uint64(1))
        begins, keys = begins[there], keys[there]
        counts = np.searchsorted(self.keys, keys | np.uint64(1), "right") - begins
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        places: I64Array = np.repeat(begins, counts) + within
        return places if self.order is None else self.order[places]

    def counts(self, visitors: U64Array) -> I64Array:
        """Return the number of hits of each visitor.

        `visitors` contains visitor keys: sorted, distinct, with lowest bit 0.
        """
        begins, ends = (
            np.searchsorted(self.keys, visitors),
            np.searchsorted(self.keys, visitors | np.uint64(1), "right"),
        )
        counts: I64Array = ends - begins
        return counts

    def columns(self, names: tuple[str, ...]) -> pl.DataFrame:
        """Return the rows with only the given columns."""
        if names not in self.selected:
            self.selected[names] = self.rows.select(names)
        return self.selected[names]


@dataclass(frozen=True, slots=True)
class Chosen:
    """A filter for hits, by the timeline key and by the value in `column`."""

    column: str
    wanted: Callable[[U64Array, npt.NDArray[Any]], BoolArray]


class KeptHits:
    """The hits from a span of log time. Copies are included.

    Args:
        spill: moves a large piece out of memory.
        limits: decides which pieces are large and when pieces are merged.
    """

    def __init__(self, spill: Spill, limits: Limits = PRODUCTION) -> None:
        self._spill = spill
        self._limits = limits
        self._closed: list[_Chunk] = []
        self._tail: list[_Chunk] = []
        self._epoch = -1

    def __len__(self) -> int:
        return sum(len(chunk.keys) for chunk in self._chunks())

    def add(self, rows: pl.DataFrame, epoch: int) -> None:
        """Keep hits (KEPT_COLUMNS) of an epoch, in any order.

        In the log, the new hits must come after all hits that are already kept.
        """
        if rows.is_empty():
            return
        if epoch != self._epoch:
            self._close_epoch()
            self._epoch = epoch
        self._tail.append(_chunk(rows.select(*KEPT_COLUMNS)))
        if sum(len(chunk.keys) for chunk in self._tail) >= self._limits.spill_rows:
            self._closed.append(self._spilled(_joined(self._tail)))
            self._tail = []
        else:
            self._merge_small()

    def counts(self, visitors: U64Array) -> I64Array:
        """Return the number of kept hits of each visitor.

        `visitors` contains visitor keys: sorted, distinct, with lowest bit 0.
        """
        counts = np.zeros(len(visitors), np.int64)
        for chunk in self._chunks():
            counts += chunk.counts(visitors)
        return counts

    def of_visitors(
        self, keys: U64Array, columns: tuple[str, ...] = tuple(KEPT_COLUMNS), chosen: Chosen | None = None
    ) -> pl.DataFrame:
        """Return the kept hits of these visitors, both excluded and other hits.

        Args:
            keys: the visitors' keys: sorted, distinct, with lowest bit 0.
            columns: the columns to return.
            chosen: a filter for the hits. The filter is applied before any hit is copied in memory, because a visitor
                may have a million hits that are not wanted.
        """
        parts = []
        for chunk in self._chunks():
            found = chunk.of_visitors(keys)
            if chosen is not None and len(found):
                keys_of, values = (chunk.rows[name].to_numpy()[found] for name in ("key", chosen.column))
                found = found[chosen.wanted(keys_of, values)]
            if len(found):
                parts.append(chunk.columns(columns)[found])
        if not parts:
            return pl.DataFrame(schema={name: KEPT_COLUMNS[name] for name in columns})
        return pl.concat(parts, rechunk=True)

    def where(self, wanted: pl.Expr, of_keys: Callable[[U64Array], BoolArray]) -> pl.DataFrame:
        """Return all kept hits that satisfy an expression, and whose timeline keys satisfy a condition."""
        parts = [_NO_HITS]
        for chunk in self._chunks():
            found = chunk.rows.select(pl.arg_where(wanted), pl.col("key").filter(wanted))
            chosen = of_keys(found["key"].to_numpy())
            parts.append(chunk.rows[found.to_series()[np.flatnonzero(chosen)]])
        return pl.concat(parts)

    def columns(self, *names: str) -> Iterator[pl.DataFrame]:
        """Yield all kept hits piece by piece, with only the given columns."""
        return (chunk.rows.select(names) for chunk in self._chunks())

    def pieces(self) -> Iterator[pl.DataFrame]:
        """Yield all kept hits piece by piece, in the order in which `add` accepts them. A piece is from one epoch."""
        return (chunk.rows for chunk in self._chunks())

    def forget_before(self, log_time: int) -> None:
        """Drop each piece whose hits all have a log time before `log_time`."""
        self._closed = [chunk for chunk in self._closed if chunk.last_log_time >= log_time]
        self._tail = [chunk for chunk in self._tail if chunk.last_log_time >= log_time]

    def first_offset(self) -> int | None:
        """Return the offset of the first record with kept hits. If no hit is kept, return None."""
        return min((chunk.first_offset for chunk in self._chunks()), default=None)

    def first_log_time(self) -> int | None:
        """Return the log time of the first record with kept hits. If no hit is kept, return None."""
        return min((chunk.first_log_time for chunk in self._chunks()), default=None)

    def _chunks(self) -> list[_Chunk]:
        return [*self._closed, *self._tail]

    def _merge_small(self) -> None:
        fan_in = self._limits.fan_in
        while len(self._tail) >= fan_in:
            last = self._tail[-fan_in:]
            if len(last[0].keys) >= fan_in * len(last[-1].keys):
                return
            self._tail[-fan_in:] = [_chunk(_joined(last))]

    def _close_epoch(self) -> None:
        """Begin a new piece for the next epoch, because `forget_before` drops hits by whole pieces."""
        if self._tail:
            merged = _joined(self._tail)
            self._closed.append(self._spilled(merged) if merged.height >= self._limits.file_rows else _chunk(merged))
            self._tail = []

    def _spilled(self, rows: pl.DataFrame) -> _Chunk:
        return _chunk(self._spill(rows[rows["key"].arg_sort()]), is_sorted=True)


def _joined(chunks: Sequence[_Chunk]) -> pl.DataFrame:
    return pl.concat([chunk.rows for chunk in chunks], rechunk=True)


def _chunk(rows: pl.DataFrame, *, is_sorted: bool = False) -> _Chunk:
    first_offset, first_log_time, last_log_time = rows["offset"].min(), rows["log_time"].min(), rows["log_time"].max()
    assert isinstance(first_offset, int)  # there are rows
    assert isinstance(first_log_time, int)
    assert isinstance(last_log_time, int)
    keys = rows["key"].to_numpy()
    order = None if is_sorted else np.argsort(keys)
    return _Chunk(rows, keys if order is None else keys[order], order, first_offset, first_log_time, last_log_time)
