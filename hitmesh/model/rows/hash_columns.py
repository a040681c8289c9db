"""Hashes of whole Polars columns: each string's hash64, and hashes of campaign tuples.

`hash64_column` gives the same hashes as hitmesh.model.keys:hash64, but faster. Stored hashes never change: golden
values in tests/unit/test_keys.py fix the hashes.
"""

from __future__ import annotations

import struct

import polars as pl
import polars_hash  # registers Expr.nchash

from hitmesh.model.keys import hash64

_SEPARATOR, _ESCAPE = "\x1f", "\x1e"
_ASCII_LENGTHS = 128
_FEW = 200
_LENGTH_PREFIXES = {length: struct.pack("<I", length).decode("ascii") for length in range(_ASCII_LENGTHS)}


def hash64_column(values: pl.Series) -> pl.Series:
    """Return each string's hash64 as UInt64, in the same order; null stays null.

    If a value is shorter than 128 bytes, its length prefix consists of ASCII bytes, so prefix and value can be joined
    as strings. All values shorter than 128 bytes are hashed in a single vectorised pass. Longer values are rare and are
    hashed individually. In a short column, all values are hashed individually, because a vectorised pass takes 0.5 ms
    even for few values.

    Example:
        >>> hash64_column(pl.Series(["/shoes", None])).to_list() == [hash64("/shoes"), None]
        True
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
    """Return the hash of each campaign tuple, UInt64; 0 if all four texts are empty or null (rule S3).

    The four texts are joined with a separator. Separators inside a text are escaped, so that different tuples never
    join to the same text. Null and the empty text are equal.

    Example:
        >>> sent = pl.DataFrame({"source": ["news", None], "medium": ["mail", ""], "campaign": ["may", ""], "id": ""})
        >>> hashes = sent.select(campaign_hashes(*map(pl.col, sent.columns))).to_series()
        >>> hashes[0] != 0, hashes[1]  # rule S3
        (True, 0)
    """
    parts = [_without_separator(part.fill_null("")) for part in (source, medium, campaign, click_id)]
    joined = pl.concat_str(parts, separator=_SEPARATOR)
    hashed: pl.Expr = polars_hash.concat_str(*parts, separator=_SEPARATOR).nchash.xxh3_64()
    return pl.when(joined == 3 * _SEPARATOR).then(pl.lit(0, pl.UInt64)).otherwise(hashed).alias("campaign_hash")


def _without_separator(part: pl.Expr) -> pl.Expr:
    return part.str.replace_all(_ESCAPE, _ESCAPE + "0", literal=True).str.replace_all(
        _SEPARATOR, _ESCAPE + "1", literal=True
    )
