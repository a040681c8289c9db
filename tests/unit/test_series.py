"""Test how rows become a series: gaps, ratios, money, order, limits and exactness."""

from __future__ import annotations

import numpy as np
import pytest

from hitmesh.model.cells import Grain
from hitmesh.model.errors import RefusedError
from hitmesh.model.filters import Comparison, Operator
from hitmesh.model.sites import SiteDay
from reporter.answer.parts import combine
from reporter.answer.series import Exactness, series
from reporter.question.plan import legs
from reporter.question.question import GapFill, Order
from tests.support.settled_rows import (
    DAY,
    HOUR,
    MIDNIGHT,
    RowsStore,
    a_question,
    ask,
    sketch_of,
    table_of,
    traffic,
    visits,
)

FIRST = "2015-05-17T00:00:00+00:00"
SECOND = "2015-05-18T00:00:00+00:00"


def test_every_bucket_is_a_row_with_zeros_and_empty_ratios() -> None:
    store = RowsStore([], [visits(visits=4, bounces=1)])
    rows = ask(store, a_question("visits,bounce_rate", grain=Grain.DAY))
    assert table_of(rows) == {(FIRST,): [4, 0.25], (SECOND,): [0, None]}
    assert rows.total_rows == 2


def test_a_question_without_data_has_one_row_of_zeros() -> None:
    rows = ask(RowsStore([], []), a_question("hits,visitors,bounce_rate,net_revenue"))
    assert table_of(rows) == {(): [0, 0, None, 0]}
    assert all(column.exactness is Exactness.EXACT for column in rows.columns)


def test_gap_fill_none_leaves_empty_buckets_out() -> None:
    store = RowsStore([traffic(hits=1), traffic(MIDNIGHT + DAY, duplicate_hits=1)], [])
    rows = ask(store, a_question("hits", grain=Grain.DAY, gap_fill=GapFill.NONE))
    assert table_of(rows) == {(FIRST,): [1]}


def test_gap_fill_null_empties_every_cell_of_an_empty_bucket() -> None:
    store = RowsStore([traffic(hits=1)], [])
    rows = ask(store, a_question("hits,visits,visitors", grain=Grain.DAY, gap_fill=GapFill.NULL))
    assert table_of(rows) == {(FIRST,): [1, 0, 0], (SECOND,): [None, None, None]}


def test_values_that_occur_have_a_row_in_every_bucket() -> None:
    store = RowsStore([], [visits(visits=2, channel="email"), visits(MIDNIGHT + DAY, visits=1, channel="social")])
    rows = ask(store, a_question("visits", dimensions="channel", grain=Grain.DAY))
    assert table_of(rows) == {
        (FIRST, "email"): [2],
        (FIRST, "social"): [0],
        (SECOND, "email"): [0],
        (SECOND, "social"): [1],
    }
    sparse = ask(store, a_question("visits", dimensions="channel", grain=Grain.DAY, gap_fill=GapFill.NONE))
    assert table_of(sparse) == {(FIRST, "email"): [2], (SECOND, "social"): [1]}


def test_values_without_any_requested_metric_do_not_occur() -> None:
    store = RowsStore([traffic(pageviews=1, page_path="/a"), traffic(bot_hits=1, page_path="/b")], [])
    assert table_of(ask(store, a_question("pageviews", dimensions="page_path"))) == {("/a",): [1]}


def test_a_null_is_not_set_and_a_null_source_is_direct() -> None:
    store = RowsStore([], [visits(visits=2)])
    rows = ask(store, a_question("visits", dimensions="source,channel"))
    assert table_of(rows) == {("(direct)", "(not set)"): [2]}


def test_hits_and_visits_of_a_value_meet_in_one_row() -> None:
    store = RowsStore(
        [traffic(hits=5, channel="email"), traffic(hits=1, channel="social"), traffic(hits=2)],
        [visits(visits=2, channel="email"), visits(visits=3)],
    )
    rows = ask(store, a_question("hits,visits", dimensions="channel"))
    assert table_of(rows) == {("(not set)",): [2, 3], ("email",): [5, 2], ("social",): [1, 0]}


def test_entries_and_exits_by_page_each_use_their_own_page() -> None:
    store = RowsStore([], [visits(visits=1, entries=1, exits=1, landing_page="/in", exit_page="/out")])
    rows = ask(store, a_question("visits,entries,exits", dimensions="page_path"))
    assert table_of(rows) == {("/in",): [1, 1, 0], ("/out",): [0, 0, 1]}


