"""Limits for callers that send nothing, show no key, or exceed the call limit (contract, Collector 2)."""

from __future__ import annotations

import gzip
import json
import queue
import threading
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
import structlog.testing
from google.api import httpbody_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from collector.classify import Classifier
from collector.frames import MAX_BATCH_SEQ
from hitmesh.adapters.embedded.directory import EmbeddedSiteDirectory
from hitmesh.adapters.embedded.schema import DIRECTORY_SCHEMA
from hitmesh.adapters.embedded.sqlite import Database
from hitmesh.api.collector.v1 import collector_pb2, collector_pb2_grpc, json_pb2_grpc
from hitmesh.api.hit.v1 import hit_pb2
from hitmesh.model.sites import IngestKey, KeyKind, Site
from tests.support.collectors import KEY, MERCHANT, NOW_MS, SITE, Backend, Running, new_backend, running
from tests.support.messages import page_view
from tests.support.streams import StreamClient, end_requests_with, sequenced
from tests.support.waiting import eventually

BROWSER = "hms_browser"
SHORT: dict[str, Any] = {"open_within_s": 0.2, "prove_within_s": 0.2}
CALLS = "/hitmesh.api.collector.v1.CollectorService"
REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier()


@pytest.fixture
def backend(classifier: Classifier) -> Backend:
    backend = new_backend(classifier)
    browser = IngestKey(key_id="k-b", merchant=MERCHANT, kind=KeyKind.BROWSER, site=SITE, unbounded_history=False)
    backend.stores.directory.create_key(browser, BROWSER)
    return backend


def a_stream(collector: Running, key: str = KEY) -> StreamClient:
    return StreamClient(collector.channel, key, SITE, timeout_s=60)


def silent(collector: Running) -> Any:
    """Return a stream that sends nothing."""
    return held_open(collector, f"{CALLS}/StreamHits")


def held_open(collector: Running, method: str) -> Any:
    call: grpc.StreamStreamMultiCallable[bytes, bytes] = collector.channel.stream_stream(method)
    nothing: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    held = call(iter(nothing.get, None), timeout=60)
    end_requests_with(held, nothing)
    return held


def a_batch(name: str, key: str = "", hits: int = 1) -> hit_pb2.HitBatch:
    views = [page_view(f"{name}-{number}", NOW_MS, visitor=name) for number in range(hits)]
    return hit_pb2.HitBatch(batch_id=name, ingest_key=key, hits=views)


def ended_with(stream: Any) -> grpc.StatusCode:
    with pytest.raises(grpc.RpcError) as raised:
        for _ in getattr(stream, "call", stream):
            pass
    code: grpc.StatusCode = raised.value.code()
    return code


def health_of(collector: Running) -> int:
    stub: Any = health_pb2_grpc.HealthStub(collector.channel)
    return int(stub.Check(health_pb2.HealthCheckRequest(service=""), timeout=60).status)


def send(collector: Running, batch: bytes, timeout_s: float = 60) -> collector_pb2.SendHitsResponse:
    call: grpc.UnaryUnaryMultiCallable[bytes, collector_pb2.SendHitsResponse] = collector.channel.unary_unary(
        f"{CALLS}/SendHits", None, collector_pb2.SendHitsResponse.FromString
    )
    size = len(batch)
    header = b"\x0a" + bytes([size & 127 | 128, size >> 7 & 127 | 128, size >> 14])
    return call(header + batch, metadata=(("hitmesh-site", SITE),), timeout=timeout_s)


def test_a_stream_that_does_not_open_in_time_ends(backend: Backend) -> None:
    with running(backend, **SHORT) as collector:
        assert ended_with(silent(collector)) is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("number", [MAX_BATCH_SEQ + 1, 2**64 - 1])
def test_numbers_that_cannot_be_counted_on_are_refused_by_name(backend: Backend, number: int) -> None:
    with running(backend) as collector:
        streams = [StreamClient(collector.channel, KEY, SITE, resume_from=number), a_stream(collector)]
        streams[1].raw(sequenced(number, a_batch("late")))
        for stream, field in zip(streams, ("open.resume_from", "batch.batch_seq"), strict=True):
            with pytest.raises(grpc.RpcError, match=f"{field} is {number}; the largest .* {MAX_BATCH_SEQ}: ") as raised:
                for _ in stream.call:
                    pass
            assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_the_largest_number_is_taken(backend: Backend) -> None:
    with running(backend) as collector:
        stream = StreamClient(collector.channel, KEY, SITE, resume_from=MAX_BATCH_SEQ - 1)
        with stream:
            stream.send(a_batch("last"))
            stream.raw(b"\xff")
            assert stream.finish().acked_through == MAX_BATCH_SEQ + 1


def test_calls_that_ended_leave_no_thread_in_their_client(backend: Backend) -> None:
    def unnamed() -> set[threading.Thread]:  # a pool names its threads, gRPC's client does not
        return {each for each in threading.enumerate() if each.name.startswith("Thread-")}

    before = unnamed()
    with running(backend, **SHORT) as collector:
        ended_with(silent(collector))
        a_stream(collector).wait_ready()
        held_open(collector, f"{CALLS}/StreamHits").cancel()
        silent(collector)
    eventually(lambda: unnamed() <= before, "threads of ended calls are gone")


