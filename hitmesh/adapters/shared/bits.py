"""Convert unsigned 64-bit numbers to signed integers and back, because SQLite and Cassandra have no unsigned type."""

from __future__ import annotations

from typing import Final

_UNSIGNED: Final = 1 << 64
_SIGN_BIT: Final = 1 << 63


def to_signed(bits: int) -> int:
    """Return the signed number with the same 64 bits."""
    return bits - _UNSIGNED if bits & _SIGN_BIT else bits


def to_unsigned(number: int) -> int:
    """Return the unsigned number with the same 64 bits."""
    return number % _UNSIGNED
