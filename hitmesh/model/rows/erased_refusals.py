"""Erased refusals: the texts are removed, and the packed record keeps the other values.

The record's header has checksums over each hit id's hash64. A stream compares the checksums with the rows each time it
reads the record, even after a crash (rule D5). A row whose hit id is removed therefore keeps the id's hash64.
"""

from __future__ import annotations

from typing import Final

import polars as pl

from hitmesh.model.rows.columns import REJECTED_COLUMNS, pack_record, unpack_record
from hitmesh.model.rows.hash_columns import hash64_column

# The columns of refusals in the log. `hit_hash` is hash64(hit_id) in rows whose texts were removed, and null in other
# rows.
LOGGED_REFUSAL_COLUMNS: Final[dict[str, pl.DataType]] = {**REJECTED_COLUMNS, "hit_hash": pl.UInt64()}

_TEXTS: Final = {"original": b"", "message": "", "hit_id": "", "batch_id": "", "origin": b""}


def id_hashes(rows: pl.DataFrame) -> pl.Series:
    """Return the hash64 of each hit id, including removed ids. An unknown id is hashed as "".

    Args:
        rows: LOGGED_REFUSAL_COLUMNS.

    Example:
        >>> rows = pl.DataFrame({"hit_id": [""], "hit_hash": [7]}, schema_overrides={"hit_hash": pl.UInt64()})
        >>> id_hashes(rows).to_list()
        [7]
    """
    return rows["hit_hash"].fill_null(hash64_column(rows["hit_id"].fill_null("")))


def without_texts(value: bytes, row: int) -> bytes:
    """Return a packed record of refusals with the texts removed from a row.

    Raises:
        StoreCorrupt: the record does not decode.

    Example:
        >>> refused = pl.DataFrame({"site": ["s", "s"], "hit_id": ["h", "i"], "message": ["why", "why"]})
        >>> rows = unpack_record(without_texts(pack_record(refused), 0), LOGGED_REFUSAL_COLUMNS)
        >>> rows.select("site", "hit_id", "message").rows()
        [('s', '', ''), ('s', 'i', 'why')]
        >>> id_hashes(rows).to_list() == hash64_column(pl.Series(["h", "i"])).to_list()
        True
    """
    rows = unpack_record(value, LOGGED_REFUSAL_COLUMNS)
    is_row = pl.int_range(pl.len()) == row
    blanks = (
        pl.when(is_row).then(pl.lit(text, REJECTED_COLUMNS[name])).otherwise(pl.col(name)).alias(name)
        for name, text in _TEXTS.items()
    )
    kept = pl.when(is_row).then(id_hashes(rows)).otherwise(pl.col("hit_hash")).alias("hit_hash")
    return pack_record(rows.with_columns(*blanks, kept))
