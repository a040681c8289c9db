"""Test on a real server that a question ends when its caller cancels.

A queued question never begins if its caller cancels.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import polars as pl
import pytest

from hitmesh.api.reporter.v1 import export_pb2, reporter_pb2, reporter_pb2_grpc
from hitmesh.model.checkpoints import Checkpoint, unwatched
from hitmesh.model.errors import Abandoned, RefusedError
from hitmesh.model.generations import STREAM_GENERATION
from hitmesh.model.positions import PartitionId, PartitionProgress
from hitmesh.model.queries import MetricQuery
from hitmesh.model.sites import SiteDay
from hitmesh.ports import MetricStore
from hitmesh.runtime.config import load
from reporter.settings import ReporterSettings
from tests.support.mesh import environment
from tests.support.reporters import Mesh, a_question, refusal, some_rows, start
from tests.support.settled_rows import SITE
from tests.support.waiting import eventually

LONG = "channel"
"""A question with the dimension LONG never gets an answer, but runs until its checkpoint raises."""


@dataclass
class LongQuestions:
    """A metric store that never answers questions with the dimension `LONG`."""

    inner: MetricStore
    began: int = 0
    ended: list[Abandoned] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def query(self, question: MetricQuery, checkpoint: Checkpoint = unwatched) -> pl.DataFrame:
        if LONG not in question.dimensions:
            return self.inner.query(question, checkpoint)
        with self._lock:
            self.began += 1
        step = threading.Event()
        try:
            while not step.wait(0.01):
                checkpoint()
        except Abandoned as error:
            self.ended.append(error)
            raise
        raise AssertionError("nobody sets the event")

    def ingested_through(self) -> Mapping[PartitionId, PartitionProgress]:
        return self.inner.ingested_through()

    def stream_sums(
        self, site_days: Collection[SiteDay], generation: int = STREAM_GENERATION
    ) -> Mapping[SiteDay, Mapping[str, int]]:
        return self.inner.stream_sums(site_days, generation)


@contextmanager
def reporter_with(**limits: float) -> Iterator[tuple[Mesh, LongQuestions]]:
    """Yield a reporter with the given limits, and its metric store."""
    stores: list[LongQuestions] = []

    def around(store: MetricStore) -> MetricStore:
        stores.append(LongQuestions(store))
        return stores[0]

    running = start(open_reads=True, limits=limits, around=around)
    mesh = next(running)
    some_rows(mesh)
    yield mesh, stores[0]
    assert next(running, None) is None


def long(mesh: Mesh, timeout_s: float = 60.0) -> grpc.Future:  # type: ignore[type-arg]  # not generic in the stubs
    return mesh.reporter.RunReport.future(a_question("hits", dimensions=[LONG]), timeout=timeout_s)


def short(mesh: Mesh) -> int:
    return len(mesh.reporter.RunReport(a_question("hits"), timeout=60).rows)


def waiting_for(store: LongQuestions, questions: int) -> Callable[[], bool]:
    return lambda: store.began == questions


def test_work_stops_when_the_caller_leaves() -> None:
    with reporter_with(workers=1) as (mesh, store):
        question = long(mesh)
        eventually(waiting_for(store, 1), "the question has begun")
        question.cancel()
        assert short(mesh) > 0
        assert [error.reason for error in store.ended] == ["CANCELLED"]


def test_work_stops_when_the_callers_deadline_has_passed() -> None:
    with reporter_with(workers=1) as (mesh, store):
        question = long(mesh, timeout_s=0.5)
        with pytest.raises(grpc.RpcError) as caught:
            question.result()
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert short(mesh) > 0
        assert len(store.ended) == store.began


def test_work_stops_at_the_limit_of_the_server_and_the_error_names_it() -> None:
    with reporter_with(workers=1, question_s=0.2) as (mesh, store):
        refused = refusal(lambda: long(mesh).result())
        assert (refused.code, refused.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED")
        assert "the server's limit is 0.2 s: ask for a shorter range" in refused.message
        assert len(store.ended) == 1


def test_a_file_has_the_same_limit() -> None:
    with reporter_with(question_s=0.2) as (mesh, store):
        file = export_pb2.ExportReportRequest(site=SITE, metrics=["hits"], dimensions=[LONG], last="3d")
        refused = refusal(lambda: list(mesh.exports.ExportReport(file, timeout=60.0)))
        assert (refused.code, refused.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED")
        assert "the server's limit is 0.2 s: " in refused.message
        assert len(store.ended) == 1


def test_queued_calls_of_callers_who_left_are_dropped_before_they_run() -> None:
    with reporter_with(workers=1) as (mesh, store):
        first = long(mesh)
        eventually(waiting_for(store, 1), "the question has begun")
        queued = [long(mesh) for _ in range(5)]
        for call in [*queued, first]:
            call.cancel()
        assert short(mesh) > 0
        assert (store.began, len(store.ended)) == (1, 1)


def test_a_small_question_does_not_wait_behind_dear_ones_whose_callers_wait() -> None:
    with reporter_with(workers=2) as (mesh, store):
        dear = a_question("hits", dimensions=[LONG, "browser", "os"])
        calls = [mesh.reporter.RunReport.future(dear, timeout=60.0)]
        eventually(waiting_for(store, 1), "a dear question has begun")
        calls += [mesh.reporter.RunReport.future(dear, timeout=60.0) for _ in range(8)]
        assert short(mesh) > 0
        assert (store.began, [call for call in calls if call.done()]) == (1, [])
        calls[0].cancel()
        eventually(waiting_for(store, 2), "the next one has its turn")
        for call in calls:
            call.cancel()


@pytest.mark.parametrize("seconds", ["0", "56"])
def test_the_limit_is_below_that_of_the_door(seconds: str) -> None:
    environment = {"HITMESH_REPORTER_STORE": "memory:", "HITMESH_REPORTER_QUESTION_S": "12.5"}
    assert load(ReporterSettings, environment).question_s == 12.5
    with pytest.raises(RefusedError, match="HITMESH_REPORTER_QUESTION_S"):
        load(ReporterSettings, environment | {"HITMESH_REPORTER_QUESTION_S": seconds})


@pytest.mark.timeout(60)
def test_a_reporter_abandons_questions_after_the_configured_time() -> None:
    settings = {"HITMESH_REPORTER_STORE": "memory:", "HITMESH_REPORTER_QUESTION_S": "1e-9"}
    output: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen([sys.executable, "-m", "reporter"], env=environment(**settings), **output) as reporter:
        try:
            port = next(json.loads(line)["port"] for line in reporter.stdout or () if b'"serving"' in line)
            with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
                stub = reporter_pb2_grpc.ReporterServiceStub(channel)
                refused = refusal(lambda: stub.RunReport(a_question("hits"), timeout=30))
        finally:
            reporter.terminate()
    assert refused.reason == "DEADLINE_EXCEEDED"
    assert "the server's limit is 1e-09 s: " in refused.message


def test_cheap_questions_are_answered_while_reports_take_every_call() -> None:
    with reporter_with(workers=1, max_calls=2) as (mesh, store):
        reports = [long(mesh), long(mesh)]
        eventually(lambda: store.began == 1 and _is_refused(mesh), "a report runs, another waits, a third is refused")
        assert mesh.reporter.GetFreshness(reporter_pb2.GetFreshnessRequest(site=SITE), timeout=60).data_version
        assert mesh.reporter.ListMetrics(reporter_pb2.ListMetricsRequest(), timeout=60).metrics
        assert mesh.reporter.ListDimensions(reporter_pb2.ListDimensionsRequest(), timeout=60).dimensions
        for report in reports:
            report.cancel()


def _is_refused(mesh: Mesh) -> bool:
    """Return whether a report is refused at once because the maximum number of calls already runs or waits."""
    try:
        mesh.reporter.RunReport(a_question("hits"), timeout=0.5)
    except grpc.RpcError as error:
        return error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    return False