def test_a_page_filter_means_each_metrics_own_page() -> None:
    store = RowsStore(
        [traffic(pageviews=7, page_path="/out")],
        [visits(visits=1, entries=1, exits=1, landing_page="/in", exit_page="/out")],
    )
    tree = Comparison("page_path", Operator.EQ, ("/out",))
    assert table_of(ask(store, a_question("pageviews,entries,exits", tree=tree))) == {(): [7, 0, 1]}


def test_a_ratio_is_the_merged_numerator_over_the_merged_denominator() -> None:
    store = RowsStore(
        [],
        [
            visits(visits=1, bounces=1, visit_duration_total=0),
            visits(MIDNIGHT + HOUR, visits=3, visit_duration_total=9_000),
        ],
    )
    rows = ask(store, a_question("bounce_rate,visit_duration_avg"))
    bounce_rate, duration = rows.columns
    assert (bounce_rate.numerators.tolist(), (bounce_rate.denominators or np.empty(0)).tolist()) == ([1], [4])
    assert table_of(rows) == {(): [0.25, 2_250]}
    assert duration.numerators.tolist() == [9_000]


def test_money_counts_in_the_sites_currency_and_names_the_others() -> None:
    store = RowsStore(
        [
            traffic(orders=1, gross_revenue=10_000_000, currency="USD"),
            traffic(orders=1, gross_revenue=7_000_000, currency="EUR"),
            traffic(hits=1),
        ],
        [],
    )
    question = a_question("gross_revenue,orders,average_order_value,refunds")
    rows = ask(store, question)
    assert table_of(rows) == {(): [10, 2, 10, 0]}
    exactness = [column.exactness for column in rows.columns]
    assert exactness == [Exactness.PARTIAL, Exactness.EXACT, Exactness.PARTIAL, Exactness.EXACT]
    answered = [(leg, store.query(leg.query)) for leg in legs(question, store.generations)]
    assert combine(question, answered, "USD").missing_currencies == ("EUR",)


def test_revenue_and_orders_of_an_average_are_of_the_same_orders() -> None:
    store = RowsStore(
        [
            traffic(orders=2, gross_revenue=1_234_567, currency="KWD", channel="email"),
            traffic(orders=1, gross_revenue=9_000_000, currency="EUR", channel="email"),
            traffic(orders=1, gross_revenue=9_000_000, currency="EUR", channel="social"),
        ],
        [visits(visits=4, channel="email")],
    )
    question = a_question("average_order_value,orders,revenue_per_visit", dimensions="channel")
    rows = ask(store, question, "KWD")
    assert table_of(rows) == {("email",): [0.6172835, 3, 1.234567 / 4], ("social",): [None, 1, None]}
    average = rows.columns[0]
    assert average.denominators is not None
    assert (average.numerators.tolist(), average.denominators.tolist()) == ([1_234_567, 0], [2, 0])


def test_net_revenue_may_be_negative() -> None:
    rows = ask(RowsStore([traffic(refunds=30_000_000, currency="USD")], []), a_question("net_revenue,gross_revenue"))
    assert table_of(rows) == {(): [-30, 0]}


def test_visitors_of_a_longer_bucket_are_a_union() -> None:
    store = RowsStore(
        [traffic(visitors=sketch_of(1, 2)), traffic(MIDNIGHT + DAY, visitors=sketch_of(2, 3)), traffic(hits=1)], []
    )
    by_day = ask(store, a_question("visitors", grain=Grain.DAY))
    assert table_of(by_day) == {(FIRST,): [2], (SECOND,): [2]}
    assert table_of(ask(store, a_question("visitors"))) == {(): [3]}
    assert by_day.columns[0].exactness is Exactness.EXACT


def test_many_visitors_are_estimated_with_bounds() -> None:
    many = sketch_of(*range(1, 40_001))
    store = RowsStore([traffic(visitors=many), traffic(MIDNIGHT + DAY, visitors=sketch_of(1))], [])
    (column,) = ask(store, a_question("visitors", grain=Grain.DAY)).columns
    assert column.exactness is Exactness.SKETCH
    assert column.lower is not None
    assert column.upper is not None
    assert column.lower[0] < 40_000 < column.upper[0]
    assert column.lower[0] < column.values[0] < column.upper[0]
    assert np.isnan(column.lower[1])
    assert column.numerators.tolist() == [0, 1]
    assert 0.005 < column.relative_standard_error < 0.03


