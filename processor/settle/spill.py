"""Stores rows in numbered groups on a local disk. Not all rows of a large site-day need to be in memory.

The file has no name, so no file outlives the process. The file consists of blocks. Each block is a separate Arrow IPC
stream. A reader decodes only the wanted columns of the wanted group. If a column has the same value in all rows of a
block, the column is not written. For example, a dimension may be null in all rows. Half of all columns have a single
value per block, and writing a column with a single value would cost as much as writing any other column.
"""

from __future__ import annotations

import tempfile
import weakref
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl

from hitmesh.model.arrays import I64Array
from hitmesh.model.errors import as_disk_full

_BUFFERED_ROWS: Final = 200_000


@dataclass(frozen=True, slots=True)
class _Block:
    start: int
    size: int
    rows: int
    constants: pl.DataFrame  # one row: the columns that are not in the file, and their values


class Spill:
    """Groups of rows on disk.

    A group's rows are in the order in which they were added. An instance must be used by one thread only.

    Args:
        directory: a directory on a local disk; it is created if it is missing. None = the system's directory for
            temporary files.
        buffered_rows: when this many rows are buffered, they are written, because a small block costs as much as a
            large block.

    Attributes:
        close: deletes the rows. Python calls `close` automatically when the object is no longer used.
    """

    def __init__(self, directory: Path | None, buffered_rows: int = _BUFFERED_ROWS) -> None:
        if directory is not None:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._file = tempfile.TemporaryFile(dir=directory)  # noqa: SIM115  # closed by `close`
        self.close = weakref.finalize(self, self._file.close)
        self._buffered_rows = buffered_rows
        self._blocks: defaultdict[int, list[_Block]] = defaultdict(list)
        self._waiting: list[tuple[pl.DataFrame, I64Array]] = []
        self._waiting_rows = 0
        self._columns: tuple[str, ...] = ()
        self._size = 0

    def add(self, rows: pl.DataFrame, groups: I64Array) -> None:
        """Add rows. `groups` contains each row's group (n,). All frames must have the same columns."""
        if rows.height:
            self._waiting.append((rows, groups))
            self._waiting_rows += rows.height
        if self._waiting_rows >= self._buffered_rows:
            self._flush()

    def groups(self) -> list[int]:
        """Return the groups that have rows, in ascending order."""
        self._flush()
        return sorted(self._blocks)

    def height(self, group: int) -> int:
        """Return how many rows a group has."""
        self._flush()
        return sum(block.rows for block in self._blocks.get(group, ()))

    def read(self, group: int, columns: Sequence[str] | None = None) -> Iterator[pl.DataFrame]:
        """Yield a group's rows block by block, with the given columns or all columns."""
        self._flush()
        wanted = self._columns if columns is None else tuple(columns)
        for block in self._blocks.get(group, ()):
            constants = [name for name in block.constants.columns if name in wanted]
            stored = [name for name in wanted if name not in constants]
            rows = {name: block.constants[name].new_from_index(0, block.rows) for name in constants}
            if stored:
                self._file.seek(block.start)
                rows |= pl.read_ipc_stream(BytesIO(self._file.read(block.size)), columns=stored).to_dict()
            yield pl.DataFrame([rows[name] for name in wanted])

    def _flush(self) -> None:
        if not self._waiting:
            return
        rows = pl.concat([frame for frame, _ in self._waiting])
        groups = np.concatenate([numbers for _, numbers in self._waiting])
        self._waiting, self._waiting_rows, self._columns = [], 0, tuple(rows.columns)
        constants = _constants(rows)
        rows = rows.drop(constants.columns)
        if (groups[1:] < groups[:-1]).any():
            order = np.argsort(groups, kind="stable")
            rows, groups = rows[order], groups[order]
        begins = np.flatnonzero(np.append(True, groups[1:] != groups[:-1]))
        ends = np.append(begins[1:], len(groups))
        try:
            for begin, end in zip(begins.tolist(), ends.tolist(), strict=True):
                self._write(int(groups[begin]), rows[begin:end], constants)
        except OSError as error:
            raise as_disk_full(error) or error from error

    def _write(self, group: int, rows: pl.DataFrame, constants: pl.DataFrame) -> None:
        target = BytesIO()
        # With Polars' newest layout, each slice would contain all rows' texts.
        rows.write_ipc_stream(target, compression="lz4", compat_level=pl.CompatLevel.oldest())
        self._file.seek(self._size)
        self._file.write(target.getbuffer())
        self._blocks[group].append(_Block(self._size, target.tell(), rows.height, constants))
        self._size += target.tell()


def _constants(rows: pl.DataFrame) -> pl.DataFrame:
    """Return a row with the single-valued columns.

    If all columns are single-valued, leave out the last of these columns.
    """
    names = [name for name in rows.columns if _is_constant(rows[name])][: rows.width - 1]
    return pl.DataFrame({name: [rows[name][0]] for name in names}, schema={name: rows.schema[name] for name in names})


def _is_constant(values: pl.Series) -> bool:
    """Return whether all values are equal; for types whose comparison costs too much, return False."""
    if values.null_count():
        return values.null_count() == len(values)
    if values.dtype.is_numeric():
        return bool(values.min() == values.max())
    return values.dtype == pl.String and bool((values == values[0]).all())
