"""Bloom filters that tell whether an id may have been seen recently in log time (journey step 5, rule D2).

A filter answers "new" or "perhaps seen". If the answer is "perhaps seen", the caller must compare the hits. If an id
was added, the answer is "perhaps seen" until the id's epoch is dropped. With 32 bits per id, the filters report about 1
in 10,000 new ids as perhaps seen. Each epoch of log time has its own filters. A filter consists of blocks with two
adjacent words. A lookup reads only one block per filter.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl

from hitmesh.model.arrays import BoolArray, I64Array, U64Array
from processor.stream.live.limits import PRODUCTION, Limits

_IDS_PER_BLOCK: Final = 4  # a block has 128 bits
_SPREAD: Final = np.uint64(0x9E3779B97F4A7C15)
_SCHEMA: Final[dict[str, pl.DataType]] = {
    "epoch": pl.Int64(),
    "capacity": pl.Int64(),
    "count": pl.Int64(),
    "words": pl.List(pl.UInt64),
}
_SIX: Final = np.uint64(63)
_ONE: Final = np.uint64(1)


@dataclass(slots=True)
class _Block:
    """A filter of fixed size for at most `capacity` ids from one epoch."""

    epoch: int
    capacity: int
    words: U64Array
    count: int = 0


class IdFilter:
    """The hashes of ids that were seen. Each epoch of log time has its own filters.

    Args:
        limits: `filter_ids` is the capacity of the smallest filter: a power of two, at least 4.
    """

    def __init__(self, limits: Limits = PRODUCTION) -> None:
        self._smallest = limits.filter_ids
        self._blocks: list[_Block] = []

    def may_hold(self, ids: U64Array) -> BoolArray:
        """Return a boolean array (n,): True for ids that may have been added before."""
        found = np.zeros(len(ids), np.bool_)
        low, high = _bits(ids)
        for block in self._blocks:
            at = _places(ids, block)
            found |= ((block.words[at] & low) == low) & ((block.words[at + 1] & high) == high)
        return found

    def add(self, ids: U64Array, epoch: int) -> None:
        """Add ids (n,) of an epoch. In successive calls, the epochs must not decrease."""
        while len(ids):
            block = self._with_room(epoch)
            taken, ids = np.split(ids, [block.capacity - block.count])
            low, high = _bits(taken)
            at = _places(taken, block)
            np.bitwise_or.at(block.words, at, low)
            np.bitwise_or.at(block.words, at + 1, high)
            block.count += len(taken)

    def forget_before(self, epoch: int) -> None:
        """Drop the ids of all epochs before this epoch."""
        self._blocks = [block for block in self._blocks if block.epoch >= epoch]

    def to_frame(self) -> pl.DataFrame:
        """Return the filters as a table."""
        found = [(block.epoch, block.capacity, block.count, block.words) for block in self._blocks]
        return pl.DataFrame(found, schema=_SCHEMA, orient="row")

    def restore(self, table: pl.DataFrame) -> None:
        """Load a table from `to_frame`, in place of all filters."""
        self._blocks = [
            _Block(epoch, capacity, words.to_numpy().copy(), count)
            for (epoch, capacity, count), words in zip(
                table.select("epoch", "capacity", "count").iter_rows(), table["words"], strict=True
            )
        ]

    def _with_room(self, epoch: int) -> _Block:
        """Return the epoch's newest filter if it has room; otherwise, return a new filter.

        If the newest filter is full, the new filter is twice as large.
        """
        last = self._blocks[-1] if self._blocks else None
        if last is not None and last.epoch == epoch and last.count < last.capacity:
            return last
        # The epoch is expected to have about as many ids as the previous epoch.
        capacity = max(self._smallest, _capacity_for(last.count) if last is not None else 0)
        if last is not None and last.epoch == epoch:
            capacity = 2 * last.capacity
        block = _Block(epoch, capacity, np.zeros(2 * (capacity // _IDS_PER_BLOCK), np.uint64))
        self._blocks.append(block)
        return block


def _capacity_for(count: int) -> int:
    return 1 << max(0, count - 1).bit_length()


def _places(ids: U64Array, block: _Block) -> I64Array:
    """Return the index in `words` at which each id's block starts. The capacity must be a power of two."""
    return ((ids & np.uint64(block.capacity // _IDS_PER_BLOCK - 1)) << _ONE).astype(np.int64)


def _bits(ids: U64Array) -> tuple[U64Array, U64Array]:
    """Return, for each id, four bits of the block's first word and four bits of its second word.

    Other bits of the id select the block.
    """
    mixed = ids * _SPREAD
    mixed ^= mixed >> np.uint64(32)
    bits = [_ONE << ((mixed >> np.uint64(shift)) & _SIX) for shift in range(0, 48, 6)]
    return bits[0] | bits[1] | bits[2] | bits[3], bits[4] | bits[5] | bits[6] | bits[7]
