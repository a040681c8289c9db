"""Test Druid's specifications. Differences from the stored specifications are detected."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from typing import Any

import orjson
import pytest

from hitmesh.adapters.druid import schema
from hitmesh.adapters.druid.schema import differences
from hitmesh.adapters.druid.specs import KEEP_NOTHING, UNION_SIZE, compaction, retention, supervisor
from hitmesh.adapters.schema_plan import Action, SchemaOptions
from hitmesh.adapters.servers import Servers
from hitmesh.adapters.shared.druid_columns import MARK, MARK_LOG_TIME, MARK_OFFSET, MEASURES, PRESENCE, SENT
from hitmesh.model.errors import FatalError
from hitmesh.model.rows.rollup_rows import TRAFFIC_SKETCHES, RowSource
from hitmesh.model.rows.stream_columns import STREAM_COLUMNS
from tests.support.removal import remove_sources
from tests.unit.scripted_druid import Answer, a_druid, servers_at

SERVERS = servers_at("http://127.0.0.1:1")
OPTIONS = SchemaOptions()
BOTH = pytest.mark.parametrize("source", list(RowSource))


def names(columns: list[dict[str, Any]]) -> list[str]:
    return [column["name"] for column in columns]


def sketches(source: RowSource) -> tuple[str, ...]:
    return TRAFFIC_SKETCHES if source is RowSource.TRAFFIC else ()


class TestSpecs:
    @BOTH
    def test_every_column_of_a_row_is_taken_in(self, source: RowSource) -> None:
        schema = supervisor(SERVERS, source, OPTIONS)["spec"]["dataSchema"]
        dimensions, metrics = names(schema["dimensionsSpec"]["dimensions"]), names(schema["metricsSpec"])
        assert set(dimensions) & set(metrics) == set()
        row_columns = {*STREAM_COLUMNS[source], *MEASURES[source]} - {"cell", "day"}  # both are __time
        assert {*dimensions, *metrics} == {*row_columns, PRESENCE, SENT, MARK, MARK_OFFSET, MARK_LOG_TIME}

    @BOTH
    def test_sites_and_marks_are_indexed_and_nothing_else_before_and_after_a_merge(self, source: RowSource) -> None:
        for spec in (supervisor(SERVERS, source, OPTIONS)["spec"]["dataSchema"], compaction(SERVERS, source)):
            texts = [dimension for dimension in spec["dimensionsSpec"]["dimensions"] if dimension["type"] == "string"]
            assert {dimension["name"] for dimension in texts if dimension["createBitmapIndex"]} == {"site", MARK}

    @BOTH
    def test_only_what_was_committed_is_read(self, source: RowSource) -> None:
        reads = supervisor(SERVERS, source, OPTIONS)["spec"]["ioConfig"]
        assert reads["topic"] == f"mesh.rollups.{source}"
        assert reads["consumerProperties"]["isolation.level"] == "read_committed"
        assert reads["inputFormat"]["assumeNewlineDelimited"] is True

    def test_sketches_are_merged_as_they_are(self) -> None:
        (sketch,) = supervisor(SERVERS, RowSource.TRAFFIC, OPTIONS)["spec"]["dataSchema"]["metricsSpec"]
        assert sketch["type"] == "thetaSketch"
        assert sketch["isInputThetaSketch"] is True
        assert sketch["size"] == UNION_SIZE

    def test_options_are_where_they_belong(self) -> None:
        options = SchemaOptions(segment_granularity="HOUR", task_count=3, task_minutes=15, replication=2)
        spec = supervisor(SERVERS, RowSource.VISITS, options)["spec"]
        assert spec["dataSchema"]["granularitySpec"]["segmentGranularity"] == "HOUR"
        assert (spec["ioConfig"]["taskCount"], spec["ioConfig"]["taskDuration"]) == (3, "PT15M")

    def test_merged_segments_are_of_days_and_do_not_stop_the_stream(self) -> None:
        merged = compaction(SERVERS, RowSource.TRAFFIC)
        assert merged["granularitySpec"]["segmentGranularity"] == "DAY"
        assert merged["taskContext"] == {"useConcurrentLocks": True}
        # Rows of a day arrive until 26 h after the day's end, and a segment covers the whole day.
        assert merged["skipOffsetFromLatest"] == "P3D"

    @BOTH
    def test_rows_are_folded_when_segments_are_merged_and_not_before(self, source: RowSource) -> None:
        taken_in, merged = supervisor(SERVERS, source, OPTIONS)["spec"]["dataSchema"], compaction(SERVERS, source)
        assert (taken_in["granularitySpec"]["rollup"], merged["granularitySpec"]["rollup"]) == (False, True)
        keys, sums = names(merged["dimensionsSpec"]["dimensions"]), names(merged["metricsSpec"])
        assert {*keys, *sums} == {
            *names(taken_in["dimensionsSpec"]["dimensions"]),
            *names(taken_in["metricsSpec"]),
        }
        assert set(sums) == {*MEASURES[source], *sketches(source), PRESENCE, SENT, MARK_OFFSET, MARK_LOG_TIME}
        # Rows that are merged already contain sketches. Only new rows contain sketches as text.
        assert not any("isInputThetaSketch" in metric for metric in merged["metricsSpec"])

    def test_rows_are_kept_forever_by_default(self) -> None:
        assert retention(OPTIONS) == [{"type": "loadForever", "tieredReplicants": {"_default_tier": 1}}]
        kept, dropped = retention(SchemaOptions(rows_retention_days=400, replication=2))
        assert (kept["period"], kept["tieredReplicants"]) == ("P400D", {"_default_tier": 2})
        assert dropped == {"type": "dropForever"}


class TestDifferences:
    def test_fields_that_druid_adds_are_no_difference(self) -> None:
        assert differences({"a": [{"b": 1}]}, {"a": [{"b": 1, "c": 2}], "d": None}) == []

    @pytest.mark.parametrize("there", ["PT3600S", "PT1H", "PT60M", "PT3600.000S"])
    def test_time_is_the_same_however_it_is_written(self, there: str) -> None:
        assert differences({"taskDuration": "PT60M"}, {"taskDuration": there}) == []

    @pytest.mark.parametrize("there", ["PT1800S", "P60M", "P1D", "", None, 3_600])
    def test_another_duration_is_a_difference(self, there: Any) -> None:
        assert differences({"taskDuration": "PT60M"}, {"taskDuration": there}) == [
            f"taskDuration {there} becomes PT60M"
        ]

    def test_difference_names_its_path_and_both_values(self) -> None:
        wanted, there = {"a": {"b": [1, {"c": True}]}}, {"a": {"b": [1, {"c": False}]}}
        assert differences(wanted, there) == ["a.b[1].c False becomes True"]
        assert differences([1, 2], [1]) == ["value [1] becomes [1, 2]"]


class ADruid:
    """A Druid that stores the specifications that it receives."""

    def __init__(self) -> None:
        self.kept: dict[str, Any] = {}
        self.parsed: Any = {"presence": 1}

    def __call__(self, method: str, path: str, body: Any) -> Answer:
        what = path.split("/")[-1]
        if path.endswith("/sampler"):
            return 200, orjson.dumps({"data": [{"parsed": self.parsed}]})
        if path.endswith("/status"):
            return 200, orjson.dumps({"payload": {"detailedState": "RUNNING", "activeTasks": [1]}})
        if method == "DELETE" or what == "terminate":
            self.kept.pop(path.removesuffix("/terminate"), None)
        elif method == "POST":
            name = body["spec"]["dataSchema"]["dataSource"] if what == "supervisor" else ""
            name = body["dataSource"] if what == "compaction" else name
            self.kept[f"{path}/{name}".rstrip("/")] = deepcopy(body)
        elif path not in self.kept:
            return 404, b"{}"
        return 200, orjson.dumps(self.kept.get(path, {}))


def actions(servers: Servers, options: SchemaOptions = OPTIONS) -> dict[str, Action]:
    return {change.thing: change.action for change in schema.plan(servers, options)}


class TestPlan:
    def test_applied_specifications_are_kept_and_differences_are_described(self) -> None:
        with a_druid(ADruid()) as servers:
            assert set(actions(servers).values()) == {Action.CREATE}
            for change in schema.plan(servers, OPTIONS):
                change.apply()
            assert set(actions(servers).values()) == {Action.KEEP}
            changed = schema.plan(servers, SchemaOptions(task_minutes=30, rows_retention_days=9))
            descriptions = {change.thing: change.description for change in changed if change.action is Action.CHANGE}
            assert descriptions.keys() == {
                f"{what} mesh_{source}" for what in ("supervisor", "retention") for source in RowSource
            }
            assert "taskDuration PT15M becomes PT30M" in descriptions["supervisor mesh_visits"]
            assert "no row is lost" in descriptions["supervisor mesh_visits"]
            assert "rows are kept 9 days" in descriptions["retention mesh_visits"]

    def test_supervisors_follow_kafka_to_another_port(self) -> None:
        with a_druid(ADruid()) as servers:
            for change in schema.plan(servers, OPTIONS):
                change.apply()
            moved = replace(servers, kafka="127.0.0.1:25000")
            changed = [change for change in schema.plan(moved, OPTIONS) if change.action is Action.CHANGE]
            assert {change.thing for change in changed} == {f"supervisor mesh_{source}" for source in RowSource}
            for change in changed:
                assert f"bootstrap.servers {servers.kafka} becomes 127.0.0.1:25000" in change.description
                change.apply()
            assert set(actions(moved).values()) == {Action.KEEP}

    def test_specification_that_reads_rows_wrongly_is_not_sent(self) -> None:
        druid = ADruid()
        druid.parsed = None
        with a_druid(druid) as servers, pytest.raises(FatalError, match="parsed a sample row incorrectly"):
            schema.plan(servers, OPTIONS)[0].apply()
        assert druid.kept == {}

    def test_plan_after_removal_creates_every_specification(self) -> None:
        druid = ADruid()
        with a_druid(druid) as servers:
            for change in schema.plan(servers, OPTIONS):
                change.apply()
            remove_sources(servers)
            assert set(actions(servers).values()) == {Action.CREATE}
        assert [body for body in druid.kept.values() if body] == [KEEP_NOTHING] * 2
