"""Test Druid's answers over HTTP.

The tests cover how answers are read, when progress marks are valid, and whether sent rows have arrived.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
import polars as pl
import pytest

from hitmesh.adapters.druid import client as client_module
from hitmesh.adapters.druid import sink as sink_module
from hitmesh.adapters.druid.client import DruidClient, refusal
from hitmesh.adapters.druid.marks import Marks
from hitmesh.adapters.druid.sink import DruidRollupSink
from hitmesh.adapters.servers import Servers
from hitmesh.model.errors import Abandoned, FatalError, HitmeshError, RefusedError, Unavailable
from hitmesh.model.positions import PartitionId, PartitionProgress, Topic
from hitmesh.model.rows.rollup_rows import ROW_COLUMNS, RowSource
from hitmesh.model.sites import SiteDay
from tests.support.waiting import eventually
from tests.unit.scripted_druid import Answer, a_druid, servers_at

QUERY = {"queryType": "groupBy", "context": {"vectorize": False}}
DAY = 20_000
LOG_TIME = DAY * 86_400_000 + 5


def error(**fields: str) -> bytes:
    return orjson.dumps(fields)


class TestRefusal:
    @pytest.mark.parametrize(
        ("status", "data", "kind"),
        [
            (504, error(error="Query timeout"), Unavailable),
            (429, error(error="Query capacity exceeded"), Unavailable),
            (500, error(error="Unknown exception", errorClass="java.io.IOException"), Unavailable),
            (500, error(error="Unknown exception", errorClass="com.fasterxml.jackson.databind.X"), FatalError),
            (502, b"<html>bad gateway</html>", Unavailable),
            (400, error(error="Json parse failed"), FatalError),
            # A user's value in this message contains words of other errors. The words in the user's value must not
            # change the kind of error.
            (400, error(error="druidException", errorMessage="no column 'timeout capacity'"), FatalError),
            (400, error(error="Resource limit exceeded"), RefusedError),
            (404, b"", FatalError),
            (400, b"[]", FatalError),
        ],
    )
    def test_status_of_an_answer_determines_the_kind_of_error(
        self, status: int, data: bytes, kind: type[HitmeshError]
    ) -> None:
        assert type(refusal(status, data)) is kind


class TestClient:
    def test_query_has_a_deadline_and_a_name(self) -> None:
        queries: list[Any] = []

        def script(method: str, path: str, body: Any) -> Answer:
            queries.append((method, path, body["context"]))
            return 200, b'[["a",1]]'

        with a_druid(script) as servers:
            client = DruidClient(servers)
            assert [client.query(QUERY) for _ in range(2)] == [[["a", 1]]] * 2
            client.close()
        method, path, context = queries[0]
        assert (method, path) == ("POST", "/druid/v2")
        assert context["timeout"] == 30_000
        assert context["finalize"] is False
        assert context["vectorize"] is False
        assert context["queryId"] != queries[1][2]["queryId"]

    @pytest.mark.parametrize("headers", [{}, {"Content-Length": "1000"}])
    def test_answer_that_breaks_off_is_unavailable(self, headers: dict[str, str]) -> None:
        with a_druid(lambda *_: (200, b'[["a",1],["b"', headers)) as servers, pytest.raises(Unavailable):
            DruidClient(servers).query(QUERY)

    def test_answer_of_an_abandoned_call_is_read_no_further(self) -> None:
        def leave() -> None:
            raise Abandoned("the caller left")

        with a_druid(lambda *_: (200, b'[["a",1]]')) as servers:
            client = DruidClient(servers)
            with pytest.raises(Abandoned):
                client.query(QUERY, leave)
            assert client.query(QUERY) == [["a", 1]], "the connection is not used for what was left of the answer"
            client.close()

    def test_missing_server_is_unavailable_with_a_retry_delay(self) -> None:
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            with pytest.raises(Unavailable, match="check that Druid is running") as raised:
                DruidClient(servers_at(f"http://127.0.0.1:{nobody.getsockname()[1]}")).query(QUERY)
        assert raised.value.retry_after_s > 0

    def test_answer_that_is_too_large_is_refused_and_the_next_one_is_not_mixed_up(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(client_module, "MAX_BYTES", 1 << 20)
        answers = iter([orjson.dumps([["x" * (2 << 20)]]), b'[["b"]]'])
        with a_druid(lambda *_: (200, next(answers))) as servers:
            client = DruidClient(servers)
            with pytest.raises(RefusedError, match="shorter range"):
                client.query(QUERY)
            assert client.query(QUERY) == [["b"]]
            client.close()

    def test_missing_resource_is_the_given_default_or_a_fatal_error(self) -> None:
        with a_druid(lambda *_: (404, b'{"error":"druidException"}')) as servers:
            client = DruidClient(servers)
            assert client.coordinator("GET", "/x", missing={}) == {}
            with pytest.raises(FatalError):
                client.coordinator("GET", "/x")
            client.close()

    def test_leader_is_found_through_another_coordinator(self) -> None:
        def leader(method: str, path: str, body: Any) -> Answer:
            return 200, orjson.dumps([method, path, body])

        with a_druid(leader) as other:
            moved = {"Location": f"{other.coordinator}/leader"}
            with a_druid(lambda *_: (307, b"", moved)) as servers:
                client = DruidClient(servers)
                assert client.coordinator("POST", "/x", {"a": 1}) == ["POST", "/leader", {"a": 1}]
                client.close()


class Declared:
    """A log catalogue that declares two partitions of hits."""

    def partitions(self, topic: Topic) -> int:
        return 2

    def partition_ids(self, topic: Topic) -> Sequence[PartitionId]:
        return [PartitionId("hits.x", number) for number in range(2)]

    def log_id(self, topic: Topic) -> str:
        return "hits.x"

    def topic_of(self, log_id: str) -> Topic:
        return Topic.HITS


class Shown:
    """A simulated Druid with two data sources. Each data source contains the progress marks that a test sets."""

    def __init__(self) -> None:
        self.marks: dict[str, list[tuple[str, int, int]]] = {"mesh_traffic": [], "mesh_visits": []}
        self.intervals: list[str] = []
        self.is_down = False
        self.refused = 0

    def show(self, name: str, offset: int) -> None:
        for shown in self.marks.values():
            shown[:] = [mark for mark in shown if mark[0] != name] + [(name, offset, LOG_TIME)]

    def __call__(self, method: str, path: str, body: Any) -> Answer:
        if self.is_down:
            self.refused += 1
            return 503, b""
        self.intervals += body["intervals"]
        return 200, orjson.dumps(self.marks[body["dataSource"]])


FIRST, SECOND = Declared().partition_ids(Topic.HITS)
NOTHING = PartitionProgress(0, 0)


def eventually_through(marks: Marks, expected: Mapping[PartitionId, PartitionProgress]) -> None:
    eventually(lambda: dict(marks.through()) == expected, f"{expected} is through", 20.0)


class TestMarks:
    def test_mark_counts_once_both_have_shown_it_for_a_while(self) -> None:
        shown = Shown()
        with a_druid(shown) as servers:
            marks = Marks(servers, DruidClient(servers), Declared())
            assert dict(marks.through()) == {FIRST: NOTHING, SECOND: NOTHING}
            shown.show("hits.x/0", 7)
            shown.show("hits.gone/1", 9)
            shown.marks["mesh_visits"].append(("hits.x/1", 3, LOG_TIME))
            eventually_through(marks, {FIRST: PartitionProgress(7, LOG_TIME), SECOND: NOTHING})
            shown.marks["mesh_traffic"].append(("hits.x/1", 4, LOG_TIME))
            eventually_through(marks, {FIRST: PartitionProgress(7, LOG_TIME), SECOND: PartitionProgress(3, LOG_TIME)})
            marks.close()
            marks.close()

    def test_mark_that_was_just_seen_does_not_count_yet(self) -> None:
        shown = Shown()
        with a_druid(shown) as servers:
            patient = Servers("", "", servers.broker, servers.broker, "mesh", mark_margin_ms=60_000)
            marks = Marks(patient, DruidClient(servers), Declared())
            for number in range(2):
                shown.show(f"hits.x/{number}", 7)
            marks.through()
            eventually(lambda: len(shown.intervals) >= 4, "both sources were looked at twice", 20.0)
            assert set(marks.through().values()) == {NOTHING}
            marks.close()

    def test_mark_that_is_lost_counts_no_longer(self) -> None:
        shown = Shown()
        with a_druid(shown) as servers:
            marks = Marks(servers, DruidClient(servers), Declared())
            shown.show("hits.x/0", 7)
            eventually_through(marks, {FIRST: PartitionProgress(7, LOG_TIME), SECOND: NOTHING})
            shown.show("hits.x/0", 2)
            eventually_through(marks, {FIRST: PartitionProgress(2, LOG_TIME), SECOND: NOTHING})
            marks.close()

    def test_known_marks_are_looked_for_on_their_days_alone(self) -> None:
        shown = Shown()
        with a_druid(shown) as servers:
            marks = Marks(servers, DruidClient(servers), Declared())
            for number in range(2):
                shown.show(f"hits.x/{number}", 7)
            eventually_through(marks, dict.fromkeys((FIRST, SECOND), PartitionProgress(7, LOG_TIME)))
            assert shown.intervals[0] == "1970-01-01/2100-01-01"
            there = "2024-10-04T00:00:00Z/2100-01-01"
            eventually(lambda: shown.intervals[-1] == there, "the day of the marks is looked at", 20.0)
            marks.close()

    def test_unused_search_ends_and_begins_anew_without_old_marks(self) -> None:
        shown = Shown()
        with a_druid(shown) as servers:
            marks = Marks(servers, DruidClient(servers), Declared(), idle_s=0.5)
            shown.show("hits.x/0", 7)
            eventually_through(marks, {FIRST: PartitionProgress(7, LOG_TIME), SECOND: NOTHING})
            eventually(lambda: not marks.is_searching, "the search ends", 20.0)
            assert set(marks.through().values()) == {NOTHING}
            eventually_through(marks, {FIRST: PartitionProgress(7, LOG_TIME), SECOND: NOTHING})
            marks.close()

    def test_marks_are_kept_while_druid_is_down(self) -> None:
        shown = Shown()
        with a_druid(shown) as servers:
            marks = Marks(servers, DruidClient(servers), Declared())
            shown.show("hits.x/0", 7)
            eventually_through(marks, {FIRST: PartitionProgress(7, LOG_TIME), SECOND: NOTHING})
            shown.is_down = True
            eventually(lambda: shown.refused >= 2, "Druid was looked at in vain", 20.0)
            assert marks.through()[FIRST].next_offset == 7
            marks.close()


class Kept:
    """A store that remembers all written rows and all dropped generations."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, Mapping[RowSource, pl.DataFrame]]] = []
        self.notes: list[tuple[SiteDay, int]] = []

    def send(self, rows: Sequence[tuple[str, Mapping[RowSource, pl.DataFrame]]]) -> None:
        self.rows += rows

    def note(self, superseded: Sequence[tuple[SiteDay, int]]) -> None:
        self.notes += superseded


