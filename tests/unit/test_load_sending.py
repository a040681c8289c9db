"""Test how `hitmesh load` sends. A small server on a real socket follows a script."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import grpc
import pytest

from hitmesh.api.collector.v1 import collector_pb2 as pb
from hitmesh.api.collector.v1 import collector_pb2_grpc
from hitmesh.client.patience import Patience
from hitmesh.client.send_window import Settled
from hitmesh.client.sender import SendStopped
from hitmesh.tools.load.expected import Expected
from hitmesh.tools.load.open_loop import OpenLoop
from hitmesh.tools.load.plan import LoadPlan
from hitmesh.tools.load.stream import FrameStream
from hitmesh.tools.load.tally import Tally
from hitmesh.tools.load.traffic import Frame, Traffic
from tests.support.patience import patient
from tests.support.waiting import eventually
from tests.unit.scripted_mesh import Requests, Responses, ack, credit, issue, ready

IMPATIENT = Patience(attempts=3, first_s=0.01, max_s=0.02, stall_s=0.2)
PLAN = LoadPlan(rate=200, duration_s=1, sites=2, max_frame_hits=10)
Script = Callable[["Door", Requests, grpc.ServicerContext], Responses]


@dataclass
class Door(collector_pb2_grpc.CollectorServiceServicer):
    """A server whose streams follow `scripts`, one script per stream. A stream without a script accepts every hit."""

    scripts: list[Script] = field(default_factory=list)
    endpoint: str = ""
    opens: list[int] = field(default_factory=list)
    batches: list[pb.SequencedBatch] = field(default_factory=list)

    def StreamHits(self, request_iterator: Requests, context: grpc.ServicerContext) -> Responses:
        self.opens.append(next(request_iterator).open.resume_from)
        script = self.scripts.pop(0) if self.scripts else take_everything
        yield from script(self, request_iterator, context)

    def SendHits(self, request: pb.SendHitsRequest, context: grpc.ServicerContext) -> pb.SendHitsResponse:
        raise NotImplementedError

    def take(self, request: pb.StreamHitsRequest) -> int:
        self.batches.append(request.batch)
        return request.batch.batch_seq


def take_everything(door: Door, requests: Requests, context: grpc.ServicerContext) -> Responses:
    yield ready()
    for request in requests:
        yield ack(door.take(request))
        yield credit(request.ByteSize())


@contextmanager
def serving(*scripts: Script) -> Iterator[Door]:
    door = Door(list(scripts))
    server = grpc.server(ThreadPoolExecutor(max_workers=8))
    collector_pb2_grpc.add_CollectorServiceServicer_to_server(door, server)
    door.endpoint = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield door
    finally:
        server.stop(None).wait()


def some_frames(plan: LoadPlan = PLAN) -> list[Frame]:
    return list(Traffic(plan, dict.fromkeys(plan.used_sites, "key"), 1_790_000_000_000))


def send(door: Door, frames: Iterable[Frame]) -> list[Settled[Frame]]:
    """Send frames on a single stream, and return the answers."""
    answers: list[Settled[Frame]] = []
    stream = FrameStream(door.endpoint, answers.append, IMPATIENT)
    stream.start()
    try:
        for frame in frames:
            stream.submit(frame)
        stream.finish()
        eventually(lambda: _over(stream), "the stream ends", 10)
        if stream.failure is not None:
            raise stream.failure
        return answers
    finally:
        stream.close()


def _over(stream: FrameStream) -> bool:
    stream.look_after()
    return stream.wait(0.01)


# ---------------------------------------------------------------------------------------------------------- a stream


def test_frames_go_out_numbered_and_unchanged() -> None:
    frames = some_frames()
    with serving() as door:
        answers = send(door, frames)
    assert [request.batch_seq for request in door.batches] == list(range(1, len(frames) + 1))
    assert [request.batch.SerializeToString(deterministic=True) for request in door.batches[:3]] == [
        type(request.batch).FromString(frame.content).SerializeToString(deterministic=True)
        for request, frame in zip(door.batches, frames[:3], strict=False)
    ]
    assert [answer.accepted for answer in answers] == [frame.hits for frame in frames]
    assert door.opens == [0]


def test_broken_call_is_resumed_after_the_last_acknowledged_frame() -> None:
    def break_after_two(door: Door, requests: Requests, context: grpc.ServicerContext) -> Responses:
        yield ready()
        yield ack(door.take(next(requests)))
        door.take(next(requests))
        context.abort(grpc.StatusCode.UNAVAILABLE, "the script says so")

    frames = some_frames()[:4]
    with serving(break_after_two) as door:
        answers = send(door, frames)
    assert door.opens == [0, 1]
    assert [request.batch_seq for request in door.batches] == [1, 2, 2, 3, 4]
    assert [answer.batch.number for answer in answers] == [0, 1, 2, 3]
    assert answers[1].resent == frames[1].hits
    assert answers[0].resent == 0


def test_go_away_is_obeyed_and_the_rest_goes_to_another_call() -> None:
    def go_away(door: Door, requests: Requests, context: grpc.ServicerContext) -> Responses:
        yield ready()
        last = door.take(next(requests))
        yield pb.StreamHitsResponse(go_away=pb.GoAway(reason="stopping"))
        for request in requests:
            last = door.take(request)
        yield ack(last)

    with serving(go_away) as door:
        answers = send(door, some_frames()[:6])
    assert [request.batch_seq for request in door.batches] == [1, 2, 3, 4, 5, 6]
    assert sum(answer.resent for answer in answers) == 0


def test_silent_call_is_broken_off_and_made_again() -> None:
    def silent(door: Door, requests: Requests, context: grpc.ServicerContext) -> Responses:
        yield ready()
        for request in requests:
            door.take(request)

    with serving(silent) as door:
        answers = send(door, some_frames()[:2])
    assert len(answers) == 2
    assert len(door.opens) == 2


def test_unacknowledged_bytes_stay_within_the_credit() -> None:
    frames = some_frames()
    room = 3 * max(len(frame.content) for frame in frames)
    most: list[int] = []

    def stingy(door: Door, requests: Requests, context: grpc.ServicerContext) -> Responses:
        yield ready(credit_bytes=room)
        held: list[pb.StreamHitsRequest] = []
        for request in requests:
            door.take(request)
            held.append(request)
            most.append(sum(message.ByteSize() for message in held))
            if len(held) == 2:
                yield ack(request.batch.batch_seq)
                yield credit(sum(message.ByteSize() for message in held))
                held.clear()
        if held:
            yield ack(held[-1].batch.batch_seq)

    with serving(stingy) as door:
        assert len(send(door, frames)) == len(frames)
    assert max(most) <= room


def test_frame_larger_than_all_credit_goes_alone() -> None:
    def tiny(door: Door, requests: Requests, context: grpc.ServicerContext) -> Responses:
        yield ready(credit_bytes=10)
        for request in requests:
            yield ack(door.take(request))

    with serving(tiny) as door:
        assert len(send(door, some_frames()[:3])) == 3


def test_refused_hits_are_counted_and_those_refused_for_now_go_again() -> None:
    def picky(door: Door, requests: Requests, context: grpc.ServicerContext) -> Responses:
        yield ready()
        number = door.take(next(requests))
        yield ack(
            number,
            issue(number, 0, pb.OUTCOME_REJECTED),
            issue(number, 3, pb.OUTCOME_RETRY, pb.REASON_LOG_FULL),
            issue(number, 4, pb.OUTCOME_RETRY, pb.REASON_LOG_FULL),
        )
        for request in requests:
            yield ack(door.take(request))

    frames = some_frames()[:1]
    with serving(picky) as door:
        answers = send(door, frames)
    assert [(answer.accepted, answer.rejected) for answer in answers] == [(7, 1), (2, 0)]
    assert [issue.message for issue in answers[0].refusals] == ["because"]
    again = door.batches[1].batch
    assert list(again.hits) == [door.batches[0].batch.hits[index] for index in (3, 4)]
    assert again.batch_id != door.batches[0].batch.batch_id


def test_collector_that_never_takes_anything_ends_the_stream() -> None:
    def broken(door: Door, requests: Requests, context: grpc.ServicerContext) -> Responses:
        context.abort(grpc.StatusCode.UNAVAILABLE, "the script says so")
        yield ready()

    with serving(*[broken] * 10) as door, pytest.raises(SendStopped, match="the script says so"):
        send(door, some_frames()[:1])
    assert len(door.opens) == IMPATIENT.attempts + 1


def test_frame_that_is_never_taken_ends_the_stream_with_the_last_message() -> None:
    def full(door: Door, requests: Requests, context: grpc.ServicerContext) -> Responses:
        yield ready()
        for request in requests:
            number = door.take(request)
            yield ack(number, issue(number, None, pb.OUTCOME_RETRY, pb.REASON_LOG_FULL))
            yield credit(request.ByteSize())

    with serving(full) as door, pytest.raises(SendStopped, match="did not accept a frame in 3 attempts: because"):
        send(door, some_frames()[:1])
    assert len(door.batches) == 3


def test_answer_that_would_not_change_ends_the_stream_at_once() -> None:
    def refuse(door: Door, requests: Requests, context: grpc.ServicerContext) -> Responses:
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the script says so")
        yield ready()

    with serving(refuse) as door, pytest.raises(grpc.RpcError):
        send(door, some_frames()[:1])
    assert len(door.opens) == 1


# --------------------------------------------------------------------------------------------------------- the loop


@dataclass
class Held:
    """A server that sends no acks until the test releases them."""

    release: threading.Event = field(default_factory=threading.Event)

    def script(self, door: Door, requests: Requests, context: grpc.ServicerContext) -> Responses:
        yield ready()
        taken = threading.Event()

        def read() -> None:
            for request in requests:
                door.take(request)
            taken.set()

        threading.Thread(target=read, daemon=True).start()
        self.release.wait(patient(10))
        acked = 0
        while not (taken.is_set() and acked == len(door.batches)):
            if len(door.batches) > acked:
                size = sum(batch.ByteSize() + 16 for batch in door.batches[acked:])
                acked = len(door.batches)
                yield ack(acked)
                yield credit(size)
            taken.wait(0.01)


def offer(door: Door, frames: list[Frame], **options: int) -> tuple[OpenLoop, Tally, Expected, FrameStream]:
    start_s = time.monotonic()
    tally, expected = Tally(start_s), Expected()
    stream = FrameStream(door.endpoint, lambda answer: tally.answer(answer, time.monotonic()), IMPATIENT)
    stream.start()
    loop = OpenLoop(frames, [stream], start_s=start_s, expected=expected, tally=tally, **options)
    loop.start()
    return loop, tally, expected, stream


def test_loop_keeps_its_schedule_while_nothing_is_acknowledged_and_the_wait_is_latency() -> None:
    frames = some_frames()
    held = Held()
    with serving(held.script) as door:
        began_s = time.monotonic()
        loop, tally, expected, stream = offer(door, frames)
        assert loop.wait(patient(10))
        # All frames were sent on time, the last 0.995 s after the start. No frame had been answered.
        assert time.monotonic() - began_s < 3
        assert tally.progress.offered == 200
        assert tally.progress.acknowledged == 0
        assert sorted(tally.delays_s)[len(frames) // 2] < 0.1
        held.release.set()
        assert stream.wait(patient(10))
        stream.close()
    assert tally.progress.acknowledged == 200
    # The first frame was due 0.045 s after the start, but was acknowledged only after the last frame was due.
    assert tally.latencies_s[0] > 0.9
    assert expected.is_complete


def test_frames_beyond_what_may_wait_are_left_out_and_counted() -> None:
    frames = some_frames()
    held = Held()

    def no_credit(door: Door, requests: Requests, context: grpc.ServicerContext) -> Responses:
        held.release.wait(patient(10))
        yield from take_everything(door, requests, context)

    bound = sum(len(frame.content) for frame in frames[:5])
    with serving(no_credit) as door:
        loop, tally, expected, stream = offer(door, frames, max_waiting_bytes=bound)
        assert loop.wait(patient(10))
        assert stream.waiting_bytes <= bound
        held.release.set()
        assert stream.wait(patient(10))
        stream.close()
    counted = tally.progress
    assert counted.offered == 200
    assert counted.acknowledged + counted.shed == 200
    assert 40 <= counted.acknowledged <= 60
    assert not expected.is_complete


def test_failure_of_the_source_of_frames_is_reported() -> None:
    def broken() -> Iterator[Frame]:
        yield some_frames()[0]
        raise ValueError("no more")

    tally = Tally(time.monotonic())
    loop = OpenLoop(broken(), [], start_s=time.monotonic() - 1, expected=Expected(), tally=tally)
    loop.stop()
    loop.start()
    assert loop.wait(patient(5))
    with serving() as door:
        stream = FrameStream(door.endpoint, lambda answer: None)
        stream.start()
        loop = OpenLoop(broken(), [stream], start_s=time.monotonic() - 1, expected=Expected(), tally=tally)
        loop.start()
        assert loop.wait(patient(5))
        stream.close()
    assert isinstance(loop.failure, ValueError)


def test_tally_knows_the_last_record_of_each_partition() -> None:
    tally = Tally(0.0)
    frames = some_frames()
    for site, partition, offset in ((0, 1, 5), (1, 1, 9), (1, 2, 3)):
        frame = frames[0]._replace(site=site)
        receipt = pb.Receipt(topic="hits", log="l", partition=partition, offset=offset)
        tally.answer(Settled(frame, 1, 0, resent=0, attempts=1, refusals=[], receipts=[receipt], given_up=""), 1.0)
    assert tally.last_of_partitions() == {1: {("l", 1): 9, ("l", 2): 3}}
    assert tally.offsets[0] == {("l", 1): 5}
