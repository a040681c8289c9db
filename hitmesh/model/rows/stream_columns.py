"""The columns that the live stream stores beside settled rows: signed rows, partials and the ledger.

This module defines names and types. Signed rows are settled rows (rollup_rows) whose measures are differences; the
value of a key is the sum of all its rows. A partial is an epoch's contribution to a cell, stored as a total that a
replay overwrites, not as an increment (decision A6). Ledger entries are totals too (rule D5).
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

EPOCH_MS: Final = 900_000  # of log time

# Counts visitors that left a row's sketch, from which they cannot be subtracted: where the net is not 0, the sketch is
# SKETCH_PROVISIONAL (rule S8). Settled rows have no such column.
MOVED_VISITORS: Final = "moved_visitors"

# Counts partials whose digest lacks the mesh secret, as earlier versions wrote: such a digest confirms nothing.
UNKEYED_DIGESTS: Final = "unkeyed_digests"

STREAM_COLUMNS: Final[dict[RowSource, dict[str, pl.DataType]]] = {
    RowSource.TRAFFIC: {**TRAFFIC_COLUMNS, MOVED_VISITORS: pl.Int64()},
    RowSource.VISITS: VISITS_COLUMNS,
}
STREAM_MEASURES: Final[dict[RowSource, tuple[str, ...]]] = {
    RowSource.TRAFFIC: (*TRAFFIC_MEASURES, MOVED_VISITORS),
    RowSource.VISITS: VISITS_MEASURES,
}

# The sums that reports use, from both row sources; no column is in both.
ROW_SUMS: Final = (*TRAFFIC_MEASURES, *VISITS_MEASURES)
PARTIAL_SUMS: Final = (*TRAFFIC_MEASURES, *VISITS_MEASURES, MOVED_VISITORS)
_WRITTEN_BY: Final[dict[str, pl.DataType]] = {
    "log": pl.String(),
    "partition": pl.Int32(),
    "epoch": pl.Int64(),  # epoch start, log time in ms
    "written": pl.Int64(),  # write timestamp in µs, a function of the records; never falls
}
_CELL: Final[dict[str, pl.DataType]] = {
    "site": pl.String(),
    "day": pl.Int32(),
    "cell": pl.Int64(),
    "excluded": pl.Boolean(),
    "currency": pl.String(),  # ISO 4217 code for the sums; "" = no currency
}
_SUMS: Final[dict[str, pl.DataType]] = {
    **{name: sum_type(name) for name in PARTIAL_SUMS},
    # Σ hash(row key, measure) × value mod 2⁶⁴ over the rows of both sources (hitmesh.model.rows.row_digest).
    "digest": pl.UInt64(),
    **dict.fromkeys(TRAFFIC_SKETCHES, pl.Binary()),
    UNKEYED_DIGESTS: pl.Int64(),
}
PARTIAL_COLUMNS: Final[dict[str, pl.DataType]] = {**_CELL, "generation": pl.Int64(), **_WRITTEN_BY, **_SUMS}
SERIES_COLUMNS: Final[dict[str, pl.DataType]] = {**_CELL, **_SUMS}

_COUNTS: Final[dict[str, pl.DataType]] = {"hits": pl.Int64(), "sum64": pl.UInt64(), "xor64": pl.UInt64()}
_LEDGER_KEY: Final[dict[str, pl.DataType]] = {
    "site": pl.String(),  # "" = no site: a record that does not decode
    "kind": pl.String(),
    "at": pl.Int64(),
    "class": pl.String(),
}
LEDGER_COLUMNS: Final[dict[str, pl.DataType]] = {**_LEDGER_KEY, **_WRITTEN_BY, **_COUNTS}
LEDGER_SUMS: Final[dict[str, pl.DataType]] = {**_LEDGER_KEY, **_COUNTS}
