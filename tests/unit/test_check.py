"""Test how questions are validated: names, pairs, limits and ranges.

Every refusal states the wrong value, the rule, and how to correct the question.
"""

from __future__ import annotations

import datetime as dt

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.date_pb2 import Date

from hitmesh.api.reporter.v1 import reporter_pb2 as pb
from hitmesh.model.cells import Grain
from hitmesh.model.days import iso_instant
from hitmesh.model.errors import RefusedError
from hitmesh.model.filters import And, Comparison, Not, Operator, Or
from reporter.question.check import checked
from reporter.question.check_filter import checked_filter, message_of
from reporter.question.question import GapFill, Order
from tests.support.dates import a_date

NOW = 1_431_907_200_000  # 2015-05-18T00:00:00Z
DAY = 86_400_000


def dates(first: str, last: str) -> pb.TimeRange:
    return pb.TimeRange(dates=pb.DateRange(first_date=a_date(first), last_date=a_date(last)))


def a_request(**fields: object) -> pb.RunReportRequest:
    filled: dict[str, object] = {"metrics": ["visits"], "time_range": dates("2015-05-17", "2015-05-20")} | fields
    return pb.RunReportRequest(**filled)  # type: ignore[arg-type]  # tests name fields, protobuf checks them


def comparison(dimension: str, operator: pb.FilterOperator.ValueType, *values: str) -> pb.Filter:
    return pb.Filter(dimension_filter=pb.DimensionFilter(dimension=dimension, operator=operator, values=values))


def refused(request: pb.RunReportRequest) -> RefusedError:
    with pytest.raises(RefusedError) as caught:
        checked(request, "UTC", NOW)
    return caught.value


def test_defaults_are_filled_in() -> None:
    question = checked(a_request(), "Asia/Kathmandu", NOW)
    assert question.zone == "Asia/Kathmandu"
    assert question.buckets.grain is Grain.NONE
    assert question.limit == 10_000
    assert question.gap_fill is GapFill.ZERO
    assert question.order_by == (Order("visits", descending=True),)
    assert question.dates == (dt.date(2015, 5, 17), dt.date(2015, 5, 20))


def test_dates_are_inclusive_civil_dates_of_the_zone() -> None:
    question = checked(a_request(time_zone="Asia/Kathmandu", time_grain=pb.TIME_GRAIN_DAY), "UTC", NOW)
    assert question.buckets.labels[0] == "2015-05-17T00:00:00+05:45"
    assert len(question.buckets) == 4
    assert question.end - question.start == 4 * DAY


def test_last_days_end_with_today_in_the_zone() -> None:
    request = a_request(time_range=pb.TimeRange(last_days=7), time_zone="America/New_York")
    question = checked(request, "UTC", NOW)
    assert question.dates == (dt.date(2015, 5, 11), dt.date(2015, 5, 17))


def test_the_default_order_is_time_then_first_metric_then_dimensions() -> None:
    question = checked(a_request(time_grain=pb.TIME_GRAIN_DAY, dimensions=["channel", "os"]), "UTC", NOW)
    assert [order.field for order in question.order_by] == ["time", "visits", "channel", "os"]


def test_an_order_is_followed_by_time_and_dimensions() -> None:
    request = a_request(
        dimensions=["channel", "os"],
        time_grain=pb.TIME_GRAIN_DAY,
        order_by=[pb.OrderBy(field="os", descending=True)],
    )
    assert checked(request, "UTC", NOW).order_by == (Order("os", descending=True), Order("time"), Order("channel"))


def test_an_unknown_metric_names_the_nearest() -> None:
    error = refused(a_request(metrics=["visits", "bounce_rat"]))
    assert (error.reason, error.field) == ("UNKNOWN_METRIC", "metrics[1]")
    assert error.message.startswith("unknown metric 'bounce_rat': did you mean bounce_rate")
    assert error.variables["value"] == "bounce_rat"
    assert str(error.variables["similar"]).startswith("bounce_rate")


def test_an_unknown_dimension_names_the_nearest() -> None:
    error = refused(a_request(dimensions=["chanel"]))
    assert (error.reason, error.field) == ("UNKNOWN_DIMENSION", "dimensions[0]")
    assert "did you mean channel" in error.message
    assert "grain" in refused(a_request(dimensions=["time"])).message


def test_an_unknown_zone_names_the_nearest() -> None:
    error = refused(a_request(time_zone="Europe/Berln"))
    assert (error.reason, error.field) == ("UNKNOWN_TIME_ZONE", "time_zone")
    assert "Europe/Berlin" in error.message


def test_an_unknown_grain_names_those_that_work() -> None:
    error = refused(a_request(time_grain=99))
    assert (error.reason, error.field) == ("UNKNOWN_GRAIN", "time_grain")
    assert "TIME_GRAIN_WEEK or TIME_GRAIN_MONTH" in str(error)


def test_an_order_by_something_else_is_refused() -> None:
    error = refused(a_request(order_by=[pb.OrderBy(field="visit")]))
    assert (error.reason, error.field) == ("UNKNOWN_ORDER", "order_by[0].field")
    assert refused(a_request(order_by=[pb.OrderBy(field="time")])).reason == "UNKNOWN_ORDER"


