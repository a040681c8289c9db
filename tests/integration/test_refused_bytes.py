"""Test the budget for refused bytes. The budget charges unpacked sizes, both before and while hits are read."""

from __future__ import annotations

import gzip
import json
from typing import Any

import grpc
import pytest
import structlog.testing
from google.api import httpbody_pb2
from grpc_health.v1 import health_pb2

from collector.classify import Classifier
from hitmesh.api.collector.v1 import collector_pb2, collector_pb2_grpc, json_pb2_grpc
from tests.support.collectors import KEY, SITE, Backend, Running, running
from tests.support.hostile_calls import (
    BROWSER,
    a_batch,
    a_stream,
    code_of,
    ended_with,
    health_of,
    is_kept_out,
    send,
    with_browser_key,
    without_type,
)
from tests.support.streams import sequenced
from tests.support.waiting import eventually


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier()


@pytest.fixture
def backend(classifier: Classifier) -> Backend:
    return with_browser_key(classifier)


def json_of(name: str) -> bytes:
    hit = {"hitId": name, "visitorId": name, "type": "HIT_TYPE_PAGE_VIEW", "pageView": {"url": "https://shop.example/"}}
    return json.dumps({"ingestKey": BROWSER, "hits": [hit]}).encode()


def send_json(collector: Running, body: bytes, timeout_s: float = 60, encoding: str = "identity") -> grpc.Future:  # type: ignore[type-arg]  # not generic in the stubs
    call = json_pb2_grpc.JsonCollectorServiceStub(collector.channel).SendJsonHits
    metadata = (("hitmesh-site", SITE), ("content-encoding", encoding))
    return call.future(httpbody_pb2.HttpBody(data=body), timeout=timeout_s, metadata=metadata)


@pytest.mark.parametrize("key", ["hms_nobody", BROWSER])
def test_refused_hits_beyond_the_budget_are_refused_before_they_are_read(backend: Backend, key: str) -> None:
    batch = b"\x12" + bytes([len(key)]) + key.encode() + b"\x32\x01\x07" * 2_000
    with running(backend, refused_bytes_s=1) as collector:
        codes = [code_of(collector, batch) for _ in range(3)]
        assert codes[1:] == [grpc.StatusCode.RESOURCE_EXHAUSTED] * 2
        assert send(collector, a_batch("good", KEY).SerializeToString()).accepted_count == 1, "a server key is free"


def test_refusals_are_charged_when_they_are_known_though_the_caller_has_left(backend: Backend) -> None:
    with running(backend, refused_bytes_s=1) as collector:
        backend.log.shut()
        stub = collector_pb2_grpc.CollectorServiceStub(collector.channel)
        request = collector_pb2.SendHitsRequest(batch=without_type(a_batch("refused", BROWSER)))
        left = stub.SendHits.future(request, metadata=(("hitmesh-site", SITE),), timeout=60)
        backend.log.wait_held(1)
        left.cancel()
        backend.log.open()
        eventually(lambda: is_kept_out(collector), "the sender pays for what was refused after the call ended")


def test_json_that_is_read_for_callers_who_leave_is_charged(backend: Backend) -> None:
    body = json.dumps({"ingestKey": BROWSER, "hits": [{"visitorId": "v"}]}).encode()

    def leave() -> bool:
        call = json_pb2_grpc.JsonCollectorServiceStub(collector.channel).SendJsonHits
        with pytest.raises(grpc.RpcError):
            call(httpbody_pb2.HttpBody(data=body), timeout=0.1, metadata=(("hitmesh-site", SITE),))
        return is_kept_out(collector)

    with running(backend, refused_bytes_s=1, linger_ms=300) as collector:
        eventually(leave, "callers with short deadlines pay for the reading")
    assert not backend.refusals().height, "a batch of a caller who has left is not admitted"


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
def test_json_that_is_being_read_is_set_aside_by_its_unpacked_bytes(backend: Backend, encoding: str) -> None:
    body = json_of("one").replace(b"{", b"{" + b" " * 1_000_000, 1)
    with running(backend, refused_bytes_s=100_000) as collector:
        backend.log.shut()
        first = send_json(collector, gzip.compress(body) if encoding == "gzip" else body, encoding=encoding)
        backend.log.wait_held(1)
        with pytest.raises(grpc.RpcError, match="calls in progress exhaust the sender's budget") as raised:
            send_json(collector, json_of("two")).result()
        assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        backend.log.open()
        assert first.result().accepted_count == 1
        assert send_json(collector, json_of("two")).result().accepted_count == 1


