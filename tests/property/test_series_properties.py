"""Test filters and the invariants P3, P4, P5, P7, P8 and P14 (rules §10) on reports over random settled rows."""

from __future__ import annotations

import datetime as dt

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hitmesh.model.cells import Grain
from hitmesh.model.filters import Comparison, Not, Operator
from hitmesh.model.limits import CELL_MS
from hitmesh.model.rows.rollup_rows import TRAFFIC_MEASURES, VISITS_MEASURES, RowSource
from reporter.answer.series import Series
from reporter.question.catalogue import METRICS, Kind, allowed_dimensions
from reporter.question.question import GapFill
from tests.support.settled_rows import RowsStore, a_question, ask, sketch_of, table_of, traffic, visits

# Tests in this file are slow, because every example draws a random store and asks several questions.
pytestmark = pytest.mark.timeout(120)

# For each zone, the start of a fortnight to test. Most fortnights contain a day that has 23, 24.5 or 25 hours, or that
# begins at 01:00.
ZONES = {
    "Europe/Berlin": "2026-03-20",
    "Australia/Lord_Howe": "2026-03-28",
    "America/New_York": "2026-10-25",
    "Asia/Kathmandu": "2026-05-01",
    "Africa/Cairo": "2026-04-17",
}
ADDITIVE = [metric.id for metric in METRICS.values() if metric.kind in (Kind.SUM, Kind.DIFFERENCE)]
BY_CHANNEL = [id_ for id_ in ADDITIVE if "channel" in allowed_dimensions(METRICS[id_])]
RATIOS = [metric for metric in METRICS.values() if metric.kind is Kind.RATIO]
RANGE_DAYS = 14


@st.composite
def stores(draw: st.DrawFn, since: str = "2015-05-17") -> RowsStore:
    """Draw a store with up to 12 rows per source.

    The times of the rows lie in the fortnight from `since`, or at most a day before or after this fortnight.
    """
    start = int(dt.datetime.fromisoformat(f"{since}T00:00:00+00:00").timestamp()) * 1_000
    cells = st.integers(-96, (RANGE_DAYS + 1) * 96).map(lambda index: start + index * CELL_MS)
    amounts = st.integers(0, 9)
    texts = st.sampled_from([None, "a", "b", "ü\\"])

    def a_measure(parts: list[str]) -> dict[str, object]:
        return {name: draw(amounts) for name in draw(st.lists(st.sampled_from(parts), max_size=4))}

    hits, starts = [], []
    of_hits, of_visits = list(TRAFFIC_MEASURES), list(VISITS_MEASURES)
    for _ in range(draw(st.integers(0, 12))):
        keys = draw(st.lists(st.integers(1, 20), max_size=4))
        hits.append(
            traffic(
                draw(cells),
                **a_measure(of_hits),
                visitors=sketch_of(*keys) if keys else None,
                channel=draw(texts),
                page_path=draw(texts),
                currency=draw(st.sampled_from(["USD", "EUR"])),
                excluded=draw(st.booleans()),
            )
        )
        starts.append(
            visits(
                draw(cells),
                **a_measure(of_visits),
                channel=draw(texts),
                landing_page=draw(texts),
                exit_page=draw(texts),
                excluded=draw(st.booleans()),
            )
        )
    return RowsStore(hits, starts)


def until_of(since: str) -> str:
    return (dt.date.fromisoformat(since) + dt.timedelta(days=RANGE_DAYS - 1)).isoformat()


def sums(rows: Series) -> list[int]:
    return [int(column.numerators.sum()) for column in rows.columns]


@given(st.data(), st.sampled_from(sorted(ZONES)))
def test_finer_buckets_add_up_to_coarser_ones_in_any_zone(data: st.DataObject, zone: str) -> None:
    """P3."""
    since = ZONES[zone]
    store = data.draw(stores(since))
    found = {}
    for grain in (Grain.NONE, Grain.HOUR, Grain.DAY, Grain.WEEK, Grain.MONTH):
        question = a_question(",".join(ADDITIVE), grain=grain, zone=zone, since=since, until=until_of(since))
        found[grain] = ask(store, question)
    assert all(sums(rows) == sums(found[Grain.NONE]) for rows in found.values())
    hours, days = found[Grain.HOUR], found[Grain.DAY]
    day_starts, hour_starts = days.question.buckets.starts, hours.question.buckets.starts
    day_of_hour = np.searchsorted(day_starts, hour_starts, "right") - 1
    for of_hours, of_days in zip(hours.columns, days.columns, strict=True):
        added = [0] * len(days)
        for day, amount in zip(day_of_hour.tolist(), of_hours.numerators.tolist(), strict=True):
            added[day] += amount
        assert added == of_days.numerators.tolist()


@given(stores())
def test_values_of_a_dimension_add_up_to_the_total(store: RowsStore) -> None:
    """P4."""
    for metrics in (BY_CHANNEL[:16], BY_CHANNEL[16:]):
        total = ask(store, a_question(",".join(metrics), until=until_of("2015-05-17")))
        split = ask(store, a_question(",".join(metrics), dimensions="channel", until=until_of("2015-05-17")))
        assert sums(split) == sums(total)


