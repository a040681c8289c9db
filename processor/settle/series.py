"""Sums a settlement's rows by cell and currency (architecture A8).

For the same hits, the result has the same sums, digests and sketches as the stream's partials. The same function
(`EpochSums.add_rows`) computes the result and the partials. The result is a pure function of the settled rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import polars as pl

from hitmesh.model.limits import LG_K_CELL
from hitmesh.model.rows.rollup_rows import TRAFFIC_COLUMNS, VISITS_COLUMNS, RowSource
from hitmesh.model.rows.row_digest import RowDigest
from hitmesh.model.rows.stream_columns import SERIES_COLUMNS, STREAM_COLUMNS
from hitmesh.model.sites import SiteDay
from processor.rules.rollups import filled_rows
from processor.settle.rows import SettledRows
from processor.stream.live.epochs import EpochSums
from processor.stream.live.rows import SignedRows

_NO_TRAFFIC_ROWS: Final = pl.DataFrame(schema=TRAFFIC_COLUMNS)
_NO_VISITS_ROWS: Final = pl.DataFrame(schema=VISITS_COLUMNS)
_NO_SERIES: Final = pl.DataFrame(schema=SERIES_COLUMNS)
_NO_TRAFFIC: Final = SignedRows(pl.DataFrame(schema=STREAM_COLUMNS[RowSource.TRAFFIC]), np.empty(0, np.uint64))
_NO_VISITS: Final = SignedRows(pl.DataFrame(schema=STREAM_COLUMNS[RowSource.VISITS]), np.empty(0, np.uint64))


def settled_series(rows: SettledRows, digest: RowDigest | None = None, lg_k: int = LG_K_CELL) -> pl.DataFrame:
    """Return SERIES_COLUMNS for a site-day, one row per (cell, excluded, currency), in this order.

    Args:
        rows: the day's settled rows. The sketches of settled rows contain no moved visitors (rule S8).
        digest: the row digest, keyed with the mesh secret.
        lg_k: log2 of the cell sketches' size, the same as in the stream.
    """
    sums = EpochSums(lg_k=lg_k)
    digest = digest or RowDigest()
    # A union of sketches does not depend on the sketches' order, so the rows can be added portion by portion.
    for traffic in rows.traffic:
        sums.add_rows(_as_signed(traffic, RowSource.TRAFFIC, digest), _NO_VISITS)
    for visits in rows.visits:
        sums.add_rows(_NO_TRAFFIC, _as_signed(visits, RowSource.VISITS, digest))
    return sums.cells.select(list(SERIES_COLUMNS)).sort("cell", "excluded", "currency")


def series_of_days(
    settled: Mapping[SiteDay, SettledRows], digest: RowDigest | None = None, lg_k: int = LG_K_CELL
) -> dict[SiteDay, pl.DataFrame]:
    """Return the result from `settled_series` for each site-day.

    A sum over a few rows takes as long as a sum over thousands of rows. The rows of all site-days that are in memory
    are therefore summed together.
    """
    digest = digest or RowDigest()
    together = [rows for rows in settled.values() if rows.is_in_memory]
    all_rows = SettledRows.in_memory(
        pl.concat([_NO_TRAFFIC_ROWS, *(part for rows in together for part in rows.traffic)]),
        pl.concat([_NO_VISITS_ROWS, *(part for rows in together for part in rows.visits)]),
    )
    of_all = settled_series(all_rows, digest, lg_k).partition_by("site", "day", as_dict=True, maintain_order=True)
    return {
        site_day: of_all.get((site_day.site, site_day.day), _NO_SERIES)
        if rows.is_in_memory
        else settled_series(rows, digest, lg_k)
        for site_day, rows in settled.items()
    }


def _as_signed(rows: pl.DataFrame, source: RowSource, digest: RowDigest) -> SignedRows:
    return SignedRows(filled_rows(rows, {}, STREAM_COLUMNS[source]), digest.of(rows, source))
