"""Numbers of values that are found by a hash and told apart by comparison (rule D0).

Decides that equal values have one number and different ones never share it, whatever their hashes: a value whose place
is taken by another one stands at the next place of its own row of places. Knows nothing of what the values are.
"""

from __future__ import annotations

from collections.abc import Callable
from secrets import randbits
from typing import Final

import numpy as np
import numpy.typing as npt

from hitmesh.model.arrays import BoolArray, I64Array, U64Array
from processor.stream.live.hash_index import MISSING, HashIndex

HASH_BITS: Final = 64
_STEP: Final = np.uint64(0x9E3779B97F4A7C15)
_MIX: Final = np.uint64(0xD6E8FEB86659FD93)


class ExactIndex:
    """Values by number. Values are never removed: build it anew.

    Args:
        hash_bits: so many bits of a hash are used; few of them make different values meet (tests).
    """

    def __init__(self, hash_bits: int = HASH_BITS) -> None:
        self._index = HashIndex()
        self._used = np.uint64((1 << hash_bits) - 1)

    @property
    def nbytes(self) -> int:
        """How much memory the index takes."""
        return self._index.nbytes

    def add(self, hashes: U64Array, numbers: I64Array) -> None:
        """Add values (n,) with these numbers; they are distinct, and none of them is there."""
        keys = self._keys(hashes)
        while len(keys):
            first = np.zeros(len(keys), np.bool_)
            first[np.unique(keys, return_index=True)[1]] = True
            first &= self._index.find(keys) == MISSING
            self._index.add(keys[first], numbers[first])
            keys, numbers = _next(keys[~first]), numbers[~first]

    def numbers(
        self,
        hashes: U64Array,
        are_equal: Callable[[I64Array | None, I64Array], BoolArray],
        new: Callable[[I64Array], npt.NDArray[np.integer]],
    ) -> I64Array:
        """Return the number of each value (n,).

        Args:
            hashes: of the values; equal values have equal hashes.
            are_equal: returns whether the values at some places (None = all n) are those of these numbers.
            new: returns the numbers of values that were not there, at distinct places in ascending order.
        """
        found = np.empty(len(hashes), np.int64)
        waiting: I64Array | None = None  # all of them
        keys = self._keys(hashes)
        while len(keys):
            known = self._index.find(keys)
            missing = np.flatnonzero(known == MISSING)
            if len(missing):
                first = missing[np.sort(np.unique(keys[missing], return_index=True)[1])]
                self._index.add(keys[first], np.asarray(new(first if waiting is None else waiting[first]), np.int64))
                known[missing] = self._index.find(keys[missing])
            equal = are_equal(waiting, known)
            if waiting is None and equal.all():
                return known
            places = np.arange(len(hashes)) if waiting is None else waiting
            found[places[equal]] = known[equal]
            waiting, keys = places[~equal], _next(keys[~equal])
        return found

    def _keys(self, hashes: U64Array) -> U64Array:
        keys: U64Array = (hashes & self._used) * _STEP  # the upper bits say where a key stands
        return keys


def seed() -> int:
    """Return a seed for hashes that mean nothing outside of one index.

    Texts that were made to meet under the hash of one process do not meet in another one: looking further stays rare.
    """
    return randbits(64)


def _next(keys: U64Array) -> U64Array:
    """Return where a value stands when another one stands at its key."""
    mixed = (keys ^ (keys >> np.uint64(32))) * _MIX
    following: U64Array = (mixed ^ (mixed >> np.uint64(29))) * _STEP + _MIX
    return following
