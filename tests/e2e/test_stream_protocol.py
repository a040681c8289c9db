"""Test the StreamHits contract through Envoy: order, credit, acks, receipts, resumption and end of a stream."""

from __future__ import annotations

import re
import time
from contextlib import ExitStack

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2
from grpc_status import rpc_status

from hitmesh.api.collector.v1 import collector_pb2
from hitmesh.api.control.v1 import admin_pb2
from hitmesh.api.hit.v1 import hit_pb2
from tests.e2e.asking import DAY, NOON_MS
from tests.e2e.conftest import NewSite
from tests.e2e.test_generated import create_site
from tests.support.comparison import Question, ask
from tests.support.mesh import Mesh
from tests.support.messages import page_view
from tests.support.patience import patient
from tests.support.streams import StreamClient, bytes_of, sequenced
from tests.support.tenants import authorized
from tests.support.waiting import eventually

STREAMS = 32  # maximum number of streams of a key
MESSAGES_STAT = "cluster.collector.grpc.hitmesh.api.collector.v1.CollectorService.StreamHits.request_message_count"
ACKNOWLEDGED_TRAILER = "hitmesh-acknowledged-hits"


def batch_of(name: str, hits: int = 1, padding: int = 0) -> hit_pb2.HitBatch:
    """Return a batch of page views. `padding` adds about that many bytes to each page view."""
    views = [page_view(f"{name}-{number}", NOON_MS + number, visitor=name) for number in range(hits)]
    for view in views:
        if padding:
            view.properties["p"].string_value = "x" * padding
    return hit_pb2.HitBatch(batch_id=name, hits=views)


def error_of(stream: StreamClient) -> tuple[grpc.StatusCode, str]:
    """Read until the stream fails. Return the error's status and reason. The reason must be present."""
    with pytest.raises(grpc.RpcError) as raised:
        for _ in stream.answers():
            pass
    status = rpc_status.from_call(raised.value)  # type: ignore[arg-type]  # the error of a call is that call
    assert status is not None, raised.value
    info = error_details_pb2.ErrorInfo()
    assert any(detail.Unpack(info) for detail in status.details)
    return raised.value.code(), info.reason


@pytest.mark.timeout(30)
def test_the_first_message_must_be_open(mesh: Mesh, new_site: NewSite) -> None:
    for first in (sequenced(1, batch_of("no-open")), b"\xff\xff"):
        stream = StreamClient(mesh.channel(), mesh.key, new_site("no-open"), opening=first, timeout_s=patient(20))
        assert error_of(stream)[0] is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.timeout(30)
def test_open_comes_only_once(mesh: Mesh, new_site: NewSite) -> None:
    with StreamClient(mesh.channel(), mesh.key, new_site("twice-open")) as stream:
        again = collector_pb2.StreamHitsRequest(open=collector_pb2.StreamOpen(ingest_key=mesh.key))
        stream.raw(bytes_of(again))
        assert error_of(stream)[0] is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.timeout(60)
def test_acks_are_cumulative_and_carry_a_receipt_for_every_batch(mesh: Mesh, new_site: NewSite) -> None:
    messages, acknowledged = mesh.envoy_stat(MESSAGES_STAT), mesh.acknowledged_hits()
    with StreamClient(mesh.channel(), mesh.key, new_site("receipts")) as stream:
        assert stream.reported.acked_through == 0
        for number in range(1, 11):
            assert stream.send(batch_of(f"r-{number}", hits=number)) == number
        reported = stream.finish()
    assert reported.acked_through == 10
    assert reported.accepted == 55
    assert reported.issues == []
    assert [receipt.batch_seq for receipt in reported.receipts] == list(range(1, 11))
    now_s = time.time()
    for receipt in reported.receipts:
        assert receipt.topic == "hits"
        assert receipt.log
        assert receipt.offset >= 0
        assert abs(receipt.log_time.seconds - now_s) < 60
    assert dict(stream.call.trailing_metadata())[ACKNOWLEDGED_TRAILER] == "55"
    mesh.wait_acknowledged(acknowledged + 55)
    assert mesh.envoy_stat(MESSAGES_STAT) - messages == 11, "open and ten batches"


