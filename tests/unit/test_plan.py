"""Test the queries that are planned for a question."""

from __future__ import annotations

import pytest

from hitmesh.model.cells import Grain
from hitmesh.model.filters import Comparison, Operator
from hitmesh.model.rows.rollup_rows import RowSource
from hitmesh.model.rows.stream_columns import MOVED_VISITORS, STREAM_COLUMNS
from hitmesh.model.sites import SiteDay
from reporter.question.catalogue import DIMENSIONS, METRICS, allowed_dimensions
from reporter.question.plan import excluded_hits_leg, legs
from tests.support.settled_rows import DAY, MIDNIGHT, SITE, a_question

GENERATIONS = {SiteDay(SITE, MIDNIGHT // DAY): 3}


def test_metrics_of_one_source_are_one_query() -> None:
    (leg,) = legs(a_question("hits,pageviews,visitors"), GENERATIONS)
    assert leg.query.source is RowSource.TRAFFIC
    assert leg.query.measures == ("hits", "pageviews")
    assert leg.query.sketches == ("visitors",)
    assert leg.query.generations == GENERATIONS


def test_moved_visitors_are_read_when_a_question_groups_or_filters_rows() -> None:
    tree = Comparison("channel", Operator.EQ, ("direct",))
    by_channel, filtered = a_question("visitors", dimensions="channel"), a_question("visitors", tree=tree)
    measures = [legs(question, GENERATIONS)[0].query.measures for question in (by_channel, filtered)]
    assert measures == [(MOVED_VISITORS,)] * 2


def test_shared_parts_of_metrics_are_read_once() -> None:
    (leg,) = legs(a_question("visits,bounce_rate,bounces"), GENERATIONS)
    assert leg.query.source is RowSource.VISITS
    assert leg.query.measures == ("visits", "bounces")


def test_money_is_a_query_of_its_own_by_currency() -> None:
    counts, money = legs(a_question("orders,average_order_value,net_revenue", dimensions="channel"), GENERATIONS)
    assert counts.query.measures == ("orders",)
    assert money.parts == ("gross_revenue", "orders_in_currency", "refunds")
    assert money.query.measures == ("gross_revenue", "orders", "refunds")
    assert money.query.dimensions == ("channel", "currency")
    assert money.by_currency
    assert not counts.by_currency


def test_a_revenue_per_visit_takes_two_sources() -> None:
    sources = {leg.query.source for leg in legs(a_question("revenue_per_visit"), GENERATIONS)}
    assert sources == {RowSource.TRAFFIC, RowSource.VISITS}


def test_entries_and_exits_by_page_are_two_queries_with_their_own_columns() -> None:
    entries, exits = legs(a_question("entries,exits", dimensions="page_path"), GENERATIONS)
    assert entries.query.columns == {"page_path": "landing_page"}
    assert exits.query.columns == {"page_path": "exit_page"}
    assert len(legs(a_question("entries,exits", dimensions="channel"), GENERATIONS)) == 1


def test_a_filter_on_pages_means_each_metrics_own_page() -> None:
    tree = Comparison("page_path", Operator.EQ, ("/",))
    found = legs(a_question("pageviews,visits,exits", tree=tree), GENERATIONS)
    assert [dict(leg.query.columns) for leg in found] == [{}, {"page_path": "landing_page"}, {"page_path": "exit_page"}]
    assert all(leg.query.filter == tree for leg in found)


def test_buckets_become_starts_and_the_range_its_end() -> None:
    (leg,) = legs(a_question("hits", grain=Grain.DAY, zone="Asia/Kathmandu"), GENERATIONS)
    start = MIDNIGHT - 20_700_000
    assert leg.query.bucket_starts == (start, start + DAY)
    assert (leg.query.start, leg.query.end) == (start, start + 2 * DAY)


def test_an_empty_range_needs_no_query() -> None:
    # A range may be empty. For example, a range that contains only 30 December 2011 is empty in Samoa, which skipped
    # this date.
    question = a_question("hits", grain=Grain.NONE)
    empty = type(question)(question.metrics, question.buckets, start=question.start, end=question.start)
    assert legs(empty, GENERATIONS) == ()
    assert excluded_hits_leg(empty, GENERATIONS) is None


def test_excluded_hits_are_counted_over_the_range_whatever_the_filter() -> None:
    tree = Comparison("os", Operator.EQ, ("iOS",))
    leg = excluded_hits_leg(a_question("visits", grain=Grain.DAY, dimensions="os", tree=tree), GENERATIONS)
    assert leg is not None
    assert (leg.query.filter, leg.query.dimensions, leg.query.bucket_starts) == (None, (), (MIDNIGHT,))


@pytest.mark.parametrize("metric", METRICS)
def test_every_pair_of_the_catalogue_is_a_query_that_rows_can_answer(metric: str) -> None:
    for dimension in allowed_dimensions(METRICS[metric]):
        assert dimension in DIMENSIONS
        for leg in legs(a_question(metric, dimensions=dimension), GENERATIONS):
            columns = [leg.query.columns.get(name, name) for name in leg.query.dimensions]
            assert {*columns, *leg.query.measures, *leg.query.sketches} <= set(STREAM_COLUMNS[leg.query.source])
