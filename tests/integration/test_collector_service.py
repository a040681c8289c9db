"""Test StreamHits and SendHits (collector.proto) in this process, on a log that can delay acknowledgements."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from collector.classify import Classifier
from hitmesh.adapters.memory.log import MemoryLog
from hitmesh.api.collector.v1 import collector_pb2, collector_pb2_grpc
from hitmesh.api.hit.v1 import hit_pb2
from hitmesh.model.names import OPERATORS
from hitmesh.model.sites import IngestKey, KeyKind
from tests.support.collectors import KEY, NOW_MS, SITE, Backend, GatedLog, Running, new_backend, running
from tests.support.messages import page_view
from tests.support.patience import patient
from tests.support.streams import StreamClient, bytes_of, length_delimited, sequenced
from tests.support.waiting import eventually

METADATA = (("hitmesh-site", SITE),)


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier()


@pytest.fixture
def backend(classifier: Classifier) -> Backend:
    return new_backend(classifier)


@pytest.fixture
def collector(backend: Backend) -> Iterator[Running]:
    with running(backend) as started:
        yield started


def batch_of(name: str, hits: int = 1, padding: int = 0) -> hit_pb2.HitBatch:
    views = [page_view(f"{name}-{number}", NOW_MS, visitor=name) for number in range(hits)]
    for view in views:
        if padding:
            view.properties["p"].string_value = "x" * padding
    return hit_pb2.HitBatch(batch_id=name, hits=views)


def opened(collector: Running, *, resume_from: int = 0, max_inflight_bytes: int | None = None) -> StreamClient:
    return StreamClient(
        collector.channel,
        KEY,
        SITE,
        resume_from=resume_from,
        max_inflight_bytes=max_inflight_bytes,
        timeout_s=patient(15),
    )


def sending(collector: Running, batch: hit_pb2.HitBatch) -> grpc.Future[collector_pb2.SendHitsResponse]:
    stub = collector_pb2_grpc.CollectorServiceStub(collector.channel)
    batch.ingest_key = KEY
    return stub.SendHits.future(collector_pb2.SendHitsRequest(batch=batch), metadata=METADATA, timeout=15)


def test_a_batch_is_acknowledged_only_after_the_log_has_made_it_durable(backend: Backend, collector: Running) -> None:
    backend.log.shut()
    answer = sending(collector, batch_of("slow"))
    backend.log.wait_held(1)
    assert not answer.done()
    backend.log.open()
    assert answer.result().accepted_count == 1


def test_an_ack_waits_for_the_batches_before_it(backend: Backend, collector: Running) -> None:
    with opened(collector) as stream:
        backend.log.shut()
        stream.send(batch_of("one"))
        backend.log.wait_held(1)
        stream.send(batch_of("two"))
        backend.log.wait_held(2)
        assert stream.reported.acked_through == 0
        backend.log.open()
        reported = stream.finish()
    assert (reported.acked_through, reported.accepted) == (2, 2)


def test_receipts_have_the_log_positions_of_the_hits(backend: Backend, collector: Running) -> None:
    with opened(collector) as stream:
        for number in range(5):
            stream.send(batch_of(f"b-{number}", hits=3))
        reported = stream.finish()
    rows = backend.rows()
    assert rows.height == 15
    for receipt in reported.receipts:
        here = rows.filter((rows["at_partition"] == receipt.partition) & (rows["at_offset"] == receipt.offset))
        assert f"b-{receipt.batch_seq - 1}-0" in here["hit_id"].to_list()
        assert receipt.log_time.ToMilliseconds() == NOW_MS


def test_all_streams_share_records(backend: Backend) -> None:
    with running(backend, linger_ms=1_000) as collector, opened(collector) as first, opened(collector) as second:
        first.send(batch_of("same-visitor"))
        second.send(batch_of("same-visitor", hits=2))
        places = {
            (receipt.partition, receipt.offset) for stream in (first, second) for receipt in stream.finish().receipts
        }
    assert len(places) == 1, "both batches came while the record lingered"


def test_a_stream_holds_no_more_bytes_than_its_credit(backend: Backend, collector: Running) -> None:
    backend.log.shut()
    with opened(collector, max_inflight_bytes=1 << 20) as stream:
        for number in range(1, 9):
            stream.raw(sequenced(number, batch_of(f"b-{number}", hits=600, padding=480)))
        # Concurrent batches may share a record, so the test counts hits to find how many batches were read.
        eventually(lambda: collector.batcher.hits_accepted >= 1_200, "two batches are taken")
        assert backend.log.held <= 2 + 1, "more than 1 MiB of batches of 360 KB were read"
        assert collector.batcher.hits_accepted <= (2 + 1) * 600, "more than 1 MiB of batches of 360 KB were read"
        backend.log.open()
        stream.wait_acked(8)
        assert stream.finish().accepted == 4_800


def test_the_collector_holds_no_more_bytes_than_its_budget(backend: Backend) -> None:
    backend.log.shut()
    with running(backend, inflight_bytes=4 << 20, stream_credit_bytes=4 << 20) as collector:
        streams = [opened(collector) for _ in range(3)]
        for stream in streams:
            stream.wait_ready()
            for number in range(1, 5):
                stream.raw(sequenced(number, batch_of(f"b-{number}", hits=1_500, padding=480)))
        eventually(lambda: collector.batcher.hits_accepted >= 4 * 1_500, "four batches are taken")
        assert backend.log.held <= 5, "more than 4 MiB of batches of 900 KB were read"
        backend.log.open()
        for stream in streams:
            stream.wait_acked(4)
            assert stream.finish().accepted == 6_000


def test_a_full_log_puts_batches_off(backend: Backend) -> None:
    full = _with_full_log(backend)
    with running(full) as collector, opened(collector) as stream:
        stream.send(batch_of("too-much", hits=50))
        stream.wait_acked(1)
        (issue,) = stream.reported.issues
        assert (issue.HasField("index"), issue.outcome) == (False, collector_pb2.OUTCOME_RETRY)
        assert issue.reason == collector_pb2.REASON_LOG_FULL
        assert issue.retry_delay.ToMilliseconds() > 0
        assert stream.reported.accepted == 0
        with pytest.raises(grpc.RpcError) as raised:
            sending(collector, batch_of("too-much-too", hits=50)).result()
        assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
        assert _detail(raised.value, error_details_pb2.RetryInfo()).retry_delay.ToMilliseconds() > 0


def _with_full_log(backend: Backend) -> Backend:
    return replace(backend, log=GatedLog(MemoryLog(backend.clock, max_bytes=10)))


def _detail(error: grpc.RpcError, into: error_details_pb2.RetryInfo) -> error_details_pb2.RetryInfo:
    status = rpc_status.from_call(error)  # type: ignore[arg-type]  # a call's error is the call itself
    assert status is not None
    assert any(detail.Unpack(into) for detail in status.details)
    return into


def test_a_drain_sends_go_away_finishes_what_is_in_flight_and_another_collector_goes_on(backend: Backend) -> None:
    with running(backend) as first, running(backend) as second:
        with opened(first) as stream:
            backend.log.shut()
            stream.send(batch_of("in-flight", hits=3))
            backend.log.wait_held(1)
            draining = threading.Thread(target=first.service.drain)
            draining.start()
            while stream.reported.go_away is None:
                stream.next()
            assert 0 < stream.reported.go_away.drain.ToMilliseconds() <= 2_000
            assert stream.reported.acked_through == 0
            backend.log.open()
            reported = stream.finish()
            draining.join(timeout=5)
            assert not draining.is_alive(), "the drain is over as soon as the last stream has ended"
        assert (reported.acked_through, reported.accepted) == (1, 3)
        with opened(second, resume_from=reported.acked_through) as stream:
            assert stream.send(batch_of("next")) == 2
            assert stream.finish().acked_through == 2
    assert backend.rows().height == 4


def test_a_client_that_stays_is_ended_when_the_drain_is_over(backend: Backend) -> None:
    with running(backend, drain_s=0.2) as collector, opened(collector) as stream:
        collector.service.drain()
        list(stream.answers())
        assert stream.reported.go_away is not None
        assert stream.call.code() is grpc.StatusCode.OK


def test_an_old_stream_is_sent_away_and_takes_its_hits_to_another_collector(backend: Backend) -> None:
    with running(backend, max_stream_age_s=0.3) as first, running(backend) as second:
        with opened(first) as stream:
            stream.send(batch_of("before"))
            while stream.reported.go_away is None:
                stream.next()
            assert "maximum age" in stream.reported.go_away.reason
            reported = stream.finish()
        assert (reported.acked_through, reported.accepted) == (1, 1)
        with opened(second, resume_from=reported.acked_through) as stream:
            stream.send(batch_of("after"))
            assert stream.finish().acked_through == 2
    assert backend.rows().height == 2


def test_a_client_that_stays_on_an_old_stream_is_ended(backend: Backend) -> None:
    with running(backend, max_stream_age_s=0.1, drain_s=0.2) as collector, opened(collector) as stream:
        list(stream.answers())
        assert stream.reported.go_away is not None
        assert stream.call.code() is grpc.StatusCode.OK


def test_a_client_that_breaks_off_leaves_room_for_another(backend: Backend) -> None:
    with running(backend, max_streams=1) as collector:
        with opened(collector) as stream:
            stream.send(batch_of("before"))
            stream.wait_acked(1)

        def opens() -> bool:
            try:
                with opened(collector) as again:
                    return again.reported.credit > 0
            except grpc.RpcError as error:
                return error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED

        eventually(opens, "the place of the broken stream is free again")


def test_a_refused_hit_is_durable_before_the_ack_with_its_reason_and_its_first_4_kib(
    backend: Backend, collector: Running
) -> None:
    long = batch_of("long")
    long.hits[0].page_view.url = ""
    long.hits[0].page_view.title = "t" * 6_000
    backend.log.shut()
    answer = sending(collector, long)
    backend.log.wait_held(1)
    assert not answer.done()
    backend.log.open()
    assert answer.result().rejected_count == 1
    (row,) = backend.refusals().iter_rows(named=True)
    assert (row["site"], row["reason"], row["field"]) == (SITE, "MISSING_FIELD", "page_view.url")
    assert (row["hit_id"], row["hits"]) == ("long-0", 1)
    assert row["original"] == bytes_of(long.hits[0])[:4_096]


def test_a_batch_with_an_unknown_key_is_kept_with_all_its_hits_counted(backend: Backend, collector: Running) -> None:
    stranger = batch_of("stranger", hits=3)
    stranger.ingest_key = "hms_stranger"
    with opened(collector) as stream:
        stream.send(batch_of("good"))
        stream.send(stranger)
        reported = stream.finish()
    assert (reported.accepted, reported.acked_through) == (1, 2)
    refusals = backend.refusals()
    assert refusals["reason"].to_list() == ["UNKNOWN_KEY"]
    assert refusals["hits"].to_list() == [3]


def test_a_batch_on_a_stream_under_a_key_that_may_not_send_has_that_reason(
    backend: Backend, collector: Running
) -> None:
    backend.stores.directory.create_key(IngestKey("k-2", OPERATORS, KeyKind.OPERATOR), "hms_operator")
    refused = batch_of("refused")
    refused.ingest_key = "hms_operator"
    with opened(collector) as stream:
        stream.send(batch_of("good"))
        stream.send(refused)
        reported = stream.finish()
    (issue,) = reported.issues
    assert (issue.index, issue.reason, issue.field) == (0, collector_pb2.REASON_PERMISSION_DENIED, "ingest_key")
    assert issue.message == "a key of kind operator may not send hits: use a browser, server or edge key"
    assert backend.refusals()["reason"].to_list() == ["PERMISSION_DENIED"]


@pytest.mark.parametrize(
    ("key", "site", "code", "reason", "field"),
    [
        (KEY, "", grpc.StatusCode.NOT_FOUND, "UNKNOWN_SITE", "site"),
        (KEY, "merchants/demo/sites/none", grpc.StatusCode.NOT_FOUND, "UNKNOWN_SITE", "site"),
        (KEY, "no name", grpc.StatusCode.NOT_FOUND, "UNKNOWN_SITE", "site"),
        ("hms_operator", SITE, grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED", "ingest_key"),
        ("hms_stranger", SITE, grpc.StatusCode.UNAUTHENTICATED, "UNKNOWN_KEY", "ingest_key"),
    ],
)
def test_a_unary_call_is_refused_with_the_reason_and_field_at_fault(
    backend: Backend, collector: Running, key: str, site: str, code: grpc.StatusCode, reason: str, field: str
) -> None:
    backend.stores.directory.create_key(IngestKey("k-2", OPERATORS, KeyKind.OPERATOR), "hms_operator")
    batch = batch_of("refused")
    batch.ingest_key = key
    stub = collector_pb2_grpc.CollectorServiceStub(collector.channel)
    with pytest.raises(grpc.RpcError) as error:
        stub.SendHits(
            collector_pb2.SendHitsRequest(batch=batch), metadata=(("hitmesh-site", site),) if site else (), timeout=30
        )
    assert error.value.code() is code
    status = rpc_status.from_call(error.value)  # type: ignore[arg-type]  # the error of a call is that call
    info = error_details_pb2.ErrorInfo()
    assert status is not None
    assert status.details[0].Unpack(info)
    assert (info.reason, info.metadata["field"]) == (reason, field)


def test_hits_of_one_frame_that_do_not_decode_cost_their_neighbours_nothing(
    backend: Backend, collector: Running
) -> None:
    hits = [bytes_of(batch_of(f"g-{number}").hits[0]) for number in range(3)]
    broken = b"".join(length_delimited(6, hit) for hit in (hits[0], b"\xff\xff", hits[1]))
    with opened(collector) as stream:
        stream.send(broken)
        stream.raw(b"\xff\xff\xff")
        stream.next_seq += 1
        stream.send(length_delimited(6, hits[2]))
        reported = stream.finish()
    assert reported.accepted == 3
    hit, batch = reported.issues
    assert (hit.batch_seq, hit.index) == (1, 1)
    assert (batch.batch_seq, batch.HasField("index")) == (2, False)
    assert sorted(backend.rows()["hit_id"].to_list()) == ["g-0-0", "g-1-0", "g-2-0"]


def test_the_key_of_a_batch_wins_over_that_of_the_stream(backend: Backend, collector: Running) -> None:
    other = batch_of("other-key")
    other.ingest_key = "hms_stranger"
    with opened(collector) as stream:
        stream.send(batch_of("stream-key"))
        stream.send(other)
        reported = stream.finish()
    assert reported.accepted == 1
    assert [issue.batch_seq for issue in reported.issues] == [2]


@pytest.mark.parametrize("resume_from", [0, 7])
def test_a_batch_without_a_number_is_out_of_sequence(collector: Running, resume_from: int) -> None:
    with opened(collector, resume_from=resume_from) as stream:
        stream.send(batch_of("b"), seq=0)
        with pytest.raises(grpc.RpcError) as caught:
            stream.next()
    status = rpc_status.from_call(caught.value)  # type: ignore[arg-type]  # the error of a call is that call
    info = error_details_pb2.ErrorInfo()
    assert status is not None
    assert status.details[0].Unpack(info)
    assert (caught.value.code(), info.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "BATCH_OUT_OF_SEQUENCE")
    assert info.metadata["expected"] == str(resume_from + 1)
