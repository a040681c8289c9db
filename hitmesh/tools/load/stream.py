"""A sender of encoded frames over consecutive StreamHits calls (contract, Collector 1 to 4).

Decides the numbering, the frames in flight, and what to send again after a broken call. Frames queue here while the
collector gives no credit; `submit` never blocks. Knows nothing of when frames are due and what they contain.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import grpc

from hitmesh.api.collector.v1 import collector_pb2
from hitmesh.api.hit.v1 import hit_pb2
from hitmesh.client.batches import part_of
from hitmesh.client.sender import RETRYABLE, WHOLE_BATCH, Patience, SendStopped
from hitmesh.tools.load.encoding import sequenced
from hitmesh.tools.load.traffic import Frame

PATIENCE: Final = Patience()
STREAM_HITS: Final = "/hitmesh.api.collector.v1.CollectorService/StreamHits"


@dataclass(slots=True)
class Outgoing:
    """A frame that is queued or in flight.

    `resent` counts hits sent again because a call broke before their acknowledgement. `not_before_s` is the monotonic
    time from which a frame with a RETRY issue may be sent again.
    """

    frame: Frame
    batch_seq: int = 0
    resent: int = 0
    attempts: int = 1
    not_before_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Answer:
    """The outcome of a frame: accepted and rejected hits, the first refusal, and the receipts."""

    sent: Outgoing
    accepted: int
    rejected: int
    refusal: str
    receipts: Sequence[collector_pb2.Receipt]


Answered = Callable[[Answer], None]


class FrameStream:
    """Frames in, answers out, over a separate connection. Thread-safe."""

    def __init__(self, endpoint: str, answered: Answered, patience: Patience = PATIENCE) -> None:
        self._answered = answered
        self._patience = patience
        self._changed = threading.Condition()
        self._waiting: deque[Outgoing] = deque()
        self._unacked: deque[Outgoing] = deque()
        self._refused: list[Outgoing] = []
        self._waiting_bytes = 0
        self._acked_through = 0
        self._next_seq = 1
        self._room = 0
        self._credit = 0
        self._life = 0
        self._draining = False
        self._closing = False
        self._progressed = False
        self._active_at_s = time.monotonic()
        self._call: grpc.Call | None = None
        self.failure: Exception | None = None
        self._channel = grpc.insecure_channel(
            endpoint, options=(("grpc.use_local_subchannel_pool", 1), ("grpc.keepalive_time_ms", 20_000))
        )
        self._thread = threading.Thread(target=self._live, name="load-stream", daemon=True)

    def start(self) -> None:
        """Start the thread, which opens the first call."""
        self._thread.start()

    @property
    def waiting_bytes(self) -> int:
        """Bytes of frames that wait for credit."""
        return self._waiting_bytes

    def submit(self, frame: Frame) -> None:
        """Queue a frame, to be sent as soon as there is credit. Never blocks."""
        with self._changed:
            self._waiting.append(Outgoing(frame))
            self._waiting_bytes += len(frame.content)
            self._changed.notify_all()

    def finish(self) -> None:
        """Announce that no frame will follow: the stream ends when every frame is acknowledged."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()

    def wait(self, timeout_s: float) -> bool:
        """Wait up to `timeout_s`; return whether the stream has ended, successfully or with `failure`."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def close(self) -> None:
        """Drop all frames and close the connection."""
        with self._changed:
            self._closing = True
            self._waiting.clear()
            self._unacked.clear()
            self._refused.clear()
            self._changed.notify_all()
        self._channel.close()

    def look_after(self) -> None:
        """Requeue frames whose retry is due, and cancel a silent call. Call about once a second."""
        with self._changed:
            now_s = time.monotonic()
            due = [sent for sent in self._refused if sent.not_before_s <= now_s]
            self._refused = [sent for sent in self._refused if sent.not_before_s > now_s]
            for sent in due:
                self._waiting.append(sent)
                self._waiting_bytes += len(sent.frame.content)
            if due:
                self._changed.notify_all()
            if self._unacked and now_s - self._active_at_s > self._patience.stall_s and self._call is not None:
                self._active_at_s = now_s
                self._call.cancel()

    # The stream's own thread.

    def _live(self) -> None:
        failures = 0
        while True:
            error = self._one_call()
            failures = 0 if self._progressed else failures + 1
            with self._changed:
                self._take_back()
                if self.failure is not None or (self._closing and not (self._waiting or self._refused)):
                    return
                if error is not None and error.code() not in RETRYABLE:
                    self.failure = error
                elif failures > self._patience.attempts:
                    why = f": {error.details()}" if error is not None else ""
                    self.failure = SendStopped(f"{failures} streams in a row brought no acknowledgement{why}")
                if self.failure is not None:
                    return
                if failures:
                    self._changed.wait_for(lambda: self._closing, self._patience.delay_s(failures))

    def _one_call(self) -> grpc.RpcError | None:
        """Make a call and follow the call to its end; return why the call broke, or None."""
        with self._changed:
            self._life += 1
            self._room = self._credit = 0
            self._draining = self._progressed = False
            self._next_seq = self._acked_through + 1
            self._active_at_s = time.monotonic()
            life = self._life
        stream_hits: grpc.StreamStreamMultiCallable[bytes, collector_pb2.StreamHitsResponse] = (
            self._channel.stream_stream(STREAM_HITS, None, collector_pb2.StreamHitsResponse.FromString)
        )
        try:
            call = stream_hits(self._requests(life))
            self._call = call
            for response in call:
                self._responded(response)
        except grpc.RpcError as error:
            return error
        except ValueError:  # the channel was closed
            return None
        return None

    def _take_back(self) -> None:
        """Requeue unacknowledged frames first; the request iterator of the ended call stops."""
        self._life += 1
        self._call = None
        for sent in reversed(self._unacked):
            sent.resent += sent.frame.hits
            self._waiting.appendleft(sent)
            self._waiting_bytes += len(sent.frame.content)
        self._unacked.clear()
        self._changed.notify_all()

    def _requests(self, life: int) -> Iterator[bytes]:
        opening = collector_pb2.StreamOpen(resume_from=self._acked_through)
        yield collector_pb2.StreamHitsRequest(open=opening).SerializeToString()
        while (message := self._next_message(life)) is not None:
            yield message

    def _next_message(self, life: int) -> bytes | None:
        """Wait for a frame with credit; return None when this call sends no more."""
        with self._changed:
            self._changed.wait_for(lambda: self._may_go(life))
            if self._life != life or self._draining or not self._waiting:
                return None
            sent = self._waiting.popleft()
            self._waiting_bytes -= len(sent.frame.content)
            message = sequenced(self._next_seq, sent.frame.content)
            sent.batch_seq = self._next_seq
            self._next_seq += 1
            self._room -= len(message)
            if not self._unacked:
                self._active_at_s = time.monotonic()
            self._unacked.append(sent)
            return message

    def _may_go(self, life: int) -> bool:
        if self._life != life or self._draining:
            return True
        if not self._waiting:
            # Half-close only when no frame can come back for a retry.
            return self._closing and not (self._unacked or self._refused)
        # A frame larger than all credit is sent alone.
        size = len(sequenced(self._next_seq, b"")) + 8 + len(self._waiting[0].frame.content)
        return self._credit > 0 and (self._room >= size or not self._unacked)

    # Responses, in the same thread as `_live`.

    def _responded(self, response: collector_pb2.StreamHitsResponse) -> None:
        answers: list[Answer] = []
        with self._changed:
            self._active_at_s = time.monotonic()
            match response.WhichOneof("kind"):
                case "ready":
                    self._room = self._credit = response.ready.credit_bytes
                case "credit":
                    self._room += response.credit.bytes
                case "ack":
                    answers = self._acknowledge(response.ack)
                case "go_away":
                    self._draining = True
            self._changed.notify_all()
        for answer in answers:
            self._answered(answer)

    def _acknowledge(self, ack: collector_pb2.Ack) -> list[Answer]:
        issues: dict[int, list[collector_pb2.HitIssue]] = {}
        for issue in ack.issues:
            issues.setdefault(issue.batch_seq, []).append(issue)
        receipts: dict[int, list[collector_pb2.Receipt]] = {}
        for receipt in ack.receipts:
            receipts.setdefault(receipt.batch_seq, []).append(receipt)
        answers = []
        while self._unacked and self._unacked[0].batch_seq <= ack.acked_through:
            sent = self._unacked.popleft()
            self._progressed = True
            self._acked_through = sent.batch_seq
            answers.append(self._settle(sent, issues.get(sent.batch_seq, ()), receipts.get(sent.batch_seq, ())))
        return answers

    def _settle(
        self, sent: Outgoing, issues: Sequence[collector_pb2.HitIssue], receipts: Sequence[collector_pb2.Receipt]
    ) -> Answer:
        """Return the outcome of a frame, and schedule the hits that must be sent again."""
        rejected: set[int] = set()
        again: set[int] = set()
        refusal = ""
        delay_s = 0.0
        for issue in issues:
            indexes = range(sent.frame.hits) if issue.index == WHOLE_BATCH else (issue.index,)
            if issue.outcome == collector_pb2.OUTCOME_REJECTED:
                rejected.update(indexes)
                refusal = refusal or f"{collector_pb2.Reason.Name(issue.reason)}: {issue.message}"
            elif issue.outcome == collector_pb2.OUTCOME_RETRY:
                again.update(indexes)
                delay_s = max(delay_s, issue.retry_delay.ToMilliseconds() / 1_000)
        again -= rejected
        if again:
            self._put_off(sent, sorted(again), delay_s, issues[-1].message)
        accepted = sent.frame.hits - len(rejected) - len(again)
        return Answer(sent, accepted, len(rejected), refusal, receipts)

    def _put_off(self, sent: Outgoing, indexes: Sequence[int], delay_s: float, message: str) -> None:
        if sent.attempts >= self._patience.attempts:
            self.failure = SendStopped(f"the collector did not take a frame in {sent.attempts} attempts: {message}")
            if self._call is not None:
                self._call.cancel()
            return
        # The id contains the attempt, even if the whole frame is sent again: two answers to the same id would be
        # ambiguous.
        part = part_of(hit_pb2.HitBatch.FromString(sent.frame.content), indexes, sent.attempts)
        frame = sent.frame._replace(hits=len(indexes), content=part.SerializeToString())
        due_s = time.monotonic() + max(delay_s, self._patience.first_s)
        self._refused.append(Outgoing(frame, attempts=sent.attempts + 1, not_before_s=due_s))
