"""Divides a large site-day's hits into visitor ranges that fit into memory. Finds the copies in each range.

A visitor's hits are all in the same range. A settlement decides each visitor independently, except that claims on
orders and refunds are decided for the whole site (rule D3).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl

from hitmesh.model.arrays import BoolArray, I64Array
from processor.rules.copies import KEY_COLUMNS, Copies, find_copies, key_hashes, repeated_hashes
from processor.settle.memory import SettleMemory
from processor.settle.site_window import SpilledWindow
from processor.settle.spill import Spill
from processor.settle.window import WINDOW_COLUMNS

# The columns that are needed to find copies among hits.
_SUSPECT_COLUMNS: Final = (*KEY_COLUMNS, "hit_id", "content_hash", "event_time", "hit_type", "record", "row")
_NO_SUSPECTS: Final = pl.DataFrame(schema={name: WINDOW_COLUMNS[name] for name in _SUSPECT_COLUMNS})


@dataclass(frozen=True, slots=True)
class VisitorRange:
    """A range of visitors.

    Attributes:
        spill: the hits, as in `SpilledWindow`.
        groups: the range's groups in `spill`.
        hits: how many hits the range has.
    """

    spill: Spill
    groups: Sequence[int]
    hits: int

    def read(self, columns: Sequence[str] | None = tuple(WINDOW_COLUMNS)) -> Iterator[pl.DataFrame]:
        """Yield the hits block by block, with the given columns, or with all columns if `columns` is None.

        A visitor's hits are in log order.
        """
        for group in self.groups:
            yield from self.spill.read(group, columns)

    def column(self, name: str) -> pl.Series:
        """Return a column with all hits' values."""
        return pl.concat(self.read([name]))[name].rechunk()


@dataclass(frozen=True, slots=True)
class RangeCopies:
    """The copies among a range's hits.

    Attributes:
        suspects: the hits whose key may occur more than once, with `_SUSPECT_COLUMNS`.
        copies: the verdict on each suspect.
        is_copy: whether each hit in the range is a copy (n,).
    """

    suspects: pl.DataFrame
    copies: Copies
    is_copy: BoolArray


def visitor_ranges(window: SpilledWindow, memory: SettleMemory) -> Iterator[VisitorRange]:
    """Yield the window's ranges.

    A range has at most `memory.range_hits` hits, unless all hits are from one visitor.
    """
    together: list[int] = []
    hits = 0
    for group in window.spill.groups():
        height = window.spill.height(group)
        if together and hits + height > memory.range_hits:
            yield VisitorRange(window.spill, together, hits)
            together, hits = [], 0
        if height > memory.range_hits:
            yield from _divided(VisitorRange(window.spill, (group,), height), memory)
        else:
            together, hits = [*together, group], hits + height
    if together:
        yield VisitorRange(window.spill, together, hits)


def _divided(too_large: VisitorRange, memory: SettleMemory) -> list[VisitorRange]:
    """Return a group's hits in smaller ranges. A visitor with more hits than the limit has a separate range."""
    visitors, counts = np.unique(too_large.column("visitor_lo").to_numpy(), return_counts=True)
    numbers = _range_numbers(counts.astype(np.int64), memory.range_hits)
    divided = Spill(memory.scratch)
    for rows in too_large.read(None):
        divided.add(rows, numbers[np.searchsorted(visitors, rows["visitor_lo"].to_numpy())])
    return [VisitorRange(divided, (number,), divided.height(number)) for number in divided.groups()]


def _range_numbers(counts: I64Array, limit: int) -> I64Array:
    """Return a range number for each visitor. A range has at most `limit` hits, or a single visitor.

    Example:
        >>> _range_numbers(np.array([2, 1, 9, 2, 2]), 3).tolist()
        [0, 0, 1, 2, 3]
    """
    numbers = np.empty(len(counts), np.int64)
    number, hits = 0, 0
    for visitor, count in enumerate(counts.tolist()):
        if hits and hits + count > limit:
            number, hits = number + 1, 0
        numbers[visitor] = number
        hits += count
    return numbers


def copies_in(visitors: VisitorRange) -> RangeCopies:
    """Return which hits in the range are copies.

    The search takes 17 bytes of memory per hit. The hits whose key may occur more than once are also read into memory.
    """
    hashes = np.concatenate([key_hashes(rows) for rows in visitors.read(KEY_COLUMNS)])
    is_suspect = np.isin(hashes, repeated_hashes(hashes))
    del hashes
    is_copy = np.zeros(len(is_suspect), np.bool_)
    if not is_suspect.any():
        return RangeCopies(_NO_SUSPECTS, find_copies(_NO_SUSPECTS), is_copy)
    parts, begin = [], 0
    for rows in visitors.read(_SUSPECT_COLUMNS):
        parts.append(rows.filter(pl.Series(is_suspect[begin : begin + rows.height])))
        begin += rows.height
    suspects = pl.concat(parts).rechunk()
    copies = find_copies(suspects)
    is_copy[is_suspect] = copies.is_copy
    return RangeCopies(suspects, copies, is_copy)