def settled(source: RowSource, *owners: tuple[str, int, int]) -> pl.DataFrame:
    schema = ROW_COLUMNS[source]
    rows = [
        {name: 0 if dtype == pl.Int64 else None for name, dtype in schema.items()}
        | {"site": site, "day": day, "generation": generation, "excluded": False, "cell": day * 86_400_000}
        for site, day, generation in owners
    ]
    return pl.DataFrame(rows, schema=schema)


class TestSink:
    def test_rows_have_arrived_when_both_sources_have_all_of_them(self) -> None:
        there: dict[str, list[Any]] = {"mesh_traffic": [], "mesh_visits": []}
        kept = Kept()
        with a_druid(lambda method, path, body: (200, orjson.dumps(there[body["dataSource"]]))) as servers:
            sink = DruidRollupSink(servers, DruidClient(servers), kept, kept, ())
            traffic = settled(RowSource.TRAFFIC, ("a", DAY, 1), ("a", DAY, 1), ("b", DAY, 2))
            sink.write(traffic, settled(RowSource.VISITS, ("a", DAY, 1)))
            assert [
                (site, {source: source_rows.height for source, source_rows in rows.items()}) for site, rows in kept.rows
            ] == [
                ("a", {RowSource.TRAFFIC: 2, RowSource.VISITS: 1}),
                ("b", {RowSource.TRAFFIC: 1}),
            ]
            assert not sink.ingested(SiteDay("a", DAY), 1)
            there["mesh_traffic"] = [["a", 1, 2], ["b", 2, 1]]
            assert not sink.ingested(SiteDay("a", DAY), 1)
            there["mesh_visits"] = [["a", 1, 1]]
            assert sink.ingested(SiteDay("a", DAY), 1)
            there["mesh_traffic"] = []
            assert sink.ingested(SiteDay("b", DAY), 2)  # the check of site a had already found the rows of site b

    def test_rows_that_this_sink_never_sent_are_not_waited_for(self) -> None:
        kept = Kept()
        sink = DruidRollupSink(servers_at("http://127.0.0.1:1"), DruidClient(servers_at("")), kept, kept, ())
        assert sink.ingested(SiteDay("a", DAY), 1)

    def test_writing_twice_is_refused_after_arrival_too(self) -> None:
        kept = Kept()
        rows = settled(RowSource.TRAFFIC, ("a", DAY, 1))
        with a_druid(lambda *_: (200, b'[["a",1,1]]')) as servers:
            sink = DruidRollupSink(servers, DruidClient(servers), kept, kept, ())
            for _ in range(2):
                if kept.rows:
                    assert sink.ingested(SiteDay("a", DAY), 1)
                else:
                    sink.write(rows, settled(RowSource.VISITS))
                with pytest.raises(ValueError, match="written"):
                    sink.write(rows, settled(RowSource.VISITS))
            assert len(kept.rows) == 1

    def test_portions_have_arrived_when_all_have(self) -> None:
        there: dict[str, list[Any]] = {"mesh_traffic": [["a", 1, 2]], "mesh_visits": []}
        kept = Kept()
        with a_druid(lambda method, path, body: (200, orjson.dumps(there[body["dataSource"]]))) as servers:
            sink = DruidRollupSink(servers, DruidClient(servers), kept, kept, ())
            portion = settled(RowSource.TRAFFIC, ("a", DAY, 1), ("a", DAY, 1))
            sink.write_portions([portion, portion[:1]], [settled(RowSource.VISITS)])
            assert [rows[RowSource.TRAFFIC].height for _, rows in kept.rows] == [2, 1]
            assert not sink.ingested(SiteDay("a", DAY), 1)
            there["mesh_traffic"] = [["a", 1, 3]]
            assert sink.ingested(SiteDay("a", DAY), 1)

    def test_generation_of_which_only_a_part_was_sent_is_not_sent_again(self) -> None:
        class Fails(Kept):
            def send(self, rows: Sequence[tuple[str, Mapping[RowSource, pl.DataFrame]]]) -> None:
                if self.rows:
                    raise Unavailable("no Kafka", retry_after_s=1.0)
                super().send(rows)

        kept = Fails()
        sink = DruidRollupSink(servers_at("http://127.0.0.1:1"), DruidClient(servers_at("")), kept, kept, ())
        portion = settled(RowSource.TRAFFIC, ("a", DAY, 1))
        with pytest.raises(Unavailable):
            sink.write_portions([portion, portion], [])
        with pytest.raises(ValueError, match="written"):
            sink.write_portions([portion], [])

    def test_number_of_remembered_generations_is_bounded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sink_module, "MAX_REMEMBERED", 3)
        kept = Kept()
        with a_druid(lambda *_: (200, b"[]")) as servers:
            sink = DruidRollupSink(servers, DruidClient(servers), kept, kept, ())
            for n in range(5):
                sink.write(settled(RowSource.TRAFFIC, ("a", DAY, n)), settled(RowSource.VISITS))
            assert [sink.ingested(SiteDay("a", DAY), n) for n in range(5)] == [True, True, False, False, False]

    def test_dropped_rows_are_noted_and_reported_to_other_stores(self) -> None:
        kept = Kept()
        reported: list[object] = []
        servers = servers_at("http://127.0.0.1:1")
        sink = DruidRollupSink(servers, DruidClient(servers), kept, kept, (reported.append,))
        sink.drop([(SiteDay("a", DAY), 0)])
        assert kept.notes == [(SiteDay("a", DAY), 0)]
        assert reported == [[(SiteDay("a", DAY), 0)]]
