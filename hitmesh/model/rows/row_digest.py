"""A linear digest of rows (architecture A8): the digest of summed rows is the sum of the rows' digests.

A row's digest is the sum, over the row's measures, of hash(row key, measure) × value, mod 2⁶⁴. The row key is site,
cell, excluded and the dimensions, without the generation. The stream's rows are signed differences, and the sum of
their digests is the digest of the summed rows. A settlement compares the sum of the stream's digests with the digest of
the settled rows, without reading any stream row. Texts are hashed with the mesh secret (rule D0), because senders
choose the texts. A sender who does not know the secret cannot craft different rows with equal digests. The digest is
stored, so its hash functions must not change.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from types import MappingProxyType
from typing import Final

import numpy as np
import polars as pl

from hitmesh.model.arrays import U64Array
from hitmesh.model.keys import hash64
from hitmesh.model.rows.rollup_rows import (
    TRAFFIC_DIMENSIONS,
    TRAFFIC_MEASURES,
    VISITS_DIMENSIONS,
    VISITS_MEASURES,
    RowSource,
)

_DIMENSIONS: Final = {RowSource.TRAFFIC: TRAFFIC_DIMENSIONS, RowSource.VISITS: VISITS_DIMENSIONS}
_MEASURES: Final = {RowSource.TRAFFIC: TRAFFIC_MEASURES, RowSource.VISITS: VISITS_MEASURES}
_STEP: Final = np.uint64(0x9E3779B97F4A7C15)
_MIX: Final = np.uint64(0xD6E8FEB86659FD93)
_FEW: Final = 50
MAX_REMEMBERED: Final = 100_000
NOT_SET_HASH: Final = 0x5BD1E9955BD1E995


class RowDigest:
    """Computes digests with a secret. Threads may share an instance; in the worst case, a text is hashed twice.

    Args:
        secret: the mesh secret (SiteDirectory.mesh_secret), at most 64 bytes; stream and settlement must use the same
            secret.
        max_remembered: maximum number of cached texts; a full cache is emptied.
    """

    def __init__(self, secret: bytes = b"", max_remembered: int = MAX_REMEMBERED) -> None:
        self._state = blake2b(digest_size=8, key=secret)
        self._max_remembered = max_remembered
        self._remembered: dict[str, int] = {}

    def texts(self, values: pl.Series) -> U64Array:
        """Return each text's hash, uint64 (n,); NOT_SET_HASH for null.

        Example:
            >>> hashes = RowDigest(bytes(32)).texts(pl.Series(["/shoes", "/shoes", None])).tolist()
            >>> hashes[0] == hashes[1], hashes[2] == NOT_SET_HASH
            (True, True)
        """
        if values.null_count() == len(values):  # a fast path, because most dimensions are null in most rows
            return np.full(len(values), NOT_SET_HASH, np.uint64)
        if len(values) <= _FEW:
            return np.array([self._hash_or_not_set(text) for text in values.to_list()], np.uint64)
        # Arrow encodes a column in one pass. Polars expressions would need three passes, and would take 0.5 ms even for
        # few rows.
        encoded = values.to_arrow(compat_level=pl.CompatLevel.oldest()).dictionary_encode()
        distinct = encoded.dictionary.to_pylist()
        hashes = np.array([*map(self._hash, distinct), NOT_SET_HASH], np.uint64)
        found: U64Array = hashes[encoded.indices.fill_null(len(distinct)).to_numpy()]
        return found

    def of(
        self, rows: pl.DataFrame, source: RowSource, known: Mapping[str, U64Array] = MappingProxyType({})
    ) -> U64Array:
        """Return each row's digest, uint64 (n,); the digest of several rows is the sum of their digests mod 2⁶⁴.

        Args:
            rows: key, dimensions and measures of the source (hitmesh.model.rows.rollup_rows); measures may be negative.
            source: the row source.
            known: hashes (n,) that the caller has already computed, by column: for a dimension, the result of `texts`;
                for "site", the hash64 of each site. Hashes in `known` save most of the computing time.

        Example:
            >>> key = {**dict.fromkeys(("site", *VISITS_DIMENSIONS), "x"), "cell": [0, 0, 0], "excluded": [False] * 3}
            >>> rows = pl.DataFrame({**key, **dict.fromkeys(VISITS_MEASURES, [3, 1, 2])})
            >>> three, *parts = RowDigest(bytes(32)).of(rows, RowSource.VISITS).tolist()
            >>> three == sum(parts) % 2**64  # 3 = 1 + 2 (architecture A8)
            True
        """
        keys = np.full(rows.height, self._hash(source), np.uint64)
        # hash64 needs no secret here, because digests are compared only within a site.
        keys = _mixed(keys, known["site"] if "site" in known else _site_hashes(rows["site"]))
        for name in _DIMENSIONS[source]:
            keys = _mixed(keys, known[name] if name in known else self.texts(rows[name]))
        keys = _mixed(keys, rows["cell"].to_numpy().view(np.uint64))
        keys = _mixed(keys, rows["excluded"].to_numpy().astype(np.uint64))
        digests = np.zeros(rows.height, np.uint64)
        for name in _MEASURES[source]:
            values = rows[name].to_numpy()
            if values.any():
                digests += _mixed(keys, np.full(1, self._hash(name), np.uint64)) * values.view(np.uint64)
        return digests

    def _hash_or_not_set(self, text: str | None) -> int:
        return NOT_SET_HASH if text is None else self._hash(text)

    def _hash(self, text: str) -> int:
        found = self._remembered.get(text)
        if found is None:
            hasher = self._state.copy()
            hasher.update(text.encode("utf-8", "surrogatepass"))
            found = int.from_bytes(hasher.digest(), "little")
            if len(self._remembered) >= self._max_remembered:
                self._remembered.clear()
            self._remembered[text] = found
        return found


def _site_hashes(sites: pl.Series) -> U64Array:
    encoded = sites.to_arrow(compat_level=pl.CompatLevel.oldest()).dictionary_encode()
    hashes = np.array([hash64(site) for site in encoded.dictionary.to_pylist()], np.uint64)
    found: U64Array = hashes[encoded.indices.to_numpy()]
    return found


def _mixed(keys: U64Array, values: U64Array) -> U64Array:
    """Return a hash of each pair (key, value); integer overflow wraps on purpose."""
    mixed = (keys * _STEP) ^ values
    mixed ^= mixed >> np.uint64(32)
    mixed *= _MIX
    mixed ^= mixed >> np.uint64(29)
    return mixed
