"""Sum a settlement's rows by cell and currency (settlement, architecture A8).

For the same hits, the result has the same sums, digests and sketches as the stream's partials, because the same
function (`EpochSums.add_rows`) computes both. A pure function of the settled rows.
"""

from __future__ import annotations

import polars as pl

from hitmesh.model.limits import LG_K_CELL
from hitmesh.model.rows.rollup_rows import RowSource
from hitmesh.model.rows.row_digest import RowDigest
from hitmesh.model.rows.stream_columns import SERIES_COLUMNS, STREAM_COLUMNS
from processor.rules.rollups import filled_rows
from processor.stream.live.epochs import EpochSums
from processor.stream.live.rows import SignedRows


def settled_series(
    traffic: pl.DataFrame, visits: pl.DataFrame, digest: RowDigest | None = None, lg_k: int = LG_K_CELL
) -> pl.DataFrame:
    """Return SERIES_COLUMNS for a site-day, one row per (cell, excluded, currency), in this order.

    Args:
        traffic: the day's settled rows (hitmesh.model.rows.rollup_rows); their sketches contain no moved visitors (rule
            S8).
        visits: the day's settled rows.
        digest: row digest under the mesh secret.
        lg_k: log2 of the cell sketches' size; must equal the stream's.
    """
    sums = EpochSums(lg_k=lg_k)
    digest = digest or RowDigest()
    sums.add_rows(_as_signed(traffic, RowSource.TRAFFIC, digest), _as_signed(visits, RowSource.VISITS, digest))
    return sums.cells.select(list(SERIES_COLUMNS)).sort("cell", "excluded", "currency")


def _as_signed(rows: pl.DataFrame, source: RowSource, digest: RowDigest) -> SignedRows:
    return SignedRows(filled_rows(rows, {}, STREAM_COLUMNS[source]), digest.of(rows, source))
