"""How a settled day differs from what the stream said of it (step S of the journey, decision A8).

Decides whether the stream's own rows may be published as they are: when no row differs, by a digest over all of them,
no sketch holds a visitor that left it, no hit waited for its visit, and the rows of the metric store add up to what the
stream counted. Pure functions. Refuses to know why they differ.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import polars as pl

from hitmesh.model.amounts import total
from hitmesh.model.generations import Drift
from hitmesh.model.rows.rollup_rows import TRAFFIC_MEASURES, VISITS_MEASURES, RowSource
from hitmesh.model.rows.row_digest import RowDigest
from hitmesh.model.rows.stream_columns import MOVED_VISITORS, UNKEYED_DIGESTS


def drift_of(
    traffic: pl.DataFrame,
    visits: pl.DataFrame,
    streamed: pl.DataFrame,
    digest: RowDigest,
    full_refunds: int = 0,
    *,
    visits_wait: bool = False,
) -> Drift | None:
    """Return the drift of a site-day; None when the stream counted nothing of it.

    Args:
        traffic: settled rows (hitmesh.model.rows.rollup_rows).
        visits: settled rows.
        streamed: SERIES_COLUMNS of the stream's partials of the day. Where some have the digests of an older version,
            the rows cannot be compared: nothing is confirmed, and rows are said to differ where a measure does.
        digest: of the mesh.
        full_refunds: what refunds that named no amount got from their orders; it is listed apart.
        visits_wait: whether a hit that waited may be of a visit of the day (rule S9): answers said so, and say so no
            more.
    """
    if streamed.is_empty():
        return None
    digests = (digest.of(traffic, RowSource.TRAFFIC), digest.of(visits, RowSource.VISITS))
    settled = sum(int(np.add.reduce(one, dtype=np.uint64)) for one in digests) % 2**64
    differ = settled != int(np.add.reduce(streamed["digest"].to_numpy(), dtype=np.uint64))
    moved = int(streamed[MOVED_VISITORS].sum()) != 0
    differences = {
        name: total(rows[name]) - total(streamed[name])
        for rows, names in ((traffic, TRAFFIC_MEASURES), (visits, VISITS_MEASURES))
        for name in names
    }
    differences["refunds"] -= full_refunds
    is_comparable = int(streamed[UNKEYED_DIGESTS].sum()) == 0
    return Drift(
        confirmed=is_comparable and not differ and not moved and not visits_wait,
        rows_differ=differ if is_comparable else any(differences.values()),
        sketch_provisional=moved,
        measures={name: value for name, value in differences.items() if value},
        full_refunds=full_refunds,
    )


def with_stored_rows(drift: Drift, traffic: pl.DataFrame, visits: pl.DataFrame, stored: Mapping[str, int]) -> Drift:
    """Return the drift with the difference between the metric store's rows and what the stream counted.

    The partials, from which `drift` was made, cannot tell rows that a store lost or has twice.

    Args:
        drift: of `drift_of`, with the same settled rows.
        traffic: settled rows (hitmesh.model.rows.rollup_rows).
        visits: settled rows.
        stored: ROW_SUMS of the stream's rows in the metric store, modulo 2⁶⁴.
    """
    streamed = {
        name: int(rows[name].sum()) - drift.measures.get(name, 0)
        for rows, names in ((traffic, TRAFFIC_MEASURES), (visits, VISITS_MEASURES))
        for name in names
    }
    streamed["refunds"] -= drift.full_refunds
    differences = {name: _signed(stored[name] - counted) for name, counted in streamed.items()}
    found = {name: value for name, value in differences.items() if value}
    if not found:
        return drift
    return replace(drift, confirmed=False, rows_differ=True, row_measures=found)


def _signed(value: int) -> int:
    """Return a value modulo 2⁶⁴, from −2⁶³ on."""
    return (value + 2**63) % 2**64 - 2**63