def test_an_unknown_or_revoked_key_in_open_ends_the_stream(backend: Backend) -> None:
    with running(backend) as collector:
        assert ended_with(a_stream(collector, "hms_nobody")) is grpc.StatusCode.UNAUTHENTICATED
        backend.stores.directory.revoke_key(MERCHANT, "k-1", NOW_MS)
        assert ended_with(a_stream(collector)) is grpc.StatusCode.UNAUTHENTICATED


def test_a_key_that_is_revoked_later_refuses_batches_only(backend: Backend) -> None:
    with running(backend) as collector, a_stream(collector) as stream:
        backend.stores.directory.revoke_key(MERCHANT, "k-1", NOW_MS)
        stream.send(a_batch("late"))
        assert stream.finish().issues[0].reason == collector_pb2.REASON_KEY_REVOKED


def test_a_stream_without_a_key_must_bring_a_batch_with_one(backend: Backend) -> None:
    with running(backend, **SHORT) as collector:
        with a_stream(collector, "") as quiet:
            assert ended_with(quiet) is grpc.StatusCode.UNAUTHENTICATED
        with a_stream(collector, "") as wrong:
            wrong.raw(sequenced(1, a_batch("wrong", "hms_nobody")))
            assert ended_with(wrong) is grpc.StatusCode.UNAUTHENTICATED
    with running(backend, open_within_s=0.2, prove_within_s=5.0) as collector, a_stream(collector, "") as edge:
        edge.send(a_batch("good", KEY))
        assert edge.finish().accepted == 1


def test_streams_are_capped_per_key_and_keyless_ones_apart(backend: Backend) -> None:
    with (
        running(backend, max_streams=8, max_streams_per_key=2, max_keyless_streams=1) as collector,
        ExitStack() as stack,
    ):
        for _ in range(2):
            stack.enter_context(a_stream(collector))
        assert ended_with(a_stream(collector)) is grpc.StatusCode.RESOURCE_EXHAUSTED
        stack.enter_context(a_stream(collector, BROWSER))
        edge = stack.enter_context(a_stream(collector, ""))
        edge.send(a_batch("edge", BROWSER))
        edge.wait_acked(1)
        with a_stream(collector, "") as second:
            second.raw(sequenced(1, a_batch("second", BROWSER)))
            assert ended_with(second) is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_silent_streams_make_room_for_one_that_opens(backend: Backend) -> None:
    with running(backend, max_streams=3, max_unproven_streams=2, open_within_s=60.0) as collector:
        first, *_ = [silent(collector) for _ in range(4)]
        with a_stream(collector) as stream:
            stream.send(a_batch("through"))
            assert stream.finish().accepted == 1
        assert ended_with(first) is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_calls_beyond_what_can_run_are_refused_while_health_answers(backend: Backend) -> None:
    with running(backend, workers=4) as collector:
        backend.log.shut()
        stub = collector_pb2_grpc.CollectorServiceStub(collector.channel)
        requests = [collector_pb2.SendHitsRequest(batch=a_batch(f"b{number}", KEY)) for number in range(5)]
        site = (("hitmesh-site", SITE),)
        held = [stub.SendHits.future(request, metadata=site, timeout=60) for request in requests[:4]]
        backend.log.wait_held(1)
        fifth = requests[4].batch.SerializeToString()
        eventually(
            lambda: code_of(collector, fifth, timeout_s=0.5) is grpc.StatusCode.RESOURCE_EXHAUSTED,
            "the fifth call is refused once the four have a thread each",
        )
        assert health_of(collector) == health_pb2.HealthCheckResponse.SERVING
        backend.log.open()
        assert [call.result().accepted_count for call in held] == [1] * 4


def test_reflection_that_stays_open_does_not_keep_calls_waiting(backend: Backend) -> None:
    with running(backend, workers=4) as collector:
        open_calls = [held_open(collector, REFLECTION) for _ in range(12)]
        assert send(collector, a_batch("through", KEY, hits=2).SerializeToString()).accepted_count == 2
        assert health_of(collector) == health_pb2.HealthCheckResponse.SERVING
        for call in open_calls:
            call.cancel()


@pytest.mark.parametrize("key", ["hms_nobody", BROWSER])
def test_refused_hits_beyond_the_budget_are_refused_before_they_are_read(backend: Backend, key: str) -> None:
    batch = b"\x12" + bytes([len(key)]) + key.encode() + b"\x32\x01\x07" * 2_000
    with running(backend, refused_bytes_s=1) as collector:
        codes = [code_of(collector, batch) for _ in range(3)]
        assert codes[1:] == [grpc.StatusCode.RESOURCE_EXHAUSTED] * 2
        assert send(collector, a_batch("good", KEY).SerializeToString()).accepted_count == 1, "a server key is free"


