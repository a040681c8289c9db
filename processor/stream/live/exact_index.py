"""Assigns a number to each distinct value.

The hash of a value finds a known value that may be equal. A comparison then decides whether the two values are equal
(rule D0). Equal values get the same number. Different values never share a number, whatever their hashes are. If
another value occupies a value's table entry, the value takes the next entry in its probe sequence.
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
    """An index from values to numbers. Values cannot be removed. To drop values, build a new index.

    Args:
        hash_bits: the number of bits of each hash that are used. Tests use few bits, so that different values collide.
    """

    def __init__(self, hash_bits: int = HASH_BITS) -> None:
        self._index = HashIndex()
        self._used = np.uint64((1 << hash_bits) - 1)

    def add(self, hashes: U64Array, numbers: I64Array) -> None:
        """Add values (n,) with the given numbers. The values must be distinct and must not be in the index yet."""
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
        """Return each value's number (n,). Values that are not in the index are added.

        Args:
            hashes: each value's hash; equal values must have equal hashes.
            are_equal: returns whether the values at the given places in `hashes` are equal to the values with the given
                numbers. If the places are None, all n values are compared.
            new: assigns numbers to the new values at the given places, and returns these numbers. The given places are
                distinct and ascending.
        """
        found = np.empty(len(hashes), np.int64)
        waiting: I64Array | None = None  # all values
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
        keys: U64Array = (hashes & self._used) * _STEP  # the hash's upper bits select the table entry
        return keys


def seed() -> int:
    """Return a random seed for hashes. The hashes are valid only within a single index.

    Each index has its own random seed. A sender therefore cannot choose texts whose hashes collide, and probe sequences
    stay short.
    """
    return randbits(64)


def _next(keys: U64Array) -> U64Array:
    """Return the next key in the probe sequence for each key."""
    mixed = (keys ^ (keys >> np.uint64(32))) * _MIX
    following: U64Array = (mixed ^ (mixed >> np.uint64(29))) * _STEP + _MIX
    return following