def test_visitors_of_whom_some_left_a_sketch_are_provisional() -> None:
    moved = traffic(hits=1, visitors=sketch_of(1, 2), moved_visitors=1)
    store = RowsStore([moved, traffic(MIDNIGHT + DAY, hits=1, visitors=sketch_of(1))], [])
    hits, visitors = ask(store, a_question("hits,visitors", dimensions="channel")).columns
    assert (hits.exactness, visitors.exactness) == (Exactness.EXACT, Exactness.SKETCH_PROVISIONAL)
    (later,) = ask(store, a_question("visitors", dimensions="channel", since="2015-05-18")).columns
    assert later.exactness is Exactness.EXACT
    came_back = RowsStore([moved, traffic(hits=1, moved_visitors=-1)], [])
    assert ask(came_back, a_question("visitors", dimensions="channel")).columns[0].exactness is Exactness.EXACT
    (total,) = ask(store, a_question("visitors")).columns
    assert total.exactness is Exactness.EXACT, "who leaves a row for another is in the cell still"


def test_excluded_hits_are_added_on_request() -> None:
    store = RowsStore([traffic(hits=1), traffic(hits=2, excluded=True)], [])
    assert table_of(ask(store, a_question("hits"))) == {(): [1]}
    assert table_of(ask(store, a_question("hits", include_excluded=True))) == {(): [3]}


def test_rows_are_ordered_with_empty_ratios_last() -> None:
    store = RowsStore(
        [traffic(hits=9, channel="c")],
        [visits(visits=4, bounces=1, channel="a"), visits(visits=2, bounces=1, channel="b")],
    )
    for descending, expected in ((True, ["b", "a", "c"]), (False, ["a", "b", "c"])):
        orders = [Order("bounce_rate", descending)]
        rows = ask(store, a_question("hits,bounce_rate", dimensions="channel", order_by=orders))
        assert rows.dimensions[0] == expected


def test_a_limit_cuts_rows_with_a_warning() -> None:
    store = RowsStore([traffic(hits=index, page_path=f"/{index}") for index in range(1, 6)], [])
    orders = [Order("hits", descending=True)]
    rows = ask(store, a_question("hits", dimensions="page_path", order_by=orders, limit=2))
    assert table_of(rows) == {("/5",): [5], ("/4",): [4]}
    assert rows.total_rows == 5
    assert rows.warnings == ("2 of 5 rows are shown: raise limit, or narrow the question",)


def test_too_many_filled_rows_fall_back_to_sparse_unless_they_were_requested() -> None:
    store = RowsStore([traffic(hits=1, page_path=f"/{index}") for index in range(300)], [])
    question = a_question("hits", dimensions="page_path", grain=Grain.HOUR, until="2015-05-31")
    rows = ask(store, question)
    assert rows.total_rows == 300
    assert rows.question.gap_fill is GapFill.NONE
    assert rows.warnings == (
        "empty buckets are left out: filling all buckets needs 108,000 rows; the limit is 100,000",
    )
    explicit = a_question(
        "hits", dimensions="page_path", grain=Grain.HOUR, until="2015-05-31", gap_fill_is_default=False
    )
    with pytest.raises(RefusedError, match="108,000 rows; the limit is 100,000: use gap_fill none") as caught:
        ask(store, explicit)
    assert caught.value.reason == "TOO_MANY_ROWS"


def test_totals_are_read_from_the_store_as_one_bucket() -> None:
    store = RowsStore([traffic(visitors=sketch_of(1)), traffic(MIDNIGHT + DAY, visitors=sketch_of(1))], [])
    question = a_question("visitors", grain=Grain.DAY, dimensions="channel", order_by=[Order("time")])
    assert table_of(ask(store, question.of_totals())) == {(): [1]}


def test_no_answers_of_the_store_are_an_empty_series() -> None:
    question = a_question("visits,visitors", dimensions="os", grain=Grain.DAY)
    assert legs(question, {SiteDay("merchants/demo/sites/none", 1): 1})
    assert len(series(question, combine(question, [], "USD"))) == 0


def test_values_with_every_kind_of_character_come_back_as_they_were() -> None:
    values = ['a"b', "back\\", "new\nline", "\u05e9\u05dc\u05d5\u05dd", "🛒", "a,b;c", " "]
    store = RowsStore([traffic(hits=1, page_path=value) for value in values], [])
    rows = ask(store, a_question("hits", dimensions="page_path"))
    assert sorted(rows.dimensions[0]) == sorted(values)
