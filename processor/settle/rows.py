"""Stores a settlement's rows in memory, or on a local disk if the site-day is large.

On disk, the rows are in portions. Readers read one portion after the other, so that only one portion is in memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
import polars as pl

from hitmesh.model.arrays import I64Array
from hitmesh.model.limits import CELL_MS
from hitmesh.model.rows.rollup_rows import ROW_COLUMNS, RowSource
from hitmesh.model.zones import DAY_MS
from processor.rules.rollups import MEASURES, ROW_KEYS, RowOwner, folded_rows
from processor.settle.memory import SettleMemory
from processor.settle.spill import Spill

# The columns that contributions have on disk. A measure that a contribution does not have is null.
_COLUMNS: Final[dict[RowSource, dict[str, pl.DataType]]] = {
    source: {
        **{name: ROW_COLUMNS[source][name] for name in ROW_KEYS[source]},
        **dict.fromkeys(MEASURES[source], pl.Int64()),
    }
    for source in RowSource
}
_COLUMNS[RowSource.TRAFFIC] |= {"hit_type": pl.UInt8(), "visitor": pl.UInt64()}


class Portions(Protocol):
    """Rows in portions, by ascending cell.

    Each iteration yields all portions. All rows with the same row key are in the same portion.
    """

    @property
    def height(self) -> int:
        """How many rows there are."""

    def __iter__(self) -> Iterator[pl.DataFrame]: ...


@dataclass(frozen=True, slots=True)
class InMemory:
    """Rows in memory, as a single portion."""

    rows: pl.DataFrame

    @property
    def height(self) -> int:
        """How many rows there are."""
        return self.rows.height

    def __iter__(self) -> Iterator[pl.DataFrame]:
        yield self.rows


@dataclass(frozen=True, slots=True)
class OnDisk:
    """Portions of rows on disk. Each iteration reads one portion after the other."""

    spill: Spill
    height: int

    def __iter__(self) -> Iterator[pl.DataFrame]:
        for portion in self.spill.groups():
            yield pl.concat(self.spill.read(portion))


@dataclass(frozen=True, slots=True)
class SettledRows:
    """A settlement's rows.

    Attributes:
        traffic: the rows with hit measures (TRAFFIC_COLUMNS).
        visits: the rows with visit measures (VISITS_COLUMNS).
    """

    traffic: Portions
    visits: Portions

    @classmethod
    def in_memory(cls, traffic: pl.DataFrame, visits: pl.DataFrame) -> SettledRows:
        """Return rows that are already in memory."""
        return cls(InMemory(traffic), InMemory(visits))

    @property
    def is_in_memory(self) -> bool:
        """Whether both sources' rows are a single portion in memory."""
        return isinstance(self.traffic, InMemory) and isinstance(self.visits, InMemory)

    @property
    def height(self) -> int:
        """How many rows both sources have together."""
        return self.traffic.height + self.visits.height


class Contributions:
    """A large site-day's contributions.

    The contributions are stored on disk by cell. When all contributions are written, they are folded into rows.

    Args:
        source: the row source.
        owner: the rows' owner.
        memory: limits.
        lg_k: log2 of the visitor sketches' size.
    """

    def __init__(self, source: RowSource, owner: RowOwner, memory: SettleMemory, lg_k: int) -> None:
        self._source = source
        self._owner = owner
        self._memory = memory
        self._lg_k = lg_k
        self._spill = Spill(memory.scratch)

    def add(self, contributions: pl.DataFrame) -> None:
        """Add contributions (processor.rules.rollups)."""
        cells = (contributions["cell"].to_numpy() - self._owner.day * DAY_MS) // CELL_MS
        self._spill.add(_with_columns(contributions, _COLUMNS[self._source]), cells)

    def folded(self) -> OnDisk:
        """Fold all contributions into rows by ascending cell, and delete the contributions."""
        rows, number, height = Spill(self._memory.scratch, buffered_rows=0), 0, 0
        for cells in self._cells_together():
            for parts in self._in_parts(cells):
                self._memory.rest()
                folded = folded_rows(self._source, self._owner, parts, self._lg_k)
                rows.add(folded, np.full(folded.height, number, np.int64))
                number, height = number + 1, height + folded.height
        self._spill.close()
        return OnDisk(rows, height)

    def _cells_together(self) -> Iterator[list[int]]:
        """Yield groups of neighbouring cells that have at most `range_hits` contributions together.

        If a single cell has more contributions, the cell is a group of its own.
        """
        together: list[int] = []
        height = 0
        for cell in self._spill.groups():
            if together and height + self._spill.height(cell) > self._memory.range_hits:
                yield together
                together, height = [], 0
            together.append(cell)
            height += self._spill.height(cell)
        if together:
            yield together

    def _in_parts(self, cells: Sequence[int]) -> Iterator[Iterator[pl.DataFrame]]:
        """Yield the given cells' contributions, divided into parts that fit into memory.

        If there are too many contributions, they are divided by a hash of the row key.
        """
        limit = self._memory.range_hits
        blocks = (block for cell in cells for block in self._spill.read(cell))
        pieces = -(-sum(map(self._spill.height, cells)) // limit)
        if pieces == 1:
            yield iter([pl.concat(blocks).rechunk()])
            return
        divided = Spill(self._memory.scratch)
        for part in blocks:
            divided.add(part, _pieces_of_keys(part, ROW_KEYS[self._source], pieces))
        for piece in divided.groups():
            yield _together(divided.read(piece), limit)
        divided.close()


def _with_columns(frame: pl.DataFrame, columns: dict[str, pl.DataType]) -> pl.DataFrame:
    return frame.select(
        (pl.col(name).cast(dtype) if name in frame.columns else pl.lit(None, dtype)).alias(name)
        for name, dtype in columns.items()
    )


def _pieces_of_keys(rows: pl.DataFrame, key: Sequence[str], pieces: int) -> I64Array:
    """Return each row's piece number.

    The row key's hash selects the piece, so rows with equal keys are in the same piece.
    """
    hashes = rows.select(key).hash_rows().to_numpy()
    found: I64Array = (hashes % np.uint64(pieces)).astype(np.int64)
    return found


def _together(blocks: Iterator[pl.DataFrame], limit: int) -> Iterator[pl.DataFrame]:
    """Join the blocks into frames of about `limit` rows, and yield these frames."""
    waiting: list[pl.DataFrame] = []
    for block in blocks:
        waiting.append(block)
        if sum(frame.height for frame in waiting) >= limit:
            yield pl.concat(waiting).rechunk()
            waiting = []
    if waiting:
        yield pl.concat(waiting).rechunk()
