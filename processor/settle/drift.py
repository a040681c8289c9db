"""Compares a settled day with the stream's results (architecture A8).

Decides whether a day is confirmed, so that the stream's own rows are published unchanged. A day is confirmed under four
conditions:

- The settled rows and the stream's rows have the same digest.
- No sketch contains a visitor whose hits have moved to another row.
- No hit that waited for settlement may belong to a visit of the day.
- The stream's rows in the metric store add up to the stream's counts.

All functions are pure, except for `sums_of_streams`.
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
from hitmesh.model.sites import SiteDay
from hitmesh.ports import MetricStore
from processor.settle.rows import Portions, SettledRows


def drift_of(
    rows: SettledRows,
    streamed: pl.DataFrame,
    digest: RowDigest,
    full_refunds: int = 0,
    *,
    visits_wait: bool = False,
) -> Drift | None:
    """Return how a site-day's settled rows differ from the stream's results, or None if the stream counted nothing.

    Args:
        rows: the settled rows.
        streamed: the stream's partials for the day, with SERIES_COLUMNS. Partials whose digests have an older version
            cannot be compared by digest. A day whose partials have an older digest is not confirmed. The rows of such a
            day count as different if any measure differs.
        digest: the row digest, keyed with the mesh secret.
        full_refunds: the sum, in micros, of the refunds that were sent without an amount and took the order's total.
            The drift reports this sum separately.
        visits_wait: whether a hit that waited for settlement may belong to a visit of the day (rule S9). Until these
            hits are settled, answers are marked VISITS_PROVISIONAL.
    """
    if streamed.is_empty():
        return None
    settled, sums = _digest_and_sums(rows, digest)
    differ = settled != int(np.add.reduce(streamed["digest"].to_numpy(), dtype=np.uint64))
    moved = int(streamed[MOVED_VISITORS].sum()) != 0
    differences = {name: value - total(streamed[name]) for name, value in sums.items()}
    differences["refunds"] -= full_refunds
    is_comparable = int(streamed[UNKEYED_DIGESTS].sum()) == 0
    return Drift(
        confirmed=is_comparable and not differ and not moved and not visits_wait,
        rows_differ=differ if is_comparable else any(differences.values()),
        sketch_provisional=moved,
        measures={name: value for name, value in differences.items() if value},
        full_refunds=full_refunds,
    )


def _digest_and_sums(rows: SettledRows, digest: RowDigest) -> tuple[int, dict[str, int]]:
    """Return the digest over all rows, and each measure's sum."""
    settled = 0
    sums = dict.fromkeys((*TRAFFIC_MEASURES, *VISITS_MEASURES), 0)
    for source, portions, names in _by_source(rows):
        for portion in portions:
            settled += int(np.add.reduce(digest.of(portion, source), dtype=np.uint64))
            for name in names:
                sums[name] += total(portion[name])
    return settled % 2**64, sums


def _by_source(rows: SettledRows) -> tuple[tuple[RowSource, Portions, tuple[str, ...]], ...]:
    return (
        (RowSource.TRAFFIC, rows.traffic, TRAFFIC_MEASURES),
        (RowSource.VISITS, rows.visits, VISITS_MEASURES),
    )


def not_confirmed(drift: Drift | None) -> Drift | None:
    """Return the drift for a site-day whose stream rows are damaged in the metric store."""
    return None if drift is None else replace(drift, confirmed=False, rows_differ=True)


def sums_of_streams(metrics: MetricStore, streams: Mapping[SiteDay, int]) -> Mapping[SiteDay, Mapping[str, int]]:
    """Return, for each site-day, the sums over the rows that the given stream wrote (MetricStore.stream_sums)."""
    found: dict[SiteDay, Mapping[str, int]] = {}
    for stream in sorted(set(streams.values())):
        found |= metrics.stream_sums([site_day for site_day, each in streams.items() if each == stream], stream)
    return found


def with_stored_rows(drift: Drift, rows: SettledRows, stored: Mapping[str, int]) -> Drift:
    """Return the drift, with the differences between the metric store's rows and the stream's counts.

    `drift` is computed from the partials. Partials cannot show whether the metric store has lost or duplicated rows.

    Args:
        drift: the result from `drift_of` for the same settled rows.
        rows: the settled rows.
        stored: ROW_SUMS of the stream's rows in the metric store, modulo 2⁶⁴.
    """
    streamed = {
        name: sum(total(portion[name]) for portion in portions) - drift.measures.get(name, 0)
        for _, portions, names in _by_source(rows)
        for name in names
    }
    streamed["refunds"] -= drift.full_refunds
    differences = {name: _signed(stored[name] - counted) for name, counted in streamed.items()}
    found = {name: value for name, value in differences.items() if value}
    if not found:
        return drift
    return replace(drift, confirmed=False, rows_differ=True, row_measures=found)


def _signed(value: int) -> int:
    """Map a value modulo 2⁶⁴ to the signed range that begins at −2⁶³."""
    return (value + 2**63) % 2**64 - 2**63
