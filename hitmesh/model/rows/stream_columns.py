"""The names and types of the columns that the live stream stores: signed rows, partials and the ledger.

Signed rows have the columns of settled rows (rollup_rows), but their measures are differences. The value of a key is
the sum over all rows with this key. A partial is the contribution of an epoch (15 minutes of log time) to a cell. A
partial is stored as a total and never incremented, so a replay can overwrite the partial (architecture A6). A ledger
entry is stored as a total, like a partial (rule D5).
"""

from __future__ import annotations

from typing import Final

import polars as pl

from hitmesh.model.rows.rollup_rows import (
    TRAFFIC_COLUMNS,
    TRAFFIC_MEASURES,
    TRAFFIC_SKETCHES,
    VISITS_COLUMNS,
    VISITS_MEASURES,
    RowSource,
    sum_type,
)

EPOCH_MS: Final = 900_000  # length of an epoch, in log time

# The number of visitors whose hits moved to a row with other dimensions, but who are still in this row's sketch. No
# visitor can be removed from a sketch. If this column's sum over the rows of a key is not 0, the key's sketch is
# SKETCH_PROVISIONAL (rule S8). Settled rows have no column `moved_visitors`.
MOVED_VISITORS: Final = "moved_visitors"

# The number of partials whose digest was computed by an earlier version, without the mesh secret. Settlement must not
# confirm the stream's rows by a digest that was made without the secret.
UNKEYED_DIGESTS: Final = "unkeyed_digests"

STREAM_COLUMNS: Final[dict[RowSource, dict[str, pl.DataType]]] = {
    RowSource.TRAFFIC: {**TRAFFIC_COLUMNS, MOVED_VISITORS: pl.Int64()},
    RowSource.VISITS: VISITS_COLUMNS,
}
STREAM_MEASURES: Final[dict[RowSource, tuple[str, ...]]] = {
    RowSource.TRAFFIC: (*TRAFFIC_MEASURES, MOVED_VISITORS),
    RowSource.VISITS: VISITS_MEASURES,
}

# The measures of both row sources. Each measure belongs to only one row source.
ROW_SUMS: Final = (*TRAFFIC_MEASURES, *VISITS_MEASURES)
PARTIAL_SUMS: Final = (*TRAFFIC_MEASURES, *VISITS_MEASURES, MOVED_VISITORS)
_WRITTEN_BY: Final[dict[str, pl.DataType]] = {
    "log": pl.String(),
    "partition": pl.Int32(),
    "epoch": pl.Int64(),  # start of the epoch, log time in ms
    "written": pl.Int64(),  # write timestamp in µs, computed from the records; never decreases
}
_CELL: Final[dict[str, pl.DataType]] = {
    "site": pl.String(),
    "day": pl.Int32(),
    "cell": pl.Int64(),
    "excluded": pl.Boolean(),
    "currency": pl.String(),  # ISO 4217 code of the amounts; "" for sums without a currency
}
_SUMS: Final[dict[str, pl.DataType]] = {
    **{name: sum_type(name) for name in PARTIAL_SUMS},
    # The digest of the rows from both sources: the sum of hash(row key, measure) × value, modulo 2⁶⁴
    # (hitmesh.model.rows.row_digest).
    "digest": pl.UInt64(),
    **dict.fromkeys(TRAFFIC_SKETCHES, pl.Binary()),
    UNKEYED_DIGESTS: pl.Int64(),
}
PARTIAL_COLUMNS: Final[dict[str, pl.DataType]] = {**_CELL, "generation": pl.Int64(), **_WRITTEN_BY, **_SUMS}
SERIES_COLUMNS: Final[dict[str, pl.DataType]] = {**_CELL, **_SUMS}

_COUNTS: Final[dict[str, pl.DataType]] = {"hits": pl.Int64(), "sum64": pl.UInt64(), "xor64": pl.UInt64()}
_LEDGER_KEY: Final[dict[str, pl.DataType]] = {
    "site": pl.String(),  # "" if the record could not be decoded, because the site is then unknown
    "kind": pl.String(),
    "at": pl.Int64(),
    "class": pl.String(),
}
LEDGER_COLUMNS: Final[dict[str, pl.DataType]] = {**_LEDGER_KEY, **_WRITTEN_BY, **_COUNTS}
LEDGER_SUMS: Final[dict[str, pl.DataType]] = {**_LEDGER_KEY, **_COUNTS}
