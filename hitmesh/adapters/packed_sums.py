"""The sums of a partial as one blob, so that a row is small and a new sum needs no new column.

Decides the bytes: a version, then int64 little-endian in the order of PARTIAL_SUMS. Other sums, or another order, are
another version.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import polars as pl

from hitmesh.errors import StoreCorrupt
from hitmesh.stream_columns import PARTIAL_SUMS

_VERSION: Final = 1
_PACKED: Final = np.dtype([("version", "u1"), ("sums", "<i8", (len(PARTIAL_SUMS),))])


def packed_sums(rows: pl.DataFrame) -> list[bytes]:
    """Returns the sums of each row as one blob."""
    blobs = np.empty(rows.height, _PACKED)
    blobs["version"] = _VERSION
    blobs["sums"] = rows.select(PARTIAL_SUMS).to_numpy()
    whole, size = blobs.tobytes(), _PACKED.itemsize
    return [whole[start : start + size] for start in range(0, len(whole), size)]


def unpacked_sums(blobs: Sequence[bytes]) -> pl.DataFrame:
    """Returns the sums of blobs as columns.

    Raises:
        StoreCorrupt: a blob is of another version or size.
    """
    if any(len(blob) != _PACKED.itemsize for blob in blobs):
        raise StoreCorrupt(f"the sums of a partial are not {_PACKED.itemsize} bytes")
    unpacked = np.frombuffer(b"".join(blobs), _PACKED)
    if (unpacked["version"] != _VERSION).any():
        raise StoreCorrupt(f"the sums of a partial are not of version {_VERSION}; use a newer program")
    return pl.DataFrame(np.ascontiguousarray(unpacked["sums"]), schema=dict.fromkeys(PARTIAL_SUMS, pl.Int64))
