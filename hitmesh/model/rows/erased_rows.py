"""Blank rows, which replace erased hits in packed records.

A blank row stays in its record, so that the rows of other hits keep their numbers. A blank row keeps only the values
that the ledger needs (rule D5): the site, the UTC day of event time, the 15-minute cell of collect time, and hash64 of
the hit id. All other values are removed: for example the visitor key, the hit id, pages, texts and amounts.
"""

from __future__ import annotations

from typing import Final

import polars as pl

from hitmesh.model.arrays import BoolArray
from hitmesh.model.limits import CELL_MS
from hitmesh.model.rows.columns import HITS_COLUMNS, pack_record, unpack_record
from hitmesh.model.zones import DAY_MS

ERASED_FLAG: Final = 1 << 31
"""The bit in the column `flags` that marks a blank row."""

_KEPT: Final = ("site", "hit_hash")
_BLANK: Final[dict[str, pl.Expr]] = {
    "event_time": pl.col("event_time") // DAY_MS * DAY_MS,
    "collect_time": pl.col("collect_time") // CELL_MS * CELL_MS,
    "flags": pl.lit(ERASED_FLAG),
    "hit_id": pl.lit(""),
    **{name: pl.lit(0) for name in ("visitor_hi", "visitor_lo", "content_hash", "campaign_hash", "hit_type")},
    **{name: pl.lit(value=False) for name in ("interactive", "offline")},
}


def is_erased() -> pl.Expr:
    """Return an expression that tells whether a row is blank.

    Example:
        >>> pl.DataFrame({"flags": [0, ERASED_FLAG]}).select(is_erased())["flags"].to_list()
        [False, True]
    """
    return pl.col("flags") & ERASED_FLAG != 0


def with_blank_rows(value: bytes, erased: BoolArray) -> bytes:
    """Return a packed hits record whose erased rows are blank.

    Args:
        value: the record.
        erased: boolean array of shape (n,): true for the rows to blank.

    Raises:
        StoreCorrupt: the record does not decode.

    Example:
        >>> import numpy as np
        >>> hit = {"site": "s", "hit_id": "h", "hit_hash": 7, "visitor_lo": 9, "event_time": DAY_MS + 5, "flags": 0}
        >>> record = pack_record(pl.DataFrame([hit, hit], schema={name: HITS_COLUMNS[name] for name in hit}))
        >>> blank = unpack_record(with_blank_rows(record, np.array([False, True])), HITS_COLUMNS)
        >>> blank["hit_id"].to_list(), blank["visitor_lo"].to_list(), blank["hit_hash"].to_list()
        (['h', ''], [9, 0], [7, 7])
    """
    rows = unpack_record(value, HITS_COLUMNS).with_columns(pl.Series("erased", erased))
    blanked = rows.select(
        pl.col(name)
        if name in _KEPT
        else pl.when("erased").then(_blank(name, dtype)).otherwise(pl.col(name)).alias(name)
        for name, dtype in HITS_COLUMNS.items()
    )
    return pack_record(blanked)


def _blank(name: str, dtype: pl.DataType) -> pl.Expr:
    return _BLANK.get(name, pl.lit(None)).cast(dtype)
