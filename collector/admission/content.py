"""Computes hit ids and content hashes (rule D1). Two hits with equal ids are copies if they also have equal content.

If two hits have equal ids but different content, the ids collide. The content hash is a sum of field hashes. The caller
(`hits.py:_content`) decides which fields belong to the content.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl
import polars_hash  # noqa: F401  # registers Expr.nchash
import pyarrow as pa
import xxhash

from collector.admission.texts import Texts, byte_lengths
from hitmesh.model.arrays import BoolArray, U64Array
from hitmesh.model.keys import hash64
from hitmesh.model.rows.hash_columns import hash64_column

_FEW: Final = 500


@cache
def _factor(name: str) -> np.uint64:
    """Return the odd number by which a field's hashes are multiplied.

    Equal values in different fields thus hash differently.
    """
    return np.uint64(hash64(name) | 1)


class ContentHash:
    """The content hash of each row, computed as the sum of its field hashes.

    An unset field adds 0, so a field that no row sets can be skipped.
    """

    def __init__(self, height: int) -> None:
        self.values: U64Array = np.zeros(height, dtype=np.uint64)

    def add_texts(self, fields: Mapping[str, Texts | None]) -> None:
        """Add string fields. Each distinct value is hashed once, and all fields are hashed in a single call."""
        present = {name: texts for name, texts in fields.items() if texts is not None}
        if not present:
            return
        joined = pa.concat_arrays([texts.values for texts in present.values()])
        hashes = _hashes(pl.Series("texts", joined.view(pa.binary()), dtype=pl.Binary()))
        hashes[byte_lengths(joined) == 0] = 0
        start = 0
        for name, texts in present.items():
            end = start + len(texts.values)
            self.values += (hashes[start:end] * _factor(name))[texts.codes]
            start = end

    def add_numbers(self, name: str, values: npt.NDArray[np.integer] | BoolArray) -> None:
        """Add a numeric field to the hashes; a value of 0 counts as not set."""
        if values.any():
            self.values += values.astype(np.uint64) * _factor(name)

    def add_bytes(self, name: str, values: pl.Series | None) -> None:
        """Add a bytes field to the hashes; a null counts as not set."""
        if values is not None:
            self.values += _hashes(values) * _factor(name)

    def add_entries(self, name: str, lists: pl.Series | None) -> None:
        """Add lists of bytes to the hashes. The order in each list does not matter; a null counts as not set."""
        if lists is None:
            return
        counts = lists.list.len().fill_null(0).to_numpy()
        hashes = _hashes(lists.drop_nulls().explode())
        np.add.at(self.values, np.repeat(np.arange(len(counts)), counts), hashes * _factor(name))


def id_hashes(ids: Texts) -> U64Array:
    """Return the hash of each row's id, as computed by `keys.hash64`."""
    if len(ids.values) <= _FEW:
        hashes = np.array([hash64(each) for each in ids.values.to_pylist()], dtype=np.uint64)
    else:
        hashes = hash64_column(pl.Series(ids.values, dtype=pl.String())).to_numpy()
    found: U64Array = hashes[ids.codes]
    return found


def with_ids(sent: Texts | None, height: int, made_up: Callable[[int], str]) -> Texts:
    """Return each hit's id. A hit that was sent without an id gets the id `made_up(row)`."""
    missing = np.ones(height, np.bool_) if sent is None else ~sent.is_set()
    rows = np.flatnonzero(missing)
    if sent is not None and not len(rows):
        return sent
    made = Texts.constant([made_up(row) for row in rows.tolist()], np.arange(len(rows), dtype=np.int32))
    made = made.scattered(rows, height)
    return made if sent is None else sent.or_else(made)


def _hashes(values: pl.Series) -> U64Array:
    """Return the XXH3-64 hash of each string or bytes value, or 0 for null.

    Up to `_FEW` values are hashed in a loop, because starting a polars query takes longer.
    """
    if len(values) <= _FEW:
        found = (0 if value is None else xxhash.xxh3_64_intdigest(value) for value in values.to_list())
        return np.fromiter(found, dtype=np.uint64, count=len(values))
    hashed = values.alias("value").to_frame().select(pl.col("value").nchash.xxh3_64().fill_null(0))  # type: ignore[attr-defined]  # registered by polars_hash
    return hashed.to_series().to_numpy().copy()