def test_too_many_buckets_name_number_limit_and_remedy() -> None:
    error = refused(a_request(time_range=dates("2013-01-01", "2015-03-11"), time_grain=pb.TIME_GRAIN_HOUR))
    assert (error.reason, error.field) == ("TOO_MANY_BUCKETS", "time_grain")
    assert error.message == (
        "grain HOUR over 800 days is 19,200 buckets; the limit is 10,000: use DAY or a shorter range"
    )


def test_the_remedy_for_a_very_long_range_is_a_grain_that_fits() -> None:
    error = refused(a_request(time_range=dates("1970-01-01", "2099-12-31"), time_grain=pb.TIME_GRAIN_HOUR))
    assert "use WEEK or a shorter range" in error.message


@pytest.mark.parametrize(
    ("fields", "field", "message"),
    [
        ({"metrics": []}, "metrics", "name 1 to 20"),
        ({"metrics": ["hits"] * 21}, "metrics", "metrics has 21 entries; the limit is 20"),
        ({"metrics": ["hits", "hits"]}, "metrics[1]", "twice"),
        ({"dimensions": ["os"] * 6}, "dimensions", "dimensions has 6 entries; the limit is 5"),
        ({"limit": 100_001}, "limit", "limit 100,001 is out of range: send 1 to 100,000"),
        ({"limit": -1}, "limit", "send 1 to 100,000"),
        ({"limit": 0}, "limit", "limit 0 is out of range: send 1 to 100,000"),
        ({"gap_fill": 9}, "gap_fill", "use GAP_FILL_NONE, GAP_FILL_ZERO or GAP_FILL_NULL"),
    ],
)
def test_limits_name_value_and_rule(fields: dict[str, object], field: str, message: str) -> None:
    error = refused(a_request(**fields))
    assert error.field == field
    assert message in error.message


@pytest.mark.parametrize(
    ("time_range", "field", "message"),
    [
        (pb.TimeRange(), "time_range", "set dates, instants or last_days"),
        (pb.TimeRange(last_days=0), "time_range.last_days", "not 1 to 3,660"),
        (pb.TimeRange(last_days=3_661), "time_range.last_days", "not 1 to 3,660"),
        (
            pb.TimeRange(
                dates=pb.DateRange(first_date=Date(year=2015, month=2, day=30), last_date=a_date("2015-05-17"))
            ),
            "time_range.dates.first_date",
            "first_date 2015-02-30 is not a calendar date: send a year from 1 to 9999, a month from 1 to 12 and a day",
        ),
        (
            pb.TimeRange(dates=pb.DateRange(first_date=a_date("2015-05-17"), last_date=Date(year=2015, month=5))),
            "time_range.dates.last_date",
            "last_date 2015-05-00 is not a calendar date",
        ),
        (
            pb.TimeRange(dates=pb.DateRange(first_date=a_date("2015-05-17"))),
            "time_range.dates.last_date",
            "last_date is not set",
        ),
        (pb.TimeRange(instants=pb.InstantRange(end=Timestamp())), "time_range.instants.start", "start is not set"),
        (dates("2015-05-20", "2015-05-17"), "time_range", "before first date"),
        (dates("1969-12-31", "2015-05-17"), "time_range", "outside 1970-01-01"),
    ],
)
def test_impossible_ranges_are_refused(time_range: pb.TimeRange, field: str, message: str) -> None:
    error = refused(a_request(time_range=time_range))
    assert (error.reason, error.field) == ("INVALID_TIME_RANGE", field)
    assert message in error.message


def test_instants_are_quarters_of_an_hour() -> None:
    request = a_request(time_grain=pb.TIME_GRAIN_HOUR)
    request.time_range.instants.start.FromMilliseconds(NOW + 900_000)
    request.time_range.instants.end.FromMilliseconds(NOW + 2 * 3_600_000)
    question = checked(request, "UTC", NOW)
    assert [bucket.partial for bucket in question.buckets] == [True, False]
    assert question.dates is None
    request.time_range.instants.end.FromMilliseconds(NOW + 1)
    assert refused(request).field == "time_range.instants.end"
    assert refused(request).message.startswith(f"end {iso_instant(NOW + 1)} is not a multiple of 15 minutes")
    request.time_range.instants.end.seconds = 2**62
    assert refused(request).message.startswith(f"end {2**62} s 1000000 ns is not a multiple of 15 minutes")
    request.time_range.instants.end.FromMilliseconds(NOW)
    assert "swap" in refused(request).message


def test_a_conflict_in_dimensions_or_filter_is_refused_with_its_reason() -> None:
    error = refused(a_request(dimensions=["os", "product"]))
    assert (error.reason, error.field) == ("VISIT_METRIC_HIT_DIMENSION", "dimensions[1]")
    error = refused(a_request(metrics=["orders"], filter=comparison("brand", pb.FILTER_OPERATOR_EQ, "x")))
    assert (error.reason, error.field) == ("ORDER_METRIC_ITEM_DIMENSION", "filter")
    error = refused(a_request(metrics=["rejected_hits"], filter=comparison("os", pb.FILTER_OPERATOR_EQ, "x")))
    assert error.reason == "REJECTED_METRIC_DIMENSION"


