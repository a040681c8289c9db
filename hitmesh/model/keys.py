"""Identity: hashes, visitor keys, partitions. Decides nothing about time or storage.

Hashes that are stored never change: hash64 is XXH3-64 (seed 0) over length-prefixed UTF-8, visitor keys are BLAKE2b
keyed by the site's secret (rule I1). Golden values in tests/unit/test_keys.py pin both.
"""

from __future__ import annotations

import struct
from hashlib import blake2b

import numpy as np
import numpy.typing as npt
import polars as pl
import polars_hash  # registers Expr.nchash
import xxhash

_U64 = np.uint64
_SEPARATOR, _ESCAPE = "\x1f", "\x1e"
_ASCII_LENGTHS = 128
_FEW = 200
_LENGTH_PREFIXES = {length: struct.pack("<I", length).decode("ascii") for length in range(_ASCII_LENGTHS)}


def hash64(*parts: str) -> int:
    """Return XXH3-64 over the parts, each as 4-byte little-endian byte length and UTF-8 bytes."""
    hasher = xxhash.xxh3_64()
    for part in parts:
        encoded = part.encode("utf-8", "surrogatepass")
        hasher.update(struct.pack("<I", len(encoded)))
        hasher.update(encoded)
    return hasher.intdigest()


def hash64_column(values: pl.Series) -> pl.Series:
    """Return each string's hash64 as UInt64, in the same order; null stays null.

    A length below 128 is a prefix of ASCII bytes, so prefix and value join as strings and hash in one vectorised pass.
    Longer values are rare and hashed one at a time, as are all values of a short column: a pass costs 0.5 ms even for
    few values.
    """
    if len(values) <= _FEW:
        hashes = [None if value is None else hash64(value) for value in values]
        return pl.Series(values.name, hashes, pl.UInt64)
    table = pl.DataFrame({"value": values}).with_columns(pl.col("value").str.len_bytes().alias("length"))
    hashed = table.select(
        pl.when(pl.col("length") < _ASCII_LENGTHS)
        .then(
            polars_hash.concat_str(
                pl.col("length").replace_strict(_LENGTH_PREFIXES, default=None, return_dtype=pl.String),
                pl.col("value"),
            ).nchash.xxh3_64()
        )
        .alias("hashed"),
        pl.col("value"),
        (pl.col("length") >= _ASCII_LENGTHS).alias("long"),
    )
    if hashed["long"].any():
        rest = hashed.filter(pl.col("long"))["value"].unique()
        table_of_long = {value: hash64(value) for value in rest.to_list()}
        return hashed.select(
            pl.col("hashed").fill_null(
                pl.col("value").replace_strict(table_of_long, default=None, return_dtype=pl.UInt64)
            )
        )["hashed"]
    return hashed["hashed"]


def campaign_hashes(source: pl.Expr, medium: pl.Expr, campaign: pl.Expr, click_id: pl.Expr) -> pl.Expr:
    """Return the identity of a campaign tuple, UInt64; 0 when all four are empty or null (rule S3).

    Separators inside a text are escaped, so two tuples join to the same text only if they are equal.
    """
    parts = [_without_separator(part.fill_null("")) for part in (source, medium, campaign, click_id)]
    joined = pl.concat_str(parts, separator=_SEPARATOR)
    hashed: pl.Expr = polars_hash.concat_str(*parts, separator=_SEPARATOR).nchash.xxh3_64()
    return pl.when(joined == 3 * _SEPARATOR).then(pl.lit(0, pl.UInt64)).otherwise(hashed).alias("campaign_hash")


def _without_separator(part: pl.Expr) -> pl.Expr:
    return part.str.replace_all(_ESCAPE, _ESCAPE + "0", literal=True).str.replace_all(
        _SEPARATOR, _ESCAPE + "1", literal=True
    )


def visitor_key(site_secret: bytes, kind: str, *parts: str) -> tuple[int, int]:
    """Return the visitor key as (high, low) 64 bits: BLAKE2b-128 keyed by the site's secret (rule I1).

    Args:
        site_secret: 16 to 64 bytes; never leaves the collector.
        kind: "user", "visitor" or "daily", so that equal strings with different kinds are different visitors.
        parts: the visitor's identifiers.
    """
    hasher = blake2b(digest_size=16, key=site_secret)
    for part in (kind, *parts):
        encoded = part.encode("utf-8", "surrogatepass")
        hasher.update(struct.pack("<I", len(encoded)))
        hasher.update(encoded)
    high, low = struct.unpack("<QQ", hasher.digest())
    return int(high), int(low)


def partition_of(
    site_hash: npt.NDArray[np.uint64],
    visitor_lo: npt.NDArray[np.uint64],
    spread: npt.NDArray[np.uint64],
    partitions: int,
) -> npt.NDArray[np.int32]:
    """Return each hit's partition: (hash64(site) + visitor mod spread) mod P (decision A4)."""
    shifted = site_hash % _U64(partitions) + visitor_lo % np.maximum(spread, _U64(1))
    return (shifted % _U64(partitions)).astype(np.int32)
