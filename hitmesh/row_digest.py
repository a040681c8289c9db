"""A linear digest of rows (decision A8): equal sets of rows have equal digests, and digests of differences add up.

The digest of a row is Σ over its measures of hash64(row key, measure) × value mod 2⁶⁴, where the row key is site,
cell, excluded and the dimensions; the generation is none of it. So the digest of what the stream emitted, signed row
by signed row, is that of their net, and a settlement compares it with the digest of its own rows without reading any
row of the stream. Decides the hash only; it is stored, so it never changes within a logic version.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from hitmesh.keys import hash64, hash64_column
from hitmesh.rollup_rows import (
    TRAFFIC_DIMENSIONS,
    TRAFFIC_MEASURES,
    VISITS_DIMENSIONS,
    VISITS_MEASURES,
    RowSource,
)

U64Array = npt.NDArray[np.uint64]

_DIMENSIONS: Final = {RowSource.TRAFFIC: TRAFFIC_DIMENSIONS, RowSource.VISITS: VISITS_DIMENSIONS}
_MEASURES: Final = {RowSource.TRAFFIC: TRAFFIC_MEASURES, RowSource.VISITS: VISITS_MEASURES}
_STEP: Final = np.uint64(0x9E3779B97F4A7C15)
_MIX: Final = np.uint64(0xD6E8FEB86659FD93)
NOT_SET_HASH: Final = 0x5BD1E9955BD1E995


def row_digests(
    rows: pl.DataFrame, source: RowSource, known: Mapping[str, U64Array] = MappingProxyType({})
) -> U64Array:
    """Return the digest of each row (n,); that of several rows is their sum mod 2⁶⁴.

    Args:
        rows: key, dimensions and measures of the source (hitmesh.rollup_rows); measures may be negative.
        source: which rows they are.
        known: hash64 of site or dimensions (n,), NOT_SET_HASH for null, where the caller has them: hashing is what
            a digest costs.
    """
    keys = np.full(rows.height, hash64(source), np.uint64)
    for name in ("site", *_DIMENSIONS[source]):
        keys = _mixed(keys, known[name] if name in known else _hashes(rows[name]))
    keys = _mixed(keys, rows["cell"].to_numpy().view(np.uint64))
    keys = _mixed(keys, rows["excluded"].to_numpy().astype(np.uint64))
    digests = np.zeros(rows.height, np.uint64)
    for name in _MEASURES[source]:
        values = rows[name].to_numpy()
        if values.any():
            digests += _mixed(keys, np.full(1, hash64(name), np.uint64)) * values.view(np.uint64)
    return digests


def _hashes(values: pl.Series) -> U64Array:
    if values.null_count() == len(values):  # most dimensions of most rows
        return np.full(len(values), NOT_SET_HASH, np.uint64)
    return hash64_column(values).fill_null(NOT_SET_HASH).to_numpy()


def _mixed(keys: U64Array, values: U64Array) -> U64Array:
    """Return a hash of each pair; wraps on purpose."""
    mixed = (keys * _STEP) ^ values
    mixed ^= mixed >> np.uint64(32)
    mixed *= _MIX
    mixed ^= mixed >> np.uint64(29)
    return mixed