@pytest.mark.parametrize(
    "body", [json_of("cut")[:-1], json_of("refused").replace(b"PAGE_VIEW", b"NONE")], ids=["whole", "hit"]
)
def test_packed_json_that_is_refused_is_charged_by_its_unpacked_bytes(backend: Backend, body: bytes) -> None:
    with running(backend, refused_bytes_s=10_000) as collector:
        send_json(collector, gzip.compress(body.replace(b"{", b"{" + b" " * 1_000_000, 1)), encoding="gzip").exception()
        assert is_kept_out(collector)


def test_json_for_which_there_is_no_room_is_charged(backend: Backend) -> None:
    limits: dict[str, Any] = {"refused_bytes_s": 1, "inflight_bytes": 4 << 20, "complain_every_s": 3_600}
    with structlog.testing.capture_logs() as logged, running(backend, **limits) as collector:
        backend.log.shut()
        large = a_batch("large", KEY)
        large.batch_id = "x" * (4 << 20)  # the batch occupies the queue until the log responds
        stub = collector_pb2_grpc.CollectorServiceStub(collector.channel)
        request = collector_pb2.SendHitsRequest(batch=large)
        held = stub.SendHits.future(request, metadata=(("hitmesh-site", SITE),), timeout=60)
        backend.log.wait_held(1)

        def found_no_room() -> bool:
            with pytest.raises(grpc.RpcError):
                send_json(collector, json_of("one"), timeout_s=0.2).result()
            return any("the collector is busy" in str(line.get("cause")) for line in logged)

        eventually(found_no_room, "JSON was read, and there was no room for its batch")
        assert is_kept_out(collector)
        held.cancel()


def test_a_stream_whose_refusals_cost_too_much_is_cut_off(backend: Backend) -> None:
    with running(backend, refused_bytes_s=1) as collector, a_stream(collector, BROWSER) as stream:
        stream.send(without_type(a_batch("refused")))
        stream.wait_acked(1)
        stream.raw(sequenced(2, without_type(a_batch("again"))))
        assert ended_with(stream) is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert health_of(collector) == health_pb2.HealthCheckResponse.SERVING


def test_calls_refused_before_admission_are_logged_at_intervals(backend: Backend) -> None:
    batch = b"\x12" + bytes([len(BROWSER)]) + BROWSER.encode() + b"\x32\x01\x07" * 2_000
    with (
        structlog.testing.capture_logs() as logged,
        running(backend, refused_bytes_s=1, complain_every_s=3_600) as collector,
    ):
        for _ in range(4):
            code_of(collector, batch)
        ended_with(a_stream(collector, "hms_nobody"))
    lines = [(line["reason"], line["calls"]) for line in logged if line["event"] == "calls_refused"]
    assert lines == [("QUOTA", 1), ("UNKNOWN_KEY", 1)]
    assert "hms_" not in str(logged)
    assert "the caller was told" not in str(logged)


def test_batches_that_are_refused_whole_are_in_the_log_too(backend: Backend) -> None:
    with structlog.testing.capture_logs() as logged, running(backend, complain_every_s=3_600) as collector:
        code_of(collector, a_batch("nobody", key="hms_nobody").SerializeToString())
        with a_stream(collector, BROWSER) as stream:
            stream.raw(sequenced(7, a_batch("early")))
            ended_with(stream)
    lines = {line["reason"] for line in logged if line["event"] == "calls_refused"}
    assert lines == {"UNKNOWN_KEY", "BATCH_OUT_OF_SEQUENCE"}


def test_json_without_a_known_key_is_counted_and_not_read(backend: Backend) -> None:
    with running(backend) as collector:
        stub = json_pb2_grpc.JsonCollectorServiceStub(collector.channel)
        body = json.dumps({"ingestKey": "hms_nobody", "hits": [{}] * 5_000}).encode()
        with pytest.raises(grpc.RpcError):
            stub.SendJsonHits(httpbody_pb2.HttpBody(data=body), timeout=60)
        body = json.dumps({"ingestKey": "hms_nobody", "hits": [{}] * 3}).encode()
        with pytest.raises(grpc.RpcError) as raised:
            stub.SendJsonHits(httpbody_pb2.HttpBody(data=body), timeout=60)
        assert raised.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert backend.refusals().select("reason", "hits").rows() == [("BATCH_TOO_LARGE", 5_000), ("UNKNOWN_KEY", 3)]
