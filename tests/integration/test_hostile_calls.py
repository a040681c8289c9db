"""Test the limits for callers that send nothing, have no key, or make too many calls (collector.proto)."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2

from collector.classify import Classifier
from collector.frames import MAX_BATCH_SEQ
from hitmesh.adapters.embedded.directory import EmbeddedSiteDirectory
from hitmesh.adapters.embedded.schema import DIRECTORY_SCHEMA
from hitmesh.adapters.embedded.sqlite import Database
from hitmesh.api.collector.v1 import collector_pb2, collector_pb2_grpc
from hitmesh.model.sites import IngestKey, KeyKind, Site
from tests.support.collectors import KEY, MERCHANT, NOW_MS, SITE, Backend, running
from tests.support.hostile_calls import (
    BROWSER,
    CALLS,
    a_batch,
    a_stream,
    code_of,
    ended_with,
    health_of,
    held_open,
    send,
    silent,
    with_browser_key,
)
from tests.support.streams import StreamClient, sequenced
from tests.support.waiting import eventually

SHORT: dict[str, Any] = {"open_within_s": 0.2, "prove_within_s": 0.2}
REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier()


@pytest.fixture
def backend(classifier: Classifier) -> Backend:
    return with_browser_key(classifier)


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
    def unnamed() -> set[threading.Thread]:  # thread pools name their threads, but gRPC's client does not
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


def test_silent_streams_of_one_merchant_leave_slots_to_another_merchant(backend: Backend) -> None:
    directory = backend.stores.directory
    for number in range(6):
        directory.create_key(IngestKey(f"m-{number}", MERCHANT, KeyKind.SERVER, SITE), f"hms_many_{number}")
    other = "merchants/other/sites/a"
    directory.create_site(Site(name=other, time_zone="UTC", currency="USD", secret=b"a secret of sixteen"))
    directory.create_key(IngestKey("o-1", "merchants/other", KeyKind.SERVER, other), "hms_other")
    limits: dict[str, Any] = {
        "max_streams": 6,
        "max_streams_per_merchant": 4,
        "max_unproven_streams": 2,
        "reserved_streams": 0,
    }
    with running(backend, **limits) as collector, ExitStack() as stack:
        for number in range(4):
            held = stack.enter_context(a_stream(collector, f"hms_many_{number}"))
            held.send(a_batch(f"one hit {number}"))
            held.wait_acked(1)
        for number in (0, 4, 5):
            refused = a_stream(collector, f"hms_many_{number}")
            with pytest.raises(grpc.RpcError, match=rf"4 open streams .* {MERCHANT} \(max_streams_per_merchant\)"):
                refused.wait_ready()
        keyless = a_stream(collector, "")
        keyless.raw(sequenced(1, a_batch("a key in the batch", "hms_many_5")))
        with pytest.raises(grpc.RpcError, match="max_streams_per_merchant"):
            keyless.wait_acked(1)
        stream = stack.enter_context(StreamClient(collector.channel, "hms_other", other))
        stream.wait_acked(stream.send(a_batch("through")))


def test_silent_streams_make_room_for_one_that_opens(backend: Backend) -> None:
    with running(backend, max_streams=3, max_unproven_streams=2, open_within_s=60.0) as collector:
        streams = [silent(collector) for _ in range(4)]
        with a_stream(collector) as stream:
            stream.send(a_batch("through"))
            assert stream.finish().accepted == 1
        # Two silent streams may stay; which of the streams arrived first depends on threads.
        eventually(lambda: sum(call.done() for call in streams) >= 2, "two silent streams make room")
        assert {call.code() for call in streams if call.done()} == {grpc.StatusCode.RESOURCE_EXHAUSTED}


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