def test_a_filter_becomes_a_tree_and_a_message_again() -> None:
    single = comparison("os", pb.FILTER_OPERATOR_EQ, "iOS")
    two = comparison("browser", pb.FILTER_OPERATOR_IN, "Chrome", "Safari")
    three = comparison("page_path", pb.FILTER_OPERATOR_RE2, "^/blog")
    both = pb.Filter(or_list=pb.FilterList(filters=[two, pb.Filter(not_filter=three)]))
    message = pb.Filter(and_list=pb.FilterList(filters=[single, both]))
    tree = checked_filter(message)
    assert tree == And(
        (
            Comparison("os", Operator.EQ, ("iOS",)),
            Or(
                (
                    Comparison("browser", Operator.IN, ("Chrome", "Safari")),
                    Not(Comparison("page_path", Operator.RE2, ("^/blog",))),
                )
            ),
        )
    )
    assert message_of(tree) == message


def nested(depth: int) -> pb.Filter:
    message = comparison("os", pb.FILTER_OPERATOR_EQ, "x")
    for _ in range(depth - 1):
        message = pb.Filter(not_filter=message)
    return message


@pytest.mark.parametrize(
    ("message", "reason", "complaint"),
    [
        (pb.Filter(), "INVALID_FILTER", "this filter is empty"),
        (nested(9), "INVALID_FILTER", "deeper than 8 levels"),
        (pb.Filter(and_list=pb.FilterList()), "INVALID_FILTER", "the list has 0 filters: send 1 to 50"),
        (comparison("chanel", pb.FILTER_OPERATOR_EQ, "x"), "UNKNOWN_DIMENSION", "did you mean channel"),
        (
            comparison("os", pb.FILTER_OPERATOR_UNSPECIFIED, "x"),
            "INVALID_FILTER",
            "operator is not set: use FILTER_OPERATOR_EQ",
        ),
        (comparison("os", pb.FILTER_OPERATOR_EQ), "INVALID_FILTER", "exactly 1"),
        (comparison("os", pb.FILTER_OPERATOR_EQ, "x", "y"), "INVALID_FILTER", "exactly 1"),
        (comparison("os", pb.FILTER_OPERATOR_EQ, ""), "INVALID_FILTER", "(not set)"),
        (comparison("os", pb.FILTER_OPERATOR_IN, *"x" * 101), "INVALID_FILTER", "1 to 100"),
        (comparison("os", pb.FILTER_OPERATOR_EQ, "x" * 2_001), "INVALID_FILTER", "2,001 bytes; the limit is 2,000"),
        (comparison("os", pb.FILTER_OPERATOR_RE2, "a("), "INVALID_REGEXP", "missing )"),
        (comparison("os", pb.FILTER_OPERATOR_RE2, "(?=x)"), "INVALID_REGEXP", "no look-around"),
        (comparison("os", pb.FILTER_OPERATOR_RE2, "x" * 501), "INVALID_REGEXP", "501 characters; the limit is 500"),
    ],
)
def test_a_bad_filter_is_refused(message: pb.Filter, reason: str, complaint: str) -> None:
    error = refused(a_request(filter=message))
    assert error.reason == reason
    assert error.field.startswith("filter")
    assert complaint in error.message


def test_a_filter_eight_deep_and_a_hundred_comparisons_are_taken() -> None:
    checked(a_request(filter=nested(8)), "UTC", NOW)
    half = pb.Filter(or_list=pb.FilterList(filters=[comparison("os", pb.FILTER_OPERATOR_EQ, "x")] * 50))
    checked(a_request(filter=pb.Filter(and_list=pb.FilterList(filters=[half] * 2))), "UTC", NOW)
    error = refused(a_request(filter=pb.Filter(and_list=pb.FilterList(filters=[half] * 3))))
    assert "150 comparisons; the limit is 100" in error.message


def test_comparisons_are_counted_before_any_is_read() -> None:
    many = [comparison("os", pb.FILTER_OPERATOR_RE2, "a(")] * 50
    lists = [pb.Filter(or_list=pb.FilterList(filters=many)) for _ in range(3)]
    error = refused(a_request(filter=pb.Filter(and_list=pb.FilterList(filters=lists))))
    assert (error.reason, "150 comparisons; the limit is 100" in error.message) == ("INVALID_FILTER", True)


def test_regexps_that_are_too_large_together_are_refused() -> None:
    dear = [
        comparison("page_path", pb.FILTER_OPERATOR_RE2, f"(?:[0-9a-f]{{1,30}}x{number}){{12}}") for number in range(30)
    ]
    error = refused(a_request(metrics=["hits"], filter=pb.Filter(or_list=pb.FilterList(filters=dear))))
    assert (error.reason, error.field) == ("FILTER_TOO_DEAR", "filter")
    assert "the limit is 10,000: use in(…)" in error.message