@given(stores(), st.sampled_from([Grain.HOUR, Grain.DAY, Grain.WEEK]), st.sampled_from(["", "channel", "page_path"]))
def test_a_union_of_visitors_lies_between_its_largest_part_and_their_sum(
    store: RowsStore, grain: Grain, dimensions: str
) -> None:
    """P5."""
    until = until_of("2015-05-17")
    union = table_of(ask(store, a_question("visitors", until=until)))[()][0] or 0
    parts = ask(store, a_question("visitors", until=until, grain=grain, dimensions=dimensions)).columns[0]
    assert parts.values.max(initial=0) <= union <= parts.values.sum()


@given(stores(), st.sampled_from([Grain.NONE, Grain.DAY]), st.sampled_from(["", "channel"]))
def test_a_ratio_equals_its_merged_parts_as_metrics_of_their_own(
    store: RowsStore, grain: Grain, dimensions: str
) -> None:
    """P7."""
    until = until_of("2015-05-17")
    ratios = [metric for metric in RATIOS if all(part in METRICS for part in metric.parts)]
    parts = list(dict.fromkeys(part for metric in ratios for part in metric.parts))
    metrics = ",".join([*(metric.id for metric in ratios), *parts])
    rows = ask(store, a_question(metrics, grain=grain, dimensions=dimensions, until=until))
    columns = {column.metric.id: column for column in rows.columns}
    for metric in ratios:
        above, below = (columns[part].numerators.tolist() for part in metric.parts)
        ratio = columns[metric.id]
        assert ratio.denominators is not None
        assert (ratio.numerators.tolist(), ratio.denominators.tolist()) == (above, below)
        assert ratio.is_empty.tolist() == [amount == 0 for amount in below]


@given(stores())
def test_an_average_of_money_is_that_of_the_orders_in_the_sites_currency_alone(store: RowsStore) -> None:
    """P7, M3."""
    metrics, until = "average_order_value,gross_revenue,orders", until_of("2015-05-17")
    average = ask(store, a_question(metrics, until=until)).columns[0]
    rows = store.rows[RowSource.TRAFFIC].filter(pl.col("currency") == "USD")
    alone = RowsStore(rows.iter_rows(named=True), [])
    revenue, orders = ask(alone, a_question(metrics, until=until)).columns[1:]
    assert average.denominators is not None
    assert average.numerators.tolist() == revenue.numerators.tolist()
    assert average.denominators.tolist() == orders.numerators.tolist()


@given(stores(), st.sampled_from(["", "channel", "channel,page_path"]))
def test_gap_fill_changes_no_number(store: RowsStore, dimensions: str) -> None:
    """P8."""
    metrics = "hits,visitors,visits,bounce_rate,net_revenue"
    found = {
        fill: table_of(
            ask(
                store,
                a_question(
                    metrics, grain=Grain.DAY, dimensions=dimensions, until=until_of("2015-05-17"), gap_fill=fill
                ),
            )
        )
        for fill in GapFill
    }
    sparse = found[GapFill.NONE]
    for fill in (GapFill.ZERO, GapFill.NULL):
        assert {key: found[fill][key] for key in sparse} == sparse
        empty = [0, 0, 0, None, 0] if fill is GapFill.ZERO else [None] * 5
        assert all(found[fill][key] == empty for key in found[fill].keys() - sparse.keys())
    assert found[GapFill.ZERO].keys() == found[GapFill.NULL].keys()


@given(stores())
def test_a_filter_and_its_opposite_add_up_to_everything(store: RowsStore) -> None:
    until = until_of("2015-05-17")
    metrics = "hits,visits,exits,gross_revenue"
    is_a = Comparison("page_path", Operator.IN, ("a", "(not set)"))
    everything = sums(ask(store, a_question(metrics, until=until)))
    with_a = sums(ask(store, a_question(metrics, until=until, tree=is_a)))
    without = sums(ask(store, a_question(metrics, until=until, tree=Not(is_a))))
    assert [matching + other for matching, other in zip(with_a, without, strict=True)] == everything


@given(stores())
def test_excluded_hits_only_add(store: RowsStore) -> None:
    """Including excluded hits never lowers a number of a report.

    P14 is an equation: the values of excluded hits and of all other hits add up to the value of all hits. No report
    shows only excluded hits, so the test checks an inequality.
    """
    until = until_of("2015-05-17")
    default = sums(ask(store, a_question("hits,visits,orders", until=until)))
    everything = sums(ask(store, a_question("hits,visits,orders", until=until, include_excluded=True)))
    assert all(some <= all_ for some, all_ in zip(default, everything, strict=True))


def test_the_zones_have_the_odd_days_they_are_here_for() -> None:
    lengths = set()
    for zone, since in ZONES.items():
        axis = a_question("hits", grain=Grain.DAY, zone=zone, since=since, until=until_of(since)).buckets
        lengths |= set((axis.ends - axis.starts).tolist())
    assert {length / 3_600_000 for length in lengths} == {23.0, 24.0, 24.5, 25.0}
