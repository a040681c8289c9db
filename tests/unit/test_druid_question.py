"""Test questions as native Druid queries: the sent query, and the bucket of each cell."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import orjson
import pytest
from pydruid.utils.filters import Filter as Native

from hitmesh.adapters.druid.question import MAX_ROWS, Matches, exists, rows_query, values_query
from hitmesh.adapters.druid.scan import scan_query
from hitmesh.adapters.shared.druid_columns import PRESENCE
from hitmesh.model.filters import And, Comparison, Filter, Not, Operator, Or
from hitmesh.model.queries import MetricQuery
from hitmesh.model.rows.rollup_rows import RowSource
from hitmesh.model.sites import SiteDay

DAY, DAY_MS, CELL_MS = 20_000, 86_400_000, 900_000
START = DAY * DAY_MS
SHOP = {"type": "equals", "column": "site", "matchValueType": "STRING", "matchValue": "shop"}


def a_question(filter: Filter | None = None, **values: Any) -> MetricQuery:
    given: dict[str, Any] = {
        "source": RowSource.TRAFFIC,
        "generations": {SiteDay("shop", DAY): 3},
        "start": START,
        "end": START + DAY_MS,
        "bucket_starts": (START,),
        "filter": filter,
        "include_excluded": True,
    }
    return MetricQuery(**{**given, **values})


def no_pattern(comparison: Comparison) -> Sequence[str]:
    raise AssertionError(f"nothing asks for {comparison}")


def a_text(column: str, value: str) -> dict[str, Any]:
    return {
        "type": "istrue",
        "field": {"type": "equals", "column": column, "matchValueType": "STRING", "matchValue": value},
    }


def days(first: int, end: int) -> dict[str, Any]:
    return {
        "type": "range",
        "column": "__time",
        "matchValueType": "LONG",
        "lower": first * DAY_MS,
        "upper": end * DAY_MS,
        "upperOpen": True,
    }


def a_generation(number: int) -> dict[str, Any]:
    return {"type": "equals", "column": "generation", "matchValueType": "LONG", "matchValue": number}


def existing(question: MetricQuery, matches: Matches = no_pattern) -> Any:
    """Return the filter by which a query selects the rows of a question, as JSON."""
    return Native.build_filter(exists(question, matches))


def condition_of(tree: Filter, **values: Any) -> Any:
    """Return the native form of a filter, without the filter on generations that every query also has."""
    return existing(a_question(tree, **values))["fields"][1]


class TestQueries:
    def test_groups_are_read_in_one_query(self) -> None:
        question = a_question(
            dimensions=("page_path", "site"),
            measures=("hits",),
            sketches=("visitors",),
            columns={"page_path": "landing_page"},
        )
        query = rows_query(question, "mesh_traffic", no_pattern).json()
        assert query == {
            "queryType": "groupBy",
            "dataSource": "mesh_traffic",
            "granularity": "all",
            "intervals": ["2024-10-04T00:00:00Z/2024-10-05T00:00:00Z"],
            "dimensions": [
                {"type": "default", "dimension": "bucket", "outputName": "bucket", "outputType": "LONG"},
                {"type": "default", "dimension": "landing_page", "outputName": "d0"},
                {"type": "default", "dimension": "site", "outputName": "d1"},
            ],
            "virtualColumns": [
                {
                    "type": "expression",
                    "name": "bucket",
                    "expression": f"0 + (__time - {START}) / {1 << 62}",
                    "outputType": "LONG",
                }
            ],
            "aggregations": [
                {"type": "longSum", "name": "hits", "fieldName": "hits"},
                {
                    "type": "thetaSketch",
                    "name": "visitors",
                    "fieldName": "visitors",
                    "size": 16_384,
                    "shouldFinalize": False,
                },
                {"type": "longSum", "name": PRESENCE, "fieldName": PRESENCE},
            ],
            "filter": {"type": "and", "fields": [a_text("site", "shop"), a_generation(3), days(DAY, DAY + 1)]},
            "limitSpec": {"type": "default", "limit": MAX_ROWS + 1},
        }

    def test_values_are_the_first_ones_that_come_to_something(self) -> None:
        query = values_query(a_question(), "mesh_traffic", "channel", no_pattern, 11).json()
        assert query["dimensions"] == [{"type": "default", "dimension": "channel", "outputName": "value"}]
        assert query["having"] == {"type": "greaterThan", "aggregation": PRESENCE, "value": 0}
        assert query["limitSpec"]["limit"] == 11
        assert query["limitSpec"]["columns"] == [
            {"dimension": "value", "direction": "ascending", "dimensionOrder": "lexicographic"}
        ]

    def test_rows_are_read_with_their_whole_key(self) -> None:
        query = scan_query(a_question(sketches=("visitors",), measures=("hits",)), "mesh_traffic", no_pattern).json()
        assert {"__time", "site", "generation", "excluded", "page_path", "country", PRESENCE} < set(query["columns"])
        assert query["columns"][-2:] == ["hits", "visitors"]
        assert query["limit"] == MAX_ROWS + 1

    def test_values_travel_as_they_are(self) -> None:
        quirky = ['a"b', "it's", "\\", "line\nbreak", "", "\x00", "👩‍👩‍👧"]
        query = rows_query(a_question(Comparison("page_path", Operator.IN, tuple(quirky))), "mesh_traffic", no_pattern)
        sent = orjson.loads(orjson.dumps(query.json()))
        assert sent["filter"]["fields"][1]["field"]["values"] == quirky

    def test_range_that_begins_within_its_first_bucket_has_no_earlier_cells(self) -> None:
        query = rows_query(a_question(start=START + 3 * CELL_MS), "mesh_traffic", no_pattern).json()
        assert query["intervals"] == ["2024-10-04T00:45:00Z/2024-10-05T00:00:00Z"]

    def test_range_without_time_is_empty(self) -> None:
        query = rows_query(a_question(end=START - DAY_MS), "mesh_traffic", no_pattern).json()
        assert query["intervals"] == ["2024-10-04T00:00:00Z/2024-10-04T00:00:00Z"]


class TestGenerations:
    def test_days_that_follow_each_other_are_one_range(self) -> None:
        generations = {SiteDay("shop", DAY + n): 3 for n in (0, 1, 2, 5)}
        assert existing(a_question(generations=generations)) == {
            "type": "and",
            "fields": [
                a_text("site", "shop"),
                a_generation(3),
                {"type": "or", "fields": [days(DAY, DAY + 3), days(DAY + 5, DAY + 6)]},
            ],
        }

    def test_each_day_is_read_in_its_own_generation(self) -> None:
        generations = {SiteDay("shop", DAY): 3, SiteDay("shop", DAY + 1): 0}
        found = existing(a_question(generations=generations))
        assert found == {
            "type": "or",
            "fields": [
                {"type": "and", "fields": [a_text("site", "shop"), a_generation(3), days(DAY, DAY + 1)]},
                {"type": "and", "fields": [a_text("site", "shop"), a_generation(0), days(DAY + 1, DAY + 2)]},
            ],
        }

    def test_sites_with_the_same_generations_share_a_condition(self) -> None:
        generations = {SiteDay(f"s{n:05}", DAY): 7 for n in range(10_000)} | {SiteDay("other", DAY): 8}
        found = existing(a_question(generations=generations))
        assert [len(alternative["fields"]) for alternative in found["fields"]] == [3, 3]
        alike = found["fields"][1]["fields"][0]["field"]
        assert alike["values"] == [f"s{n:05}" for n in range(10_000)]

    def test_excluded_rows_are_left_out_unless_requested(self) -> None:
        found = existing(a_question(include_excluded=False))
        assert found["fields"][-1] == {
            "type": "equals",
            "column": "excluded",
            "matchValueType": "LONG",
            "matchValue": 0,
        }


class TestFilters:
    def test_value_is_compared_and_null_is_not_unknown(self) -> None:
        assert condition_of(Comparison("channel", Operator.EQ, ("ads",))) == a_text("channel", "ads")
        assert condition_of(Comparison("channel", Operator.NE, ("ads",))) == {
            "type": "not",
            "field": a_text("channel", "ads"),
        }

    @pytest.mark.parametrize(("dimension", "null"), [("channel", "(not set)"), ("source", "(direct)")])
    def test_null_is_found_by_its_name(self, dimension: str, null: str) -> None:
        found = condition_of(Comparison(dimension, Operator.EQ, (null,)))
        assert found == {"type": "or", "fields": [{"type": "null", "column": dimension}, a_text(dimension, null)]}

    def test_null_has_no_other_name(self) -> None:
        found = condition_of(Comparison("source", Operator.EQ, ("(not set)",)))
        assert found == a_text("source", "(not set)")

    def test_null_keeps_the_name_of_the_queried_dimension(self) -> None:
        found = condition_of(Comparison("source", Operator.EQ, ("(direct)",)), columns={"source": "referrer_host"})
        assert found["fields"][0] == {"type": "null", "column": "referrer_host"}

    def test_pattern_becomes_the_values_it_matches(self) -> None:
        comparison = Comparison("channel", Operator.RE2, (r"^\w+$",))
        found = existing(a_question(comparison), lambda pattern: ["ads", "(not set)"] if pattern == comparison else [])
        matched = found["fields"][1]
        assert matched["fields"][0] == {"type": "null", "column": "channel"}
        assert matched["fields"][1]["field"]["values"] == ["ads", "(not set)"]

    def test_pattern_that_matches_nothing_is_false(self) -> None:
        comparison = Comparison("channel", Operator.RE2, ("x",))
        found = existing(a_question(Not(comparison)), lambda _: [])
        assert found["fields"][1] == {"type": "not", "field": {"type": "false"}}

    def test_trees_keep_their_shape(self) -> None:
        ads, mail = Comparison("channel", Operator.EQ, ("ads",)), Comparison("channel", Operator.EQ, ("mail",))
        both = {"type": "and", "fields": [a_text("channel", "ads"), a_text("channel", "mail")]}
        assert condition_of(And((ads, mail))) == both
        assert condition_of(Not(Or((ads, mail)))) == {"type": "not", "field": {**both, "type": "or"}}
        assert condition_of(And(())) == {"type": "true"}
        assert condition_of(Or(())) == {"type": "false"}


def bucket_of(starts: Sequence[int], cells: np.ndarray[Any, np.dtype[np.int64]]) -> list[int]:
    """Return the buckets that Druid computes for a question.

    The test evaluates Druid's integer divisions with Python's //.
    """
    question = a_question(start=starts[0], bucket_starts=tuple(starts), end=int(cells[-1]) + CELL_MS)
    (column,) = rows_query(question, "mesh_traffic", no_pattern).json()["virtualColumns"]
    expression = column["expression"].replace("/", "//")
    assert re.fullmatch(r"[\d\w\s()+\-/<,]+", expression)
    return [
        eval(expression, {"case_searched": first_that_holds, "__time": int(cell)}) for cell in cells
    ]  # safe: the assertion above allows only names, numbers and operators, and eval knows only two names


def first_that_holds(*cases: int) -> int:
    for condition, value in zip(cases[:-1:2], cases[1::2], strict=True):
        if condition:
            return value
    return cases[-1]


def local_starts(zone: str, first: datetime, count: int, *, months: bool = False) -> list[int]:
    local = first.replace(tzinfo=ZoneInfo(zone))
    starts = []
    for n in range(count):
        month = local.month - 1 + n
        start = (
            local.replace(year=local.year + month // 12, month=month % 12 + 1) if months else local + timedelta(days=n)
        )
        starts.append(int(start.astimezone(UTC).timestamp() * 1_000))
    return starts


class TestBuckets:
    @pytest.mark.parametrize(
        "starts",
        [
            [START],
            [START + n * CELL_MS for n in range(96)],
            [START + n * DAY_MS for n in range(40)],
            [START, START + CELL_MS, START + 3 * CELL_MS],
            [START + CELL_MS * n * n for n in range(9)],
            local_starts("Europe/Berlin", datetime(2025, 3, 20), 20),  # a naive local time, on purpose
            local_starts("Australia/Lord_Howe", datetime(2025, 3, 30), 14),
            local_starts("Asia/Kathmandu", datetime(2024, 1, 1), 18, months=True),
            local_starts("America/New_York", datetime(2023, 11, 1), 15, months=True),
        ],
    )
    def test_every_cell_falls_into_the_bucket_that_holds_it(self, starts: list[int]) -> None:
        cells = np.arange(starts[0], starts[-1] + 2 * DAY_MS, CELL_MS)
        # Check every cell within 3 hours of a bucket's start, and one in 29 of all other cells.
        to_edge = np.abs(cells[:, None] - np.array(starts)).min(axis=1)
        cells = cells[(to_edge <= 12 * CELL_MS) | (np.arange(len(cells)) % 29 == 0)]
        expected = np.searchsorted(np.array(starts), cells, side="right") - 1
        assert bucket_of(starts, cells) == expected.tolist()

    def test_days_of_a_year_need_few_pieces(self) -> None:
        starts = local_starts("Europe/Berlin", datetime(2025, 1, 1), 365)  # a naive local time, on purpose
        assert len({end - start for start, end in pairwise(starts)}) == 3
        query = rows_query(a_question(bucket_starts=tuple(starts)), "mesh_traffic", no_pattern)
        (column,) = query.json()["virtualColumns"]
        assert column["expression"].count("__time <") == 5
