"""Compare Druid's answers with a direct evaluation of the rows.

The tests cover unions, values, marks and the schema.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from hitmesh.adapters.druid import metrics, schema
from hitmesh.adapters.druid.answer import as_promised, frame_of
from hitmesh.adapters.druid.client import DruidClient
from hitmesh.adapters.druid.metrics import DruidMetricStore
from hitmesh.adapters.druid.specs import compaction
from hitmesh.adapters.factory import Stores
from hitmesh.adapters.schema_plan import Action, SchemaOptions
from hitmesh.adapters.servers import Servers
from hitmesh.adapters.shared.answers import answer, needed_columns, rows_with
from hitmesh.adapters.shared.stream_rows import as_streamed, folded
from hitmesh.model.filters import Comparison, Operator
from hitmesh.model.generations import STREAM_GENERATION
from hitmesh.model.positions import PartitionProgress, Topic
from hitmesh.model.queries import MetricQuery
from hitmesh.model.rows.rollup_rows import RowSource
from hitmesh.model.rows.stream_columns import MOVED_VISITORS, STREAM_COLUMNS
from hitmesh.model.sites import SiteDay
from hitmesh.model.sketches.unions import cell_sketches
from hitmesh.model.stream_values import FoldedRows
from tests.support.servers import OPTIONS
from tests.support.unions import estimate, union
from tests.support.waiting import eventually

SITE, DAY, DAY_MS, CELL_MS = "merchants/m/sites/shop", 20_000, 86_400_000, 900_000
START = DAY * DAY_MS
LARGE = 30_000  # with this number of visitors, a sketch is an estimate


def a_sketch(first: int, count: int) -> bytes:
    visitors = np.arange(first, first + count, dtype=np.uint64)
    return bytes(cell_sketches(visitors, np.zeros(count, np.int64), 1)[0].as_py())


def a_row(cell: int, **values: Any) -> Mapping[str, Any]:
    whole: dict[str, Any] = {
        name: 0 if dtype == pl.Int64 else None for name, dtype in STREAM_COLUMNS[RowSource.TRAFFIC].items()
    }
    key = {"site": SITE, "day": DAY, "generation": STREAM_GENERATION, "excluded": False, "cell": START + cell * CELL_MS}
    return whole | key | values


@pytest.fixture(scope="module")
def written(stores: Stores) -> pl.DataFrame:
    """Write stream rows and wait until answers include them.

    In the row of page /left, `moved_visitors` is 1, because a visitor moved to another row. The page /large has many
    visitors.
    """
    rows = [
        a_row(n % 7, page_path=f"/{n}", channel=("ads", None, "")[n % 3], hits=n + 1, visitors=a_sketch(n, n % 4 + 1))
        for n in range(90)
    ]
    rows += [
        a_row(9, page_path="/large", channel="large", hits=1, visitors=a_sketch(n * 10_000, LARGE)) for n in (0, 1)
    ]
    rows += [a_row(1, page_path="/left", channel="left", hits=1, visitors=a_sketch(1 << 40, 5))]
    rows += [a_row(1, page_path="/left", channel="left", hits=-1, moved_visitors=1)]
    frame = pl.DataFrame(rows, schema=STREAM_COLUMNS[RowSource.TRAFFIC])
    partition = min(stores.progress.progress(Topic.HITS), key=lambda candidate: candidate.partition)
    done = {partition: PartitionProgress(1, START)}
    visits = pl.DataFrame(schema=STREAM_COLUMNS[RowSource.VISITS])
    stores.outbox.transaction(stores.outbox.take_over(), [FoldedRows(partition, frame, visits)], done)
    eventually(lambda: stores.metrics.ingested_through()[partition].next_offset == 1, "rows are in answers", 120.0)
    return frame


def a_question(**values: Any) -> MetricQuery:
    given: dict[str, Any] = {
        "source": RowSource.TRAFFIC,
        "generations": {SiteDay(SITE, DAY): STREAM_GENERATION},
        "start": START,
        "end": START + DAY_MS,
        "bucket_starts": (START,),
        "measures": ("hits",),
    }
    return MetricQuery(**{**given, **values})


def expected(rows: pl.DataFrame, question: MetricQuery) -> pl.DataFrame:
    net = folded(as_streamed(rows, RowSource.TRAFFIC), RowSource.TRAFFIC, whole=True)
    return answer(rows_with([net], RowSource.TRAFFIC, needed_columns(question, question.dimensions)), question)


def comparable(frame: pl.DataFrame, question: MetricQuery) -> pl.DataFrame:
    for name in question.sketches:
        estimates = [None if sketch is None else estimate(union([sketch])) for sketch in frame[name]]
        frame = frame.with_columns(pl.Series(name, estimates, dtype=pl.Float64))
    return frame.sort("bucket", *question.dimensions)


ADS = Comparison("channel", Operator.EQ, ("ads",))
LIVELY = Comparison("channel", Operator.RE2, ("^(ads|large)$",))
CELLS = tuple(START + n * CELL_MS for n in range(12))


class TestAnswers:
    @pytest.mark.parametrize(
        "question",
        [
            a_question(sketches=("visitors",)),
            a_question(sketches=("visitors",), filter=LIVELY),
            a_question(sketches=("visitors",), filter=ADS, bucket_starts=CELLS),
            a_question(sketches=("visitors",), dimensions=("channel",), measures=("hits", MOVED_VISITORS)),
            a_question(sketches=("visitors",), dimensions=("page_path",), bucket_starts=CELLS[::3]),
            a_question(sketches=("visitors",), dimensions=("page_path",), filter=ADS, measures=()),
            a_question(measures=("hits", MOVED_VISITORS)),
            a_question(measures=("hits", MOVED_VISITORS), filter=ADS, dimensions=("page_path",)),
            a_question(measures=(), dimensions=("channel",)),
        ],
    )
    @pytest.mark.parametrize("groups", [0, metrics.MAX_SKETCH_GROUPS])
    def test_answer_is_that_of_the_rows_wherever_sketches_are_united(
        self,
        stores: Stores,
        written: pl.DataFrame,
        question: MetricQuery,
        groups: int,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(metrics, "MAX_SKETCH_GROUPS", groups)
        found = stores.metrics.query(question)
        assert_frame_equal(comparable(found, question), comparable(expected(written, question), question))


class TestExplain:
    def test_explained_query_gets_the_same_answer_from_druid(
        self, servers: Servers, stores: Stores, written: pl.DataFrame
    ) -> None:
        question = a_question(dimensions=("channel",), filter=ADS)
        assert isinstance(stores.metrics, DruidMetricStore)
        rows = DruidClient(servers).query(json.loads(stores.metrics.explain(question)))
        assert_frame_equal(as_promised(frame_of(rows, question), question), stores.metrics.query(question))

    def test_a_pattern_is_not_looked_up(self, stores: Stores) -> None:
        assert isinstance(stores.metrics, DruidMetricStore)
        assert "<every value that matches ^(ads|large)$>" in stores.metrics.explain(a_question(filter=LIVELY))


class TestSchema:
    def test_unchanged_specifications_are_kept_and_a_change_is_planned_and_applied(self, servers: Servers) -> None:
        assert {change.action for change in schema.plan(servers, OPTIONS)} == {Action.KEEP}
        shorter = replace(OPTIONS, task_minutes=30, rows_retention_days=5_000)
        changed = [change for change in schema.plan(servers, shorter) if change.action is Action.CHANGE]
        assert [change.thing for change in changed] == [
            f"{what} {servers.data_source(source)}" for source in RowSource for what in ("supervisor", "retention")
        ]
        assert "taskDuration PT900S becomes PT30M" in changed[0].description
        changed[1].apply()
        assert schema.plan(servers, shorter)[2].action is Action.KEEP

    def test_mesh_that_was_never_made_is_to_be_created(self, servers: Servers) -> None:
        planned = schema.plan(replace(servers, name="never"), SchemaOptions())
        assert {change.action for change in planned} == {Action.CREATE}


class TestMerging:
    def test_rows_are_folded_and_answers_stay(self, servers: Servers, stores: Stores, written: pl.DataFrame) -> None:
        site, times = "merchants/m/sites/merged", 3
        rows = pl.DataFrame(
            [a_row(n, site=site, page_path="/", hits=n + 1, visitors=a_sketch(0, LARGE)) for n in (0, 1)],
            schema=STREAM_COLUMNS[RowSource.TRAFFIC],
        )
        none = pl.DataFrame(schema=STREAM_COLUMNS[RowSource.VISITS])
        partition = min(stores.progress.progress(Topic.HITS), key=lambda candidate: candidate.partition)
        writer = stores.outbox.take_over()
        for offset in range(2, 2 + times):
            done = {partition: PartitionProgress(offset, START)}
            stores.outbox.transaction(writer, [FoldedRows(partition, rows, none)], done)
        eventually(lambda: stores.metrics.ingested_through()[partition].next_offset > times, "rows are in", 120.0)
        question = a_question(
            generations={SiteDay(site, DAY): STREAM_GENERATION}, sketches=("visitors",), bucket_starts=CELLS
        )
        wanted = comparable(stores.metrics.query(question), question)
        assert wanted["hits"].sum() == times * (1 + 2)
        with closing(DruidClient(servers)) as client:
            source = servers.data_source(RowSource.TRAFFIC)
            assert stored_rows(client, source, site) == times * rows.height
            merge(client, servers)
            eventually(lambda: stored_rows(client, source, site) == rows.height, "rows are folded", 120.0)
        assert_frame_equal(comparable(stores.metrics.query(question), question), wanted)
        question = a_question(sketches=("visitors",), dimensions=("page_path",), bucket_starts=CELLS[::3])
        found = comparable(stores.metrics.query(question), question)
        assert_frame_equal(found, comparable(expected(written, question), question))


def stored_rows(client: DruidClient, source: str, site: str) -> int:
    """Return how many rows Druid has for a site."""
    rows = client.query(
        {
            "queryType": "groupBy",
            "dataSource": source,
            "granularity": "all",
            "intervals": ["1970-01-01/2100-01-01"],
            "dimensions": ["site"],
            "filter": {"type": "equals", "column": "site", "matchValueType": "STRING", "matchValue": site},
            "aggregations": [{"type": "count", "name": "rows"}],
        }
    )
    return sum(int(count) for _, count in rows)


def merge(client: DruidClient, servers: Servers) -> None:
    """Hand off the rows of all tasks, then merge segments as Druid does after two days.

    Block until the segments are merged.
    """
    source, spec = servers.data_source(RowSource.TRAFFIC), compaction(servers, RowSource.TRAFFIC)
    supervisor = f"/druid/indexer/v1/supervisor/{source}"
    reading = client.coordinator("GET", f"{supervisor}/status")["payload"]["activeTasks"]
    client.coordinator("POST", f"{supervisor}/taskGroups/handoff", {"taskGroupIds": list(range(len(reading)))})
    for task in reading:
        await_task(client, task["id"])
    day = np.datetime64(DAY, "D")
    task = client.coordinator(
        "POST",
        "/druid/indexer/v1/task",
        {
            "type": "compact",
            "dataSource": source,
            "ioConfig": {"type": "compact", "inputSpec": {"type": "interval", "interval": f"{day}/{day + 1}"}},
            "granularitySpec": spec["granularitySpec"],
            "dimensionsSpec": spec["dimensionsSpec"],
            "metricsSpec": spec["metricsSpec"],
            "tuningConfig": {"type": "index_parallel", **spec["tuningConfig"]},
            "context": spec["taskContext"],
        },
    )["task"]
    await_task(client, task)


def await_task(client: DruidClient, task: str) -> None:
    def has_ended() -> bool:
        status = client.coordinator("GET", f"/druid/indexer/v1/task/{task}/status")["status"]
        assert status["status"] != "FAILED", status
        return bool(status["status"] == "SUCCESS")

    eventually(has_ended, f"{task} ends", 120.0)