@pytest.mark.timeout(60)
def test_credit_bounds_what_is_in_flight_and_all_of_it_is_given_back(mesh: Mesh, new_site: NewSite) -> None:
    with StreamClient(mesh.channel(), mesh.key, new_site("credit"), max_inflight_bytes=1 << 20) as stream:
        granted = stream.reported.credit
        assert granted == 1 << 20
        for number in range(12):
            stream.send(batch_of(f"c-{number}", hits=500, padding=450))
        reported = stream.finish()
    assert reported.accepted == 6_000
    assert reported.credit == granted


@pytest.mark.timeout(60)
def test_a_client_that_goes_beyond_its_credit_is_slowed_down_and_loses_nothing(mesh: Mesh, new_site: NewSite) -> None:
    with StreamClient(mesh.channel(), mesh.key, new_site("greedy"), max_inflight_bytes=1 << 20) as stream:
        for number in range(1, 13):
            stream.raw(sequenced(number, batch_of(f"g-{number}", hits=500, padding=450)))
        stream.wait_acked(12)
        assert stream.finish().accepted == 6_000


@pytest.mark.timeout(30)
def test_a_client_cannot_ask_for_more_credit_than_the_collector_gives(mesh: Mesh, new_site: NewSite) -> None:
    with StreamClient(mesh.channel(), mesh.key, new_site("modest"), max_inflight_bytes=1 << 40) as stream:
        assert stream.reported.credit <= 8 << 20


@pytest.mark.timeout(30)
@pytest.mark.parametrize("second", [3, 7, 1])
def test_a_batch_out_of_sequence_ends_the_stream_after_the_good_ones_are_acknowledged(
    mesh: Mesh, new_site: NewSite, second: int
) -> None:
    with StreamClient(mesh.channel(), mesh.key, new_site("sequence")) as stream:
        stream.send(batch_of("in-order"))
        stream.raw(sequenced(second, batch_of("out-of-order")))
        assert error_of(stream) == (grpc.StatusCode.INVALID_ARGUMENT, "BATCH_OUT_OF_SEQUENCE")
        assert stream.reported.acked_through == 1
        assert stream.reported.accepted == 1
        assert dict(stream.call.trailing_metadata())[ACKNOWLEDGED_TRAILER] == "1"


@pytest.mark.timeout(60)
def test_a_batch_sent_again_on_its_stream_gets_the_same_receipts_and_stores_nothing(
    mesh: Mesh, new_site: NewSite
) -> None:
    site = new_site("again")
    with StreamClient(mesh.channel(), mesh.key, site) as stream:
        granted = stream.reported.credit
        stream.send(batch_of("same", hits=3))
        stream.wait_acked(1)
        first = list(stream.reported.receipts)
        stream.send(batch_of("same", hits=3), seq=1)
        stream.send(batch_of("same", hits=3))
        reported = stream.finish()
    assert reported.acked_through == 2
    assert reported.accepted == 3
    assert reported.credit == granted
    places = {(receipt.log, receipt.partition, receipt.offset) for receipt in reported.receipts}
    assert places == {(receipt.log, receipt.partition, receipt.offset) for receipt in first}
    assert sorted(receipt.batch_seq for receipt in reported.receipts) == sorted([1, 1, 2] * len(first))
    mesh.wait_visible(site, reported.receipts)
    question = Question(site, DAY, DAY, metrics=("hits", "duplicate_hits"))
    assert ask(mesh.reporter(), question) == {("",): {"hits": 3, "duplicate_hits": 0}}


@pytest.mark.timeout(60)
def test_a_new_stream_goes_on_after_the_last_acknowledged_batch(mesh: Mesh, new_site: NewSite) -> None:
    site = new_site("resume")
    with StreamClient(mesh.channel(), mesh.key, site) as stream:
        stream.send(batch_of("one"))
        stream.send(batch_of("two"))
        assert stream.finish().acked_through == 2
    with StreamClient(mesh.channel(), mesh.key, site, resume_from=2) as stream:
        assert stream.reported.acked_through == 2
        assert stream.send(batch_of("three")) == 3
        assert stream.finish().acked_through == 3
    with StreamClient(mesh.channel(), mesh.key, site, resume_from=2) as stream:
        stream.raw(sequenced(2, batch_of("two")))
        assert error_of(stream)[1] == "BATCH_OUT_OF_SEQUENCE"


