"""Test queries that ask for progress marks together with rows, and the refusal of answers without current marks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
import pytest

from hitmesh.adapters.druid.client import DruidClient
from hitmesh.adapters.druid.metrics import DruidMetricStore
from hitmesh.adapters.druid.proof import Proof, proof_of
from hitmesh.adapters.druid.question import MAX_ROWS, rows_query, values_query
from hitmesh.adapters.druid.scan import scan_query
from hitmesh.model.errors import Unavailable
from hitmesh.model.filters import Comparison, Operator
from hitmesh.model.positions import PartitionId, PartitionProgress
from hitmesh.model.sites import SiteDay
from tests.support.waiting import eventually
from tests.unit.scripted_druid import Answer, a_druid
from tests.unit.test_druid_client import Declared
from tests.unit.test_druid_question import DAY_MS, START, a_question, no_pattern

FIRST, SECOND = (PartitionId("hits.x", number) for number in range(2))
NOW = START + 2 * DAY_MS
NOTHING = PartitionProgress(0, 0)


def a_proof(first: int = 7, second: int = 9) -> Proof:
    return proof_of({FIRST: PartitionProgress(first, START + 5), SECOND: PartitionProgress(second, NOW)}, NOW)


def at_least(name: str, offset: int) -> Mapping[str, Any]:
    mark = {"type": "equals", "column": "mark", "matchValueType": "STRING", "matchValue": name}
    return {
        "type": "and",
        "fields": [mark, {"type": "range", "column": "mark_offset", "matchValueType": "LONG", "lower": offset}],
    }


class TestMarkedQuery:
    def test_groups_and_marks_are_one_query_and_neither_finds_rows_of_the_other(self) -> None:
        query = rows_query(a_question(measures=("hits",)), "mesh_traffic", no_pattern)
        sent = a_proof().with_marks(query).json()
        alone = query.json()
        assert sent["intervals"][:2] == [*alone["intervals"], "2024-10-04T00:00:00Z/2024-10-04T00:15:00Z"]
        assert sent["intervals"][-1] == "2024-10-07T00:00:00Z/2024-10-07T00:15:00Z"  # the log's clock may be ahead
        rows_filter, *marks = sent["filter"]["fields"]
        within = {"type": "interval", "dimension": "__time", "intervals": alone["intervals"]}
        assert rows_filter == {"type": "and", "fields": [alone["filter"], within]}
        assert marks == [at_least("hits.x/0", 7), at_least("hits.x/1", 9)]
        assert sent["dimensions"][-1]["dimension"] == "mark"
        assert sent["limitSpec"]["limit"] > MAX_ROWS + 1

    def test_values_and_rows_are_queried_with_their_marks(self) -> None:
        values = values_query(a_question(), "mesh_traffic", "channel", no_pattern, 11)
        sent = a_proof().with_marks(values).json()
        assert sent["having"]["havingSpecs"][0] == values.json()["having"]
        assert sent["limitSpec"]["limit"] > 11 + 2
        scan = scan_query(a_question(measures=("hits",)), "mesh_traffic", no_pattern)
        assert a_proof().with_marks(scan).json()["columns"] == [*scan.json()["columns"], "mark"]

    def test_query_is_unchanged_while_no_mark_counts(self) -> None:
        query = rows_query(a_question(), "mesh_traffic", no_pattern)
        proof = proof_of({FIRST: NOTHING, SECOND: NOTHING}, NOW)
        assert proof.with_marks(query) == query
        assert proof.checked(query, [[0, 1]]) == [[0, 1]]

    def test_marks_of_long_ago_are_one_interval(self) -> None:
        proof = proof_of({FIRST: PartitionProgress(1, START)}, START + 400 * DAY_MS)
        assert proof.intervals == ("2024-10-04T00:00:00Z/2100-01-01",)


class TestChecked:
    def test_answer_comes_without_its_marks(self) -> None:
        query = rows_query(a_question(dimensions=("channel",), measures=("hits",)), "mesh_traffic", no_pattern)
        answer = [[0, None, "hits.x/0", None, 0], [0, "ads", None, 5, 5], [3, None, "hits.x/1", None, 0]]
        assert a_proof().checked(query, answer) == [[0, "ads", 5, 5]]
        scan = scan_query(a_question(measures=("hits",)), "mesh_traffic", no_pattern)
        width = len(scan.json()["columns"])
        events = [[*range(width), None], [*range(width), "hits.x/0"]]
        batches = [{"events": events}, {"events": [[*range(width), "hits.x/1"]]}]
        assert [batch["events"] for batch in a_proof().checked(scan, batches)] == [[[*range(width)]], []]

    @pytest.mark.parametrize("seen", [["hits.x/0"], ["hits.x/1"], []])
    def test_answer_that_lacks_a_mark_is_refused(self, seen: list[str]) -> None:
        query = rows_query(a_question(measures=("hits",)), "mesh_traffic", no_pattern)
        answer = [[0, None, 5, 5], *([0, mark, None, 0] for mark in seen)]
        with pytest.raises(Unavailable, match=r"lacks rows .* hits\.x/") as refused:
            a_proof().checked(query, answer)
        assert refused.value.retry_after_s > 0


class OneServer:
    """A Druid with a single data server.

    While `lacks_it` is true, the broker answers questions without this server's rows.
    """

    def __init__(self) -> None:
        self.lacks_it = False
        self.queries: list[Mapping[str, Any]] = []

    def __call__(self, method: str, path: str, body: Any) -> Answer:
        # A query that reads only progress marks always reaches the data server. While `lacks_it`
        # is true, all other queries get an answer without the server's rows.
        if body["dimensions"] == ["mark"]:
            return 200, orjson.dumps([[f"hits.x/{number}", 7, START] for number in range(2)])
        self.queries.append(body)
        if self.lacks_it:
            return 200, b"[]"
        names = [dimension["dimension"] for dimension in body["dimensions"]]
        marks = [[f"hits.x/{number}" if name == "mark" else None for name in names] for number in range(2)]
        row = [0 if name == "bucket" else None if name == "mark" else "ads" for name in names]
        sums = [5] * len(body["aggregations"])
        return 200, orjson.dumps([[*row, *sums], *([*mark, *sums] for mark in marks)])


class Nothing:
    def of(self, sites: Any) -> set[tuple[SiteDay, int]]:
        return set()


@pytest.mark.parametrize("filter", [None, Comparison("channel", Operator.RE2, ("^a",))])
def test_question_in_the_moment_in_which_the_broker_lacks_a_server_is_refused(filter: Comparison | None) -> None:
    druid = OneServer()
    with a_druid(druid) as servers:
        store = DruidMetricStore(servers, DruidClient(servers), Declared(), Nothing())
        question = a_question(filter=filter, dimensions=("channel",), measures=("hits",))
        eventually(lambda: store.ingested_through()[SECOND].next_offset == 7, "marks count", 20.0)
        assert store.query(question).rows() == [(0, "ads", 5)]
        druid.lacks_it = True
        with pytest.raises(Unavailable, match="try again"):
            store.query(question)
        druid.lacks_it = False
        assert store.query(question).rows() == [(0, "ads", 5)]
        store.close()
