"""Caches visitor keys by id. Most ids are looked up instead of hashed.

This module decides when cached keys are evicted. A cached key is a pure function of the id (`keys.visitor_key`). An
eviction costs time, but changes no result. A key takes about 0.7 µs to compute and 0.1 µs to look up.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Final

import numpy as np

from hitmesh.model.arrays import U64Array

DEFAULT_MAX_ENTRIES: Final = 200_000
_MOST_SCOPES: Final = 10_000
_LENGTHS: Final = tuple(struct.pack("<I", length) for length in range(256))
_KEY: Final = np.dtype("<u8")


class VisitorMemory:
    """A cache of visitor keys in two halves, young and old.

    When the young half is full, the old half is dropped and the young half becomes the old half. Threads may share a
    cache. In the worst case, two threads compute the same key.
    """

    def __init__(self, max_entries: int = DEFAULT_MAX_ENTRIES) -> None:
        self._most_young = max(1, max_entries // 2)
        self._young: dict[bytes, bytes] = {}
        self._old: dict[bytes, bytes] = {}

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def keys_of(self, kind: str, secrets: Sequence[bytes], ids: Sequence[bytes]) -> U64Array:
        """Return visitor_key(secret, kind, id) for each pair of secret and id, as a row (high, low).

        Args:
            kind: the kind of id, as in `visitor_key`.
            secrets: the secret of each id's site; usually only few secrets are distinct.
            ids: UTF-8, at most 255 bytes each.
        """
        scopes = {secret: _scope(secret, kind) for secret in set(secrets)}
        sought = [scopes[secret] + each for secret, each in zip(secrets, ids, strict=True)]
        found = [self._young.get(each) for each in sought]
        missing = [at for at, digest in enumerate(found) if digest is None]
        if missing:
            states = {secret: _keyed(secret, kind) for secret in scopes}
            for at in missing:
                digest = self._old.get(sought[at])
                if digest is None:
                    hasher = states[secrets[at]].copy()
                    hasher.update(_LENGTHS[len(ids[at])] + ids[at])
                    digest = hasher.digest()
                found[at] = self._young[sought[at]] = digest
            if len(self._young) > self._most_young:
                self._old, self._young = self._young, {}
        return np.frombuffer(b"".join(found), _KEY).reshape(-1, 2)  # type: ignore[arg-type]  # none is missing now


@lru_cache(maxsize=_MOST_SCOPES)
def _keyed(secret: bytes, kind: str) -> blake2b:
    """Return a hasher that has already hashed secret and kind, as `visitor_key` does before it hashes the id."""
    hasher = blake2b(digest_size=16, key=secret)
    hasher.update(_LENGTHS[len(kind)] + kind.encode())
    return hasher


@lru_cache(maxsize=_MOST_SCOPES)
def _scope(secret: bytes, kind: str) -> bytes:
    """Return the first 16 bytes of a cache key, which identify secret and kind. The id follows in the cache key."""
    return blake2b(kind.encode(), digest_size=16, key=secret).digest()