def test_unknown_keys_that_are_not_looked_up_may_come_again_and_shut_out_no_known_one(
    backend: Backend, tmp_path: Path
) -> None:
    database = Database(tmp_path / "directory.db", DIRECTORY_SCHEMA)
    directory = EmbeddedSiteDirectory(database, backend.clock, unknown_keys_s=2)
    directory.create_site(Site(name=SITE, time_zone="UTC", currency="USD", secret=b"a secret of sixteen"))
    directory.create_key(IngestKey("k-1", MERCHANT, KeyKind.SERVER, SITE), KEY)
    backend = replace(backend, stores=replace(backend.stores, directory=directory))
    with running(backend) as collector, a_stream(collector) as stream:
        guesses = [a_batch("guess", f"hms_guess_{number}").SerializeToString() for number in range(4)]
        codes = [code_of(collector, guess) for guess in guesses]
        assert codes == [grpc.StatusCode.UNAUTHENTICATED] * 2 + [grpc.StatusCode.RESOURCE_EXHAUSTED] * 2
        assert ended_with(a_stream(collector, "hms_guess_4")) is grpc.StatusCode.RESOURCE_EXHAUSTED
        stream.send(a_batch("with another key", "hms_guess_5"))
        stream.send(a_batch("good"))
        reported = stream.finish()
        assert [(issue.outcome, issue.reason) for issue in reported.issues] == [
            (collector_pb2.OUTCOME_RETRY, collector_pb2.REASON_QUOTA)
        ]
        assert reported.accepted == 1
        backend.clock.advance(1_000)
        assert code_of(collector, guesses[3]) is grpc.StatusCode.UNAUTHENTICATED
    database.close()


def code_of(collector: Running, batch: bytes, timeout_s: float = 60) -> grpc.StatusCode:
    try:
        send(collector, batch, timeout_s)
    except grpc.RpcError as error:
        code: grpc.StatusCode = error.code()
        return code
    return grpc.StatusCode.OK


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


def json_of(name: str) -> bytes:
    hit = {"hitId": name, "visitorId": name, "type": "HIT_TYPE_PAGE_VIEW", "pageView": {"url": "https://shop.example/"}}
    return json.dumps({"ingestKey": BROWSER, "hits": [hit]}).encode()


def send_json(collector: Running, body: bytes, timeout_s: float = 60, encoding: str = "identity") -> grpc.Future:  # type: ignore[type-arg]  # not generic in the stubs
    call = json_pb2_grpc.JsonCollectorServiceStub(collector.channel).SendJsonHits
    metadata = (("hitmesh-site", SITE), ("content-encoding", encoding))
    return call.future(httpbody_pb2.HttpBody(data=body), timeout=timeout_s, metadata=metadata)


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
def test_json_that_is_being_read_is_set_aside_by_its_unpacked_bytes(backend: Backend, encoding: str) -> None:
    body = json_of("one").replace(b"{", b"{" + b" " * 1_000_000, 1)
    with running(backend, refused_bytes_s=100_000) as collector:
        backend.log.shut()
        first = send_json(collector, gzip.compress(body) if encoding == "gzip" else body, encoding=encoding)
        backend.log.wait_held(1)
        with pytest.raises(grpc.RpcError, match="or are being read") as raised:
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
        large.batch_id = "x" * (4 << 20)  # refused after the log answers; the batch fills the room until then
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


def test_browser_keys_leave_slots_to_secret_ones(backend: Backend) -> None:
    limits: dict[str, Any] = {"max_streams": 4, "max_streams_per_key": 4, "reserved_streams": 1}
    with running(backend, **limits) as collector, ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(a_stream(collector, BROWSER))
        assert ended_with(a_stream(collector, BROWSER)) is grpc.StatusCode.RESOURCE_EXHAUSTED
        stack.enter_context(a_stream(collector))


def test_batches_of_a_stream_that_has_ended_are_not_admitted(backend: Backend) -> None:
    with running(backend, linger_ms=2_000) as collector, a_stream(collector) as stream:
        stream.send(a_batch("left"))
        eventually(lambda: collector.service._budget.taken > 0, "the batch waits for its record")
        stream.call.cancel()
        eventually(lambda: not collector.service._streams.streams, "the stream has ended")
        assert send(collector, a_batch("stays", KEY, hits=2).SerializeToString()).accepted_count == 2
    assert backend.rows()["hit_id"].to_list() == ["stays-0", "stays-1"]


def is_kept_out(collector: Running) -> bool:
    good = a_batch("good", BROWSER).SerializeToString()
    return code_of(collector, good) is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_stream_whose_refusals_cost_too_much_is_cut_off(backend: Backend) -> None:
    with running(backend, refused_bytes_s=1) as collector, a_stream(collector, BROWSER) as stream:
        stream.send(without_type(a_batch("refused")))
        stream.wait_acked(1)
        stream.raw(sequenced(2, without_type(a_batch("again"))))
        assert ended_with(stream) is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert health_of(collector) == health_pb2.HealthCheckResponse.SERVING


def test_what_is_refused_before_admission_is_logged_once_in_a_while(backend: Backend) -> None:
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


def without_type(batch: hit_pb2.HitBatch) -> hit_pb2.HitBatch:
    for hit in batch.hits:
        hit.type = hit_pb2.HIT_TYPE_UNSPECIFIED
    return batch


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