@pytest.mark.timeout(60)
def test_streams_beyond_the_limit_are_refused_and_health_still_answers(mesh: Mesh, new_site: NewSite) -> None:
    site = new_site("many-streams")
    with ExitStack() as opened:
        channel = mesh.channel()
        for _ in range(STREAMS):
            opened.enter_context(StreamClient(channel, mesh.key, site))
        refused = StreamClient(channel, mesh.key, site, timeout_s=patient(20))
        assert error_of(refused) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_STREAMS")
        assert _collector_health(mesh) == health_pb2.HealthCheckResponse.SERVING
        batch = batch_of("unary-meanwhile")
        batch.ingest_key = mesh.key
        answer = mesh.collector().SendHits(
            collector_pb2.SendHitsRequest(batch=batch), metadata=(("hitmesh-site", site),), timeout=10
        )
        assert answer.accepted_count == 1

    def is_open_again() -> bool:
        try:
            with StreamClient(mesh.channel(), mesh.key, site, timeout_s=patient(20)):
                return True
        except grpc.RpcError:
            return False

    eventually(is_open_again, "a stream opens once the others are gone")


def _collector_health(mesh: Mesh) -> int:
    """Return the collector's health, asked directly as Envoy does."""
    direct = re.search(r"direct: collector ([\d.]+:\d+)", mesh.output.read_text())
    assert direct is not None
    with grpc.insecure_channel(direct[1]) as channel:
        request = health_pb2.HealthCheckRequest(service="hitmesh.api.collector.v1.CollectorService")
        check = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        answer: health_pb2.HealthCheckResponse = check(request, timeout=5)
        return answer.status


@pytest.mark.timeout(60)
def test_a_key_revoked_in_mid_stream_is_refused_within_two_seconds_and_the_stream_goes_on(
    mesh: Mesh, new_site: NewSite
) -> None:
    site = new_site("revoked")
    admin, metadata = mesh.admin(), authorized(mesh.key)
    request = admin_pb2.CreateIngestKeyRequest(
        parent="merchants/demo",
        key=admin_pb2.IngestKey(kind=admin_pb2.KEY_KIND_SERVER, site=site, unbounded_history=True),
    )
    made = admin.CreateIngestKey(request, metadata=metadata, timeout=10)
    with StreamClient(mesh.channel(), made.secret, site) as stream:
        stream.wait_acked(stream.send(batch_of("before")))
        assert stream.reported.accepted == 1
        admin.RevokeIngestKey(admin_pb2.RevokeIngestKeyRequest(name=made.key.name), metadata=metadata, timeout=10)

        def is_refused() -> bool:
            stream.wait_acked(stream.send(batch_of(f"after-{stream.next_seq}")))
            return bool(stream.reported.issues)

        eventually(is_refused, "the revoked key is refused", timeout_s=2)
        (issue,) = stream.reported.issues
        assert (issue.HasField("index"), issue.reason) == (False, collector_pb2.REASON_KEY_REVOKED)
        accepted = stream.reported.accepted
        under_other_key = batch_of("under-other-key")
        under_other_key.ingest_key = mesh.key
        stream.send(under_other_key)
        assert stream.finish().accepted == accepted + 1


@pytest.mark.timeout(120)
def test_a_stop_sends_go_away_acknowledges_what_is_in_flight_and_the_client_resumes_after_the_restart(
    idle_mesh: Mesh,
) -> None:
    mesh, site = idle_mesh, "merchants/demo/sites/go-away"
    mesh.start()
    create_site(mesh, site, "USD")
    with StreamClient(mesh.channel(), mesh.key, site) as stream:
        for number in range(1, 21):
            stream.send(batch_of(f"b-{number}", hits=100))
        stream.wait_acked(1)
        mesh.ask_to_stop()
        while stream.reported.go_away is None:
            stream.next()
        assert stream.reported.go_away.reason
        assert stream.reported.go_away.drain.ToMilliseconds() > 0
        reported = stream.finish()
    assert reported.acked_through == 20
    assert reported.accepted == 2_000
    assert mesh.wait_stopped() == 0
    mesh.start()
    with StreamClient(mesh.channel(), mesh.key, site, resume_from=20) as stream:
        assert stream.reported.acked_through == 20
        stream.send(batch_of("b-21", hits=100))
        receipts = [*reported.receipts, *stream.finish().receipts]
    mesh.wait_visible(site, receipts)
    answer = ask(mesh.reporter(), Question(site, DAY, DAY, metrics=("hits", "duplicate_hits")))
    assert answer == {("",): {"hits": 2_100, "duplicate_hits": 0}}
    assert mesh.stop() == 0
