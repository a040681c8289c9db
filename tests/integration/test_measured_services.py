"""Test the metrics of collectors and reporters, over gRPC, with the real SDK and an in-memory reader."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import grpc
import pytest

from collector.classify import Classifier
from hitmesh.adapters.memory.log import MemoryLog
from hitmesh.api.collector.v1 import collector_pb2, collector_pb2_grpc
from hitmesh.api.hit.v1 import hit_pb2
from hitmesh.api.reporter.v1 import export_pb2, reporter_pb2
from hitmesh.runtime.telemetry import registry as known
from tests.support.collectors import KEY, NOW_MS, SITE, Backend, GatedLog, Running, new_backend, running
from tests.support.measuring import Measured
from tests.support.messages import page_view
from tests.support.patience import patient
from tests.support.pieces import joined
from tests.support.reporters import Mesh, a_question, start
from tests.support.settled_rows import traffic
from tests.support.streams import StreamClient
from tests.support.waiting import eventually

SEND_HITS = "hitmesh.api.collector.v1.CollectorService/SendHits"
RUN_REPORT = "hitmesh.api.reporter.v1.ReporterService/RunReport"
EXPORT_REPORT = "hitmesh.api.reporter.v1.ExportService/ExportReport"


@pytest.fixture(scope="module")
def backend() -> Backend:
    return new_backend(Classifier())


@pytest.fixture
def measured() -> Measured:
    return Measured()


@pytest.fixture
def collector(backend: Backend, measured: Measured) -> Iterator[Running]:
    with running(backend, measured.metrics) as started:
        yield started


@pytest.fixture
def reporter(measured: Measured) -> Iterator[Mesh]:
    yield from start(open_reads=True, metrics=measured.metrics)


def send(collector: Running, *hits: hit_pb2.Hit, key: str = KEY) -> collector_pb2.SendHitsResponse:
    stub = collector_pb2_grpc.CollectorServiceStub(collector.channel)
    request = collector_pb2.SendHitsRequest(batch=hit_pb2.HitBatch(ingest_key=key, hits=hits))
    return stub.SendHits(request, metadata=(("hitmesh-site", SITE),), timeout=15)


def hit(name: str) -> hit_pb2.Hit:
    return page_view(name, NOW_MS)


def bad(name: str) -> hit_pb2.Hit:
    broken = hit(name)
    broken.page_view.url = "no url"
    return broken


def test_hits_are_counted_by_outcome_and_issues_by_reason(collector: Running, measured: Measured) -> None:
    send(collector, hit("a"), hit("b"), bad("c"))
    send(collector, hit("d"))
    with pytest.raises(grpc.RpcError):
        send(collector, hit("e"), hit("f"), key="hms_stranger")
    assert measured.values(known.COLLECTOR_HITS) == {("accepted",): 3, ("rejected",): 3}
    assert measured.values(known.COLLECTOR_ISSUES) == {("REJECTED", "INVALID_FIELD"): 1, ("REJECTED", "UNKNOWN_KEY"): 1}
    assert measured.values(known.COLLECTOR_RECORDS) == {("hits",): 2, ("rejected",): 2}


def test_batches_are_measured_one_by_one_and_micro_batches_whole(collector: Running, measured: Measured) -> None:
    send(collector, hit("a"), hit("b"), bad("c"))
    send(collector, hit("d"))
    assert measured.recorded(known.COLLECTOR_BATCH_HITS) == (2, 4)
    batches, total_bytes = measured.recorded(known.COLLECTOR_BATCH_BYTES)
    assert batches == 2
    assert 100 < total_bytes < 1_000
    batches, seconds = measured.recorded(known.COLLECTOR_ACK_SECONDS)
    assert batches == 2
    assert 0 < seconds < 20


def test_a_log_that_is_full_is_counted_as_hits_to_send_again(backend: Backend, measured: Measured) -> None:
    full = replace(backend, log=GatedLog(MemoryLog(backend.clock, max_bytes=10)))
    with running(full, measured.metrics) as collector, pytest.raises(grpc.RpcError):
        send(collector, hit("a"), hit("b"))
    assert measured.values(known.COLLECTOR_HITS) == {("retry",): 2}
    assert measured.values(known.COLLECTOR_ISSUES) == {("RETRY", "LOG_FULL"): 1}
    assert measured.values(known.COLLECTOR_APPEND_FAILURES) == {("LOG_FULL",): 1}


def test_streams_that_are_open_and_bytes_in_flight_are_those_of_now(
    backend: Backend, collector: Running, measured: Measured
) -> None:
    assert (measured.value(known.COLLECTOR_OPEN_STREAMS), measured.value(known.COLLECTOR_INFLIGHT_BYTES)) == (0, 0)
    backend.log.shut()
    with StreamClient(collector.channel, KEY, SITE, timeout_s=patient(15)) as stream:
        assert measured.value(known.COLLECTOR_OPEN_STREAMS) == 1
        number = stream.send(hit_pb2.HitBatch(batch_id="b", hits=[hit("a")]))
        backend.log.wait_held(1)
        assert 50 < (measured.value(known.COLLECTOR_INFLIGHT_BYTES) or 0) < 500
        backend.log.open()
        stream.wait_acked(number)
        assert measured.value(known.COLLECTOR_INFLIGHT_BYTES) == 0
    eventually(lambda: measured.value(known.COLLECTOR_OPEN_STREAMS) == 0, "the stream ended")


def test_a_stream_that_breaks_the_order_is_an_issue(collector: Running, measured: Measured) -> None:
    with StreamClient(collector.channel, KEY, SITE, timeout_s=patient(15)) as stream:
        stream.send(hit_pb2.HitBatch(batch_id="b", hits=[hit("a")]), seq=7)
        with pytest.raises(grpc.RpcError):
            stream.wait_acked(7)
    assert measured.values(known.COLLECTOR_ISSUES) == {("REJECTED", "BATCH_OUT_OF_SEQUENCE"): 1}


def calls(measured: Measured, method: str, status: str) -> int:
    count, seconds = measured.recorded(known.RPC_SECONDS, rpc_method=method, rpc_response_status_code=status)
    assert seconds < 20
    return count


def test_calls_are_measured_by_method_and_status(collector: Running, measured: Measured) -> None:
    send(collector, hit("a"))
    send(collector, bad("b"))
    with pytest.raises(grpc.RpcError):
        send(collector, hit("c"), key="hms_stranger")
    eventually(lambda: calls(measured, SEND_HITS, "UNAUTHENTICATED") == 1, "the refused call is counted")
    assert calls(measured, SEND_HITS, "OK") == 2


def test_a_call_of_an_unimplemented_method_is_not_counted(collector: Running, measured: Measured) -> None:
    method = "/hitmesh.api.collector.v1.CollectorService/Anything"
    unknown: grpc.UnaryUnaryMultiCallable[bytes, bytes] = collector.channel.unary_unary(method)
    with pytest.raises(grpc.RpcError):
        unknown(b"", timeout=60)
    send(collector, hit("a"))
    eventually(lambda: calls(measured, SEND_HITS, "OK") == 1, "the call is counted")
    assert len(list(measured._points(known.RPC_SECONDS))) == 1


def test_freshness_and_rows_read_by_reports_are_measured(reporter: Mesh, measured: Measured) -> None:
    reporter.settle([traffic(hits=5), traffic(hits=7, channel="email")], [])
    answer = reporter.reporter.RunReport(a_question("hits", dimensions=["channel"]))
    flat = export_pb2.ExportReportRequest(site=str(traffic()["site"]), metrics=["hits"], last="3d")
    joined(reporter.exports.ExportReport(flat))
    read = measured.value(known.REPORTER_ROWS)
    assert read is not None
    assert read > answer.meta.cost.rows > 0
    assert measured.recorded(known.REPORTER_FRESHNESS_SECONDS) == (2, 2.0)
    eventually(lambda: calls(measured, EXPORT_REPORT, "OK") == 1, "the call with pieces is counted")


def test_a_question_that_is_refused_is_a_call_with_its_status(reporter: Mesh, measured: Measured) -> None:
    for question in (a_question("hits", site="merchants/demo/sites/none"), reporter_pb2.RunReportRequest()):
        with pytest.raises(grpc.RpcError):
            reporter.reporter.RunReport(question)
    eventually(lambda: calls(measured, RUN_REPORT, "NOT_FOUND") >= 1, "the refused call is counted")
    assert measured.recorded(known.REPORTER_FRESHNESS_SECONDS) == (0, 0.0)
