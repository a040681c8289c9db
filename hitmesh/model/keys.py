"""Compute the hashes, visitor keys and partitions that identify hits and visitors.

Stored hashes never change. hash64 is XXH3-64 (seed 0) over length-prefixed UTF-8. Visitor keys are BLAKE2b-128, keyed
by the site's secret (rule I1). Golden values in tests/unit/test_keys.py fix hash64 and the visitor keys. The module
hitmesh.model.rows.hash_columns hashes whole columns.
"""

from __future__ import annotations

import struct
from hashlib import blake2b

import numpy as np
import xxhash

from hitmesh.model.arrays import BoolArray, I32Array, U64Array

_U64 = np.uint64
_MULTIPLIERS = tuple(
    np.uint64(odd) for odd in (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0xD6E8FEB86659FD93, 0xA0761D6478BD642F)
)
_NOT_EXCLUDED = ~np.uint64(1)


def hash64(*parts: str) -> int:
    """Return XXH3-64 over the parts.

    Each part is hashed as its length (4 bytes, little-endian) followed by its UTF-8 bytes.

    Example:
        >>> f"{hash64('hit-1'):016x}"
        '3653f1a01356dc18'
        >>> hash64("ab", "c") == hash64("a", "bc")  # each part has its length in front
        False
    """
    hasher = xxhash.xxh3_64()
    for part in parts:
        encoded = part.encode("utf-8", "surrogatepass")
        hasher.update(struct.pack("<I", len(encoded)))
        hasher.update(encoded)
    return hasher.intdigest()


def visitor_key(site_secret: bytes, kind: str, *parts: str) -> tuple[int, int]:
    """Return the high and the low 64 bits of the visitor key, a BLAKE2b-128 keyed by the site's secret (rule I1).

    Args:
        site_secret: 16 to 64 bytes; never leaves the collector.
        kind: the identifier's kind ("user", "visitor", "daily"); equal strings of different kinds are different
            visitors.
        parts: the visitor's identifiers.

    Example:
        >>> secret = bytes(16)
        >>> visitor_key(secret, "user", "ada") == visitor_key(secret, "visitor", "ada")  # rule I1
        False
        >>> f"{visitor_key(secret, 'user', 'ada')[0]:016x}"
        'cfca10bb1ce9d9ec'
    """
    hasher = blake2b(digest_size=16, key=site_secret)
    for part in (kind, *parts):
        encoded = part.encode("utf-8", "surrogatepass")
        hasher.update(struct.pack("<I", len(encoded)))
        hasher.update(encoded)
    high, low = struct.unpack("<QQ", hasher.digest())
    return int(high), int(low)


def partition_of(
    site_hash: U64Array,
    visitor_lo: U64Array,
    spread: U64Array,
    partitions: int,
) -> I32Array:
    """Return each hit's partition, (hash64(site) + visitor_lo mod spread) mod partitions (architecture A4).

    A spread of 0 counts as 1.

    Example:
        >>> site, visitors = np.full(3, 10, np.uint64), np.array([0, 1, 2], np.uint64)
        >>> partition_of(site, visitors, np.full(3, 1, np.uint64), 4).tolist()  # a site has one partition
        [2, 2, 2]
        >>> partition_of(site, visitors, np.full(3, 2, np.uint64), 4).tolist()  # spread over two (architecture A4)
        [2, 3, 2]
    """
    shifted = site_hash % _U64(partitions) + visitor_lo % np.maximum(spread, _U64(1))
    return (shifted % _U64(partitions)).astype(np.int32)


def timeline_keys(site_hashes: U64Array, visitor_hi: U64Array, visitor_lo: U64Array, excluded: BoolArray) -> U64Array:
    """Return each hit's timeline key: a hash of site and visitor whose lowest bit marks excluded hits.

    Snapshots and erasure marks depend on timeline keys, so this function must never change.

    Example:
        >>> site, high, low = (np.array([word], np.uint64) for word in (1, 2, 3))
        >>> keys = timeline_keys(site, high, low, np.array([True]))
        >>> int(keys[0] & np.uint64(1)), visitors_of(keys) == timeline_keys(site, high, low, np.array([False]))
        (1, array([ True]))
    """
    mixed = site_hashes * _MULTIPLIERS[0] ^ visitor_hi * _MULTIPLIERS[1] ^ visitor_lo
    mixed ^= mixed >> np.uint64(32)
    mixed *= _MULTIPLIERS[2]
    mixed ^= mixed >> np.uint64(29)
    mixed *= _MULTIPLIERS[3]
    mixed ^= mixed >> np.uint64(32)
    keys: U64Array = (mixed & _NOT_EXCLUDED) | excluded.astype(np.uint64)
    return keys


def visitors_of(keys: U64Array) -> U64Array:
    """Return each timeline key (n,) without the bit for excluded hits.

    The excluded hits and the other hits of a visitor thus get the same key.

    Example:
        >>> visitors_of(np.array([6, 7, 8], np.uint64)).tolist()
        [6, 6, 8]
    """
    visitors: U64Array = keys & _NOT_EXCLUDED
    return visitors
