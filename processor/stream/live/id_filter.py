"""Whether an id may have been seen (step 5 of the journey, rule D2): a filter that forgets by log time.

Decides «certainly not» or «perhaps»; who needs to know looks at the hits themselves. It never says «certainly not» of
an id that it was told within the span it keeps. One Bloom filter per epoch of log time, in blocks of two words, so
that a look costs two places in memory a filter; 32 bits an id make one answer in about 10,000 a wrong «perhaps».
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from hitmesh.model.arrays import BoolArray, U64Array
from processor.stream.live.limits import PRODUCTION, Limits

_IDS_PER_BLOCK: Final = 4  # of 128 bits
_SPREAD: Final = np.uint64(0x9E3779B97F4A7C15)
_SIX: Final = np.uint64(63)
_ONE: Final = np.uint64(1)


@dataclass(slots=True)
class _Block:
    """A filter of fixed size: ids of one epoch, at most `capacity`."""

    epoch: int
    capacity: int
    words: U64Array
    count: int = 0


class IdFilter:
    """Ids (hashes) by epoch of log time.

    Args:
        limits: how many ids the smallest filter has room for: a power of two, at least 4.
    """

    def __init__(self, limits: Limits = PRODUCTION) -> None:
        self._smallest = limits.filter_ids
        self._blocks: list[_Block] = []

    @property
    def nbytes(self) -> int:
        """How much memory the filters take."""
        return sum(block.words.nbytes for block in self._blocks)

    def may_hold(self, ids: U64Array) -> BoolArray:
        """Return for each id (n,) whether it may have been added."""
        found = np.zeros(len(ids), np.bool_)
        low, high = _bits(ids)
        for block in self._blocks:
            at = _places(ids, block)
            found |= ((block.words[at] & low) == low) & ((block.words[at + 1] & high) == high)
        return found

    def add(self, ids: U64Array, epoch: int) -> None:
        """Add ids (n,) of an epoch; epochs never fall."""
        while len(ids):
            block = self._with_room(epoch)
            taken, ids = np.split(ids, [block.capacity - block.count])
            low, high = _bits(taken)
            at = _places(taken, block)
            np.bitwise_or.at(block.words, at, low)
            np.bitwise_or.at(block.words, at + 1, high)
            block.count += len(taken)

    def forget_before(self, epoch: int) -> None:
        """Forget the ids of epochs before this one."""
        self._blocks = [block for block in self._blocks if block.epoch >= epoch]

    def _with_room(self, epoch: int) -> _Block:
        """Return the newest filter of the epoch, or a new one twice as large as the one that is full."""
        last = self._blocks[-1] if self._blocks else None
        if last is not None and last.epoch == epoch and last.count < last.capacity:
            return last
        # An epoch is expected to bring about as many ids as the one before it.
        capacity = max(self._smallest, _capacity_for(last.count) if last is not None else 0)
        if last is not None and last.epoch == epoch:
            capacity = 2 * last.capacity
        block = _Block(epoch, capacity, np.zeros(2 * (capacity // _IDS_PER_BLOCK), np.uint64))
        self._blocks.append(block)
        return block


def _capacity_for(count: int) -> int:
    return 1 << max(0, count - 1).bit_length()


def _places(ids: U64Array, block: _Block) -> npt.NDArray[np.int64]:
    """Return the first word of each id's block: capacities are powers of two."""
    return ((ids & np.uint64(block.capacity // _IDS_PER_BLOCK - 1)) << _ONE).astype(np.int64)


def _bits(ids: U64Array) -> tuple[U64Array, U64Array]:
    """Return the four bits of each id in either word of its block; from other bits of it than its place."""
    mixed = ids * _SPREAD
    mixed ^= mixed >> np.uint64(32)
    bits = [_ONE << ((mixed >> np.uint64(shift)) & _SIX) for shift in range(0, 48, 6)]
    return bits[0] | bits[1] | bits[2] | bits[3], bits[4] | bits[5] | bits[6] | bits[7]
