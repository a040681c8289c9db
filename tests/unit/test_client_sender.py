"""Test HitSender with a scripted collector: numbering, credit, refusals, and all failures of a stream."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import grpc
import pytest

from hitmesh.api.collector.v1 import collector_pb2 as pb
from hitmesh.api.hit.v1 import hit_pb2
from hitmesh.client import sender as sending
from hitmesh.client.batches import batches
from hitmesh.client.mesh import Mesh
from hitmesh.client.patience import Patience
from hitmesh.client.sender import HitSender, SendStopped, SendTotals
from tests.support.waiting import eventually
from tests.unit.scripted_mesh import (
    KEY,
    LOG,
    Requests,
    Responses,
    Script,
    ScriptedMesh,
    ack,
    credit,
    issue,
    ready,
    running,
)

SITE = "merchants/demo/sites/test"
IMPATIENT = Patience(attempts=3, first_s=0.01, max_s=0.02, stall_s=15.0)


@pytest.fixture
def mesh() -> Iterator[ScriptedMesh]:
    with running(ScriptedMesh()) as mesh:
        yield mesh


def some_batches(count: int, hits_each: int = 2) -> list[hit_pb2.HitBatch]:
    hits = [hit_pb2.Hit(hit_id=f"h{number}", visitor_id="v") for number in range(count * hits_each)]
    return list(batches(hits, "b", max_hits=hits_each))


def send(mesh: ScriptedMesh, to_send: list[hit_pb2.HitBatch], patience: Patience = IMPATIENT) -> SendTotals:
    with Mesh.connect(mesh.endpoint, KEY) as client, HitSender(client, SITE, patience=patience) as sender:
        for batch in to_send:
            sender.submit(batch)
        sender.drain()
        return sender.totals


def take_all(mesh: ScriptedMesh, requests: Requests, *, acked: int) -> Responses:
    for request in requests:
        mesh.take(request)
        acked = request.batch.batch_seq
        yield ack(acked)


def test_everything_is_sent_once_in_order_and_counted(mesh: ScriptedMesh) -> None:
    totals = send(mesh, some_batches(5))
    assert (totals.sent, totals.accepted, totals.rejected, totals.resent) == (10, 10, 0, 0)
    assert totals.offsets == {(LOG, 0): 5}
    assert [request.batch_seq for request in mesh.batches] == [1, 2, 3, 4, 5]
    assert [request.batch.batch_id for request in mesh.batches] == ["b-1", "b-2", "b-3", "b-4", "b-5"]
    assert mesh.opens == [pb.StreamOpen(ingest_key=KEY)]
    assert mesh.stream_sites == [SITE]


def test_sending_no_hits_opens_no_stream(mesh: ScriptedMesh) -> None:
    assert send(mesh, []) == SendTotals()
    assert mesh.opens == []


def breaking(mesh: ScriptedMesh, code: grpc.StatusCode) -> Script:
    """Acknowledge batch 1, and accept batch 2 without an acknowledgement. End the stream with an error."""

    def script(requests: Requests, context: grpc.ServicerContext) -> Responses:
        yield ready()
        mesh.take(next(requests))
        yield ack(1)
        mesh.take(next(requests))
        context.abort(code, "the script says so")

    return script


@pytest.mark.parametrize(
    "code",
    [
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.DEADLINE_EXCEEDED,
    ],
)
def test_broken_stream_is_resumed_after_the_last_acknowledged_batch(mesh: ScriptedMesh, code: grpc.StatusCode) -> None:
    mesh.scripts = [breaking(mesh, code)]
    totals = send(mesh, some_batches(4))
    assert (totals.sent, totals.accepted) == (8, 8)
    assert totals.resent >= 2
    assert [opening.resume_from for opening in mesh.opens] == [0, 1]
    assert [(request.batch_seq, request.batch.batch_id) for request in mesh.batches] == [
        (1, "b-1"),
        (2, "b-2"),
        (2, "b-2"),
        (3, "b-3"),
        (4, "b-4"),
    ]


def test_go_away_is_obeyed_and_the_rest_goes_to_another_stream(mesh: ScriptedMesh) -> None:
    after_go_away: list[int] = []

    def script(requests: Requests, context: grpc.ServicerContext) -> Responses:
        yield ready()
        first = mesh.take(next(requests))
        yield pb.StreamHitsResponse(go_away=pb.GoAway(reason="stopping"))
        for request in requests:
            after_go_away.append(mesh.take(request))
        yield ack(max([first, *after_go_away]))

    mesh.scripts = [script]
    totals = send(mesh, some_batches(6))
    assert (totals.sent, totals.accepted, totals.resent) == (12, 12, 0)
    assert mesh.opens[0].resume_from == 0
    assert [request.batch_seq for request in mesh.batches] == [1, 2, 3, 4, 5, 6]


def test_unacknowledged_bytes_never_exceed_the_credit(mesh: ScriptedMesh) -> None:
    to_send = some_batches(12, hits_each=40)
    size = pb.StreamHitsRequest(batch=pb.SequencedBatch(batch_seq=1, batch=to_send[-1])).ByteSize() + 40
    seen: list[int] = []

    def script(requests: Requests, context: grpc.ServicerContext) -> Responses:
        yield ready(credit_bytes=2 * size)
        held: list[tuple[int, int]] = []
        for request in requests:
            held.append((mesh.take(request), request.ByteSize()))
            seen.append(sum(byte_count for _, byte_count in held))
            if len(held) == 2:  # the credit does not allow a third batch
                for batch_seq, freed in held:
                    yield ack(batch_seq)
                    yield credit(freed)
                held.clear()

    mesh.scripts = [script]
    totals = send(mesh, to_send)
    assert (totals.accepted, len(mesh.opens)) == (480, 1)
    assert max(seen) <= 2 * size
    assert max(seen) > size


def test_batch_larger_than_all_credit_goes_alone(mesh: ScriptedMesh) -> None:
    def script(requests: Requests, context: grpc.ServicerContext) -> Responses:
        yield ready(credit_bytes=10)
        yield from take_all(mesh, requests, acked=0)

    mesh.scripts = [script]
    assert send(mesh, some_batches(3)).accepted == 6


def test_refused_hits_are_counted_with_the_first_reasons(mesh: ScriptedMesh) -> None:
    def script(requests: Requests, context: grpc.ServicerContext) -> Responses:
        yield ready()
        mesh.take(next(requests))
        yield ack(
            1,
            issue(1, 0, pb.OUTCOME_WARNED, pb.REASON_TRUNCATED),
            issue(1, 1, pb.OUTCOME_REJECTED, pb.REASON_TIME_FUTURE),
        )
        mesh.take(next(requests))
        yield ack(2, issue(2, None, pb.OUTCOME_REJECTED, pb.REASON_UNKNOWN_SITE))
        yield from take_all(mesh, requests, acked=2)

    mesh.scripts = [script]
    totals = send(mesh, some_batches(3))
    assert (totals.sent, totals.accepted, totals.rejected) == (6, 3, 3)
    assert [refusal.reason for refusal in totals.examples] == ["TIME_FUTURE", "UNKNOWN_SITE"]


def test_only_the_first_refusals_of_all_batches_are_kept(mesh: ScriptedMesh) -> None:
    def script(requests: Requests, context: grpc.ServicerContext) -> Responses:
        yield ready()
        for request in requests:
            number = mesh.take(request)
            yield ack(number, *(issue(number, index, pb.OUTCOME_REJECTED) for index in range(4)))

    mesh.scripts = [script]
    totals = send(mesh, some_batches(2, hits_each=4))
    assert (totals.accepted, totals.rejected, len(totals.examples)) == (0, 8, 5)


def test_offset_of_a_partition_is_the_highest_in_the_log_of_hits(mesh: ScriptedMesh) -> None:
    def script(requests: Requests, context: grpc.ServicerContext) -> Responses:
        yield ready()
        mesh.take(next(requests))
        yield ack(1, offset=9)
        mesh.take(next(requests))
        second = ack(2, offset=3)
        second.ack.receipts.append(pb.Receipt(batch_seq=2, topic="rejected", log=LOG, offset=70))
        yield second
        yield from take_all(mesh, requests, acked=2)

    mesh.scripts = [script]
    assert send(mesh, some_batches(2)).offsets == {(LOG, 0): 9}


def test_submit_waits_while_too_many_bytes_wait_for_a_retry(
    mesh: ScriptedMesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    def script(requests: Requests, context: grpc.ServicerContext) -> Responses:
        yield ready()
        number = mesh.take(next(requests))
        yield ack(number, issue(number, 0, pb.OUTCOME_REJECTED), issue(number, 1, pb.OUTCOME_RETRY))
        yield from take_all(mesh, requests, acked=number)

    monkeypatch.setattr(sending, "MAX_PUT_OFF_BYTES", 0)
    mesh.scripts = [script]
    first, second = some_batches(2)
    patience = replace(IMPATIENT, first_s=0.5)
    with Mesh.connect(mesh.endpoint, KEY) as client, HitSender(client, SITE, patience=patience) as sender:
        sender.submit(first)
        eventually(lambda: sender.totals.rejected == 1, "the first batch is acknowledged", 10)
        sender.submit(second)
        eventually(lambda: len(mesh.batches) == 3, "the hit to retry is sent before submit returns", 10)


def test_batch_to_retry_goes_again_with_its_id_and_counts_once(mesh: ScriptedMesh) -> None:
    def script(requests: Requests, context: grpc.ServicerContext) -> Responses:
        yield ready()
        mesh.take(next(requests))
        yield ack(1, issue(1, None, pb.OUTCOME_RETRY, pb.REASON_LOG_FULL))
        yield from take_all(mesh, requests, acked=1)

    mesh.scripts = [script]
    totals = send(mesh, some_batches(2))
    assert (totals.sent, totals.accepted, totals.rejected) == (4, 4, 0)
    assert [request.batch_seq for request in mesh.batches] == [1, 2, 3]
    assert sorted(request.batch.batch_id for request in mesh.batches) == ["b-1", "b-1", "b-2"]


def test_hits_to_retry_go_again_without_their_neighbours(mesh: ScriptedMesh) -> None:
    def script(requests: Requests, context: grpc.ServicerContext) -> Responses:
        yield ready()
        mesh.take(next(requests))
        yield ack(1, issue(1, 2, pb.OUTCOME_RETRY), issue(1, 0, pb.OUTCOME_REJECTED))
        yield from take_all(mesh, requests, acked=1)

    mesh.scripts = [script]
    totals = send(mesh, some_batches(1, hits_each=4))
    assert (totals.sent, totals.accepted, totals.rejected) == (4, 3, 1)
    assert [[hit.hit_id for hit in request.batch.hits] for request in mesh.batches] == [
        ["h0", "h1", "h2", "h3"],
        ["h2"],
    ]
    assert mesh.batches[1].batch.batch_id == "b-1.1"


def test_batch_that_is_never_taken_is_given_up(mesh: ScriptedMesh) -> None:
    def script(requests: Requests, context: grpc.ServicerContext) -> Responses:
        yield ready()
        for request in requests:
            batch_seq = mesh.take(request)
            yield ack(batch_seq, issue(batch_seq, None, pb.OUTCOME_RETRY))

    mesh.scripts = [script]
    with pytest.raises(SendStopped, match="did not accept a batch in 3 attempts: because"):
        send(mesh, some_batches(1))
    assert len(mesh.batches) == 3


def test_mesh_that_stays_away_is_given_up(mesh: ScriptedMesh) -> None:
    def script(requests: Requests, context: grpc.ServicerContext) -> Responses:
        context.abort(grpc.StatusCode.UNAVAILABLE, "no healthy upstream")
        yield ready()

    mesh.scripts = [script] * 10
    with pytest.raises(SendStopped, match=r"in 4 attempts: no healthy upstream"):
        send(mesh, some_batches(1))
    assert len(mesh.opens) == 4


def test_mesh_that_once_took_a_batch_is_waited_for_longer(mesh: ScriptedMesh) -> None:
    def takes_one(requests: Requests, context: grpc.ServicerContext) -> Responses:
        yield ready()
        yield ack(mesh.take(next(requests)))
        context.abort(grpc.StatusCode.UNAVAILABLE, "no healthy upstream")

    def is_away(requests: Requests, context: grpc.ServicerContext) -> Responses:
        context.abort(grpc.StatusCode.UNAVAILABLE, "no healthy upstream")
        yield ready()

    mesh.scripts = [takes_one, *(is_away for _ in range(10))]
    with pytest.raises(SendStopped, match=r"in 6 attempts: no healthy upstream"):
        send(mesh, some_batches(2), replace(IMPATIENT, reconnects=5))
    assert len(mesh.opens) == 1 + 6


def test_progress_on_each_stream_is_never_given_up(mesh: ScriptedMesh) -> None:
    def script(requests: Requests, context: grpc.ServicerContext) -> Responses:
        yield ready(mesh.opens[-1].resume_from)
        yield ack(mesh.take(next(requests)))
        context.abort(grpc.StatusCode.UNAVAILABLE, "again")

    mesh.scripts = [script] * 8
    assert send(mesh, some_batches(8)).accepted == 16
    resumed = [opening.resume_from for opening in mesh.opens]
    assert all(before < after for before, after in pairwise(resumed))


def test_an_answer_that_would_not_change_ends_the_sending(mesh: ScriptedMesh) -> None:
    def script(requests: Requests, context: grpc.ServicerContext) -> Responses:
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the first message must be open")
        yield ready()

    mesh.scripts = [script]
    with pytest.raises(grpc.RpcError, match="the first message must be open"):
        send(mesh, some_batches(1))


def test_silent_stream_is_broken_off_and_resumed(mesh: ScriptedMesh) -> None:
    def script(requests: Requests, context: grpc.ServicerContext) -> Responses:
        yield ready()
        for request in requests:  # the loop ends when the client ends the call
            mesh.take(request)

    mesh.scripts = [script]
    totals = send(mesh, some_batches(2), Patience(attempts=3, first_s=0.01, max_s=0.02, stall_s=0.2))
    assert (totals.accepted, totals.resent) == (4, 4)
    assert [opening.resume_from for opening in mesh.opens] == [0, 0]


def test_batches_are_cut_by_hits_and_by_bytes() -> None:
    hits = [hit_pb2.Hit(hit_id=f"h{number}", visitor_id="v" * 100) for number in range(10)]
    assert [len(batch.hits) for batch in batches(hits, "b", max_hits=4)] == [4, 4, 2]
    cut = list(batches(hits, "b", max_bytes=400))
    assert all(batch.ByteSize() <= 450 for batch in cut)
    assert sum(len(batch.hits) for batch in cut) == 10
    assert [len(batch.hits) for batch in batches(hits[:2], "b", max_bytes=1)] == [1, 1]
    assert list(batches([], "b")) == []


def test_equal_hits_make_equal_batches() -> None:
    hits = [hit_pb2.Hit(hit_id=str(number)) for number in range(7)]
    assert list(batches(hits, "x", max_hits=3)) == list(batches(hits, "x", max_hits=3))


def test_hits_to_validate_are_not_sent_to_a_collector_that_would_store_them(mesh: ScriptedMesh) -> None:
    with (
        Mesh.connect(mesh.endpoint, KEY) as client,
        HitSender(client, SITE, patience=IMPATIENT, validate_only=True) as sender,
        pytest.raises(SendStopped, match="older than this client"),
    ):
        sender.submit(some_batches(1)[0])
    assert mesh.opens[0].validate_only
    assert mesh.batches == []
