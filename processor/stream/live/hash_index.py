"""Maps 64-bit keys to slot numbers, for millions of keys at a time (journey step 5).

The index is an open-addressing hash table in two NumPy arrays. A whole batch is looked up at once. The index takes 12
bytes per table entry. A dictionary would take 130 bytes per key. Keys must be hashes, because the upper bits of a key
select its table entry.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from hitmesh.model.arrays import I32Array, I64Array, U64Array
from processor.stream.live.limits import PRODUCTION

MISSING: Final = -1
_MAX_LOAD: Final = 0.6


class HashIndex:
    """An index of keys, each with a slot number from 0 to 2³¹ − 1.

    Keys cannot be removed. To drop keys, build a new index.

    Args:
        expected: the number of keys that fit before the table must grow.
        smallest_bits: the table has at least 2**smallest_bits entries; at least 1.
    """

    def __init__(self, expected: int = 0, smallest_bits: int = PRODUCTION.index_bits) -> None:
        self._count = 0
        self._allocate(max(smallest_bits, _bits_for(expected)))

    def __len__(self) -> int:
        return self._count

    def find(self, keys: U64Array) -> I64Array:
        """Return each key's slot (n,). The slot of an unknown key is MISSING."""
        found = np.full(len(keys), MISSING, np.int64)
        places = self._home(keys)
        waiting = np.arange(len(keys))
        while len(waiting):
            at = places[waiting]
            slots = self._slots[at]
            same = (slots >= 0) & (self._keys[at] == keys[waiting])
            found[waiting[same]] = slots[same]
            waiting = waiting[(slots >= 0) & ~same]
            places[waiting] = (places[waiting] + 1) & self._mask
        return found

    def add(self, keys: U64Array, slots: I64Array) -> None:
        """Add keys (n,) with their slots. The keys must be distinct and must not be in the index yet."""
        if self._count + len(keys) > _MAX_LOAD * len(self._slots):
            self._grow(self._count + len(keys))
        self._count += len(keys)
        self._place(keys, slots.astype(np.int32))

    def _place(self, keys: U64Array, slots: I32Array) -> None:
        places = self._home(keys)
        waiting = np.arange(len(keys))
        while len(waiting):
            at = places[waiting]
            free = self._slots[at] < 0
            taking, wanted = waiting[free], at[free]
            # If several keys want the same table entry, only the last of these keys is stored, together with its slot.
            self._keys[wanted] = keys[taking]
            self._slots[wanted] = slots[taking]
            placed = np.zeros(len(waiting), np.bool_)
            placed[free] = self._keys[wanted] == keys[taking]
            waiting = waiting[~placed]
            places[waiting] = (places[waiting] + 1) & self._mask

    def _grow(self, expected: int) -> None:
        kept = self._slots >= 0
        keys, slots = self._keys[kept], self._slots[kept]
        self._allocate(_bits_for(2 * expected))
        self._place(keys, slots)

    def _allocate(self, bits: int) -> None:
        self._shift = np.uint64(64 - bits)
        self._mask = (1 << bits) - 1
        self._keys = np.zeros(1 << bits, np.uint64)
        self._slots = np.full(1 << bits, MISSING, np.int32)

    def _home(self, keys: U64Array) -> I64Array:
        return (keys >> self._shift).astype(np.int64)


def _bits_for(expected: int) -> int:
    return int(expected / _MAX_LOAD).bit_length()
