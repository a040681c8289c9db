"""Test that the settled series of a site-day equals the stream's partials of the same hits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import polars as pl
from polars.testing import assert_frame_equal

from hitmesh.model.generations import STREAM_GENERATION
from hitmesh.model.positions import PartitionId, Topic
from hitmesh.model.rows.rollup_rows import ROW_COLUMNS, RowSource
from hitmesh.model.rows.stream_columns import MOVED_VISITORS, SERIES_COLUMNS
from hitmesh.model.sites import SiteDay
from processor.settle.attempt import Attempt
from processor.settle.rows import SettledRows
from processor.settle.series import settled_series
from processor.settle.settlement import Settled
from processor.stream.stores import digest_of
from tests.reference.hits import RefHit, RefItem
from tests.support.small_mesh import SmallMesh, differences, expected_rows, settler_stores
from tests.support.unions import estimate, union

SITE = "merchants/m/sites/s"
DAY = 20_000
TODAY = SiteDay(SITE, DAY)
MINUTE = 60_000
MIDNIGHT = DAY * 86_400_000


def a_hit(minute: int, visitor: str = "v", **fields: Any) -> RefHit:
    at_ms = MIDNIGHT + minute * MINUTE
    return RefHit(SITE, visitor, f"{visitor}-{minute}", at_ms, page_path=f"/{minute}", **fields)


def an_order(minute: int, visitor: str, currency: str, total_micros: int) -> RefHit:
    items = (RefItem("sku", unit_price_micros=total_micros, quantity=1),)
    order = a_hit(minute, visitor, type="ORDER", order_id=f"{visitor}-{minute}", items=items)
    return replace(order, currency=currency, total_micros=total_micros)


RECORDS = {
    605: [a_hit(600, "a"), an_order(601, "a", "EUR", 5), an_order(602, "b", "EUR", 7), an_order(603, "b", "USD", 11)],
    625: [
        a_hit(604, "bot", excluded=True),
        replace(an_order(605, "bot", "USD", 13), excluded=True),
        replace(a_hit(606, "a", type="REFUND"), currency="EUR", refund_micros=3),
        a_hit(620, "a"),
        a_hit(600, "a"),  # a copy
    ],
    705: [a_hit(700, "a")],
}
"""Hits, keyed by the minute of their log time.

All hits are on time. Except for the copy, each visitor's hits arrive in order.
"""


def a_mesh() -> SmallMesh:
    """Return a mesh that has streamed the hits, and in which every visit has ended."""
    mesh = SmallMesh(MIDNIGHT, sites=[SITE])
    for minute, hits in RECORDS.items():
        mesh.clock.advance(MIDNIGHT + minute * MINUTE - mesh.clock.now())
        mesh.send(hits)
        mesh.stream()
    mesh.close_days()
    mesh.stream()
    mesh.runner.flush()
    return mesh


def settled_today(mesh: SmallMesh) -> Settled:
    everything = {
        partition: done.next_offset
        for topic in Topic
        for partition, done in mesh.stores.progress.progress(topic).items()
    }
    hits = {PartitionId(mesh.stores.log.log_id(Topic.HITS), number) for number in range(3)}
    before = {partition: offset for partition, offset in everything.items() if partition in hits}
    settled = Attempt(settler_stores(mesh.stores), TODAY, before, everything).settle()
    assert settled is not None
    return settled


def with_estimates(series: pl.DataFrame) -> pl.DataFrame:
    """Return the rows with estimates in place of sketches, because equal sketches may have different bytes."""
    counts = [0.0 if sketch is None else estimate(union([sketch])) for sketch in series["visitors"]]
    return series.with_columns(pl.Series("visitors", counts))


def test_settlement_and_stream_of_the_same_hits_read_the_same() -> None:
    mesh = a_mesh()
    streamed = mesh.stores.series.read(SITE, DAY, DAY + 1, STREAM_GENERATION)
    settled = settled_today(mesh)
    read = settled_series(settled.rows, digest_of(mesh.stores.directory))
    assert_frame_equal(with_estimates(read), with_estimates(streamed))


def test_money_is_apart_by_currency_and_visits_are_of_none() -> None:
    settled = settled_today(a_mesh())
    series = settled_series(settled.rows)
    included = (
        series.filter(~pl.col("excluded"))
        .group_by("currency")
        .agg(pl.col("gross_revenue", "refunds", "orders", "visits", MOVED_VISITORS).sum())
    )
    assert included.sort("currency").rows() == [("", 0, 0, 0, 3, 0), ("EUR", 12, 3, 2, 0, 0), ("USD", 11, 0, 1, 0, 0)]
    ten = series.filter((pl.col("cell") == MIDNIGHT + 600 * MINUTE) & ~pl.col("excluded"))
    assert estimate(union(ten.filter(pl.col("currency") == "EUR")["visitors"].to_list())) == 2.0


def test_no_settled_rows_give_an_empty_series_of_the_same_columns() -> None:
    no_rows = {source: pl.DataFrame(schema=columns) for source, columns in ROW_COLUMNS.items()}
    nothing = settled_series(SettledRows.in_memory(no_rows[RowSource.TRAFFIC], no_rows[RowSource.VISITS]))
    assert (dict(nothing.schema), nothing.height) == (SERIES_COLUMNS, 0)


def test_visitors_of_a_cell_are_exact_beyond_what_a_small_sketch_holds() -> None:
    """A cell has 600 visitors on two pages, in several records.

    The number of visitors is more than 256 and less than 4,096.
    """
    mesh = SmallMesh(MIDNIGHT + 600 * MINUTE, sites=[SITE])
    for first in range(0, 600, 200):
        visitors = range(first, first + 200)
        mesh.send(
            [RefHit(SITE, f"v{n}", f"h{n}", MIDNIGHT + 601 * MINUTE + n, page_path=f"/{n % 2}") for n in visitors]
        )
        mesh.stream()
    mesh.runner.flush()
    streamed = mesh.stores.series.read(SITE, DAY, DAY + 1, STREAM_GENERATION)
    assert with_estimates(streamed)["visitors"].sum() == 600
    mesh.settle()
    assert differences(mesh.rows(), expected_rows(mesh.sent)) == []
    settled = settled_today(mesh)
    assert with_estimates(settled_series(settled.rows))["visitors"].sum() == 600
