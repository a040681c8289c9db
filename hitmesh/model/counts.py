"""A number of hits with checksums over the hits (rule D5)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_MODULUS: Final = 1 << 64


@dataclass(frozen=True, slots=True)
class Count:
    """A number of hits, with two checksums: the sum modulo 2⁶⁴ and the XOR of the hits' hash64."""

    hits: int = 0
    sum64: int = 0
    xor64: int = 0

    def __add__(self, other: Count) -> Count:
        """Return this count plus the other count."""
        return Count(self.hits + other.hits, (self.sum64 + other.sum64) % _MODULUS, self.xor64 ^ other.xor64)

    def __sub__(self, other: Count) -> Count:
        """Subtract the other count's hits and checksums from this count.

        Example:
            >>> Count(3, 7, 5) - Count(1, 9, 4)
            Count(hits=2, sum64=18446744073709551614, xor64=1)
        """
        return Count(self.hits - other.hits, (self.sum64 - other.sum64) % _MODULUS, self.xor64 ^ other.xor64)

    def distance(self, other: Count) -> int:
        """Return the difference in hits between two counts, plus 1 for each checksum that differs.

        Example:
            >>> Count(3, 7, 5).distance(Count(1, 7, 4))
            3
        """
        return abs(self.hits - other.hits) + (self.sum64 != other.sum64) + (self.xor64 != other.xor64)
