"""64 bits as the signed integer of a store (SQLite, Cassandra's bigint) and back. Decides nothing else."""

from __future__ import annotations

from typing import Final

_UNSIGNED: Final = 1 << 64
_SIGN_BIT: Final = 1 << 63


def to_signed(bits: int) -> int:
    """Returns the signed number with the same 64 bits."""
    return bits - _UNSIGNED if bits & _SIGN_BIT else bits


def to_unsigned(number: int) -> int:
    """Returns the unsigned number with the same 64 bits."""
    return number % _UNSIGNED
