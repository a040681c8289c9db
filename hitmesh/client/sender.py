"""Sends batches of hits over StreamHits until each is durable, refused or given up (contract, Collector 1 to 4).

Decides the batch numbers, the batches in flight, the batches to send again, and when to stop trying. A batch that was
unacknowledged when a stream broke is sent again with the same batch_id. Its hits may be stored twice, because the first
send may have become durable: the mesh counts copies of a hit once.
"""

from __future__ import annotations

import heapq
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Final, NamedTuple

import grpc

from hitmesh.api.collector.v1 import collector_pb2
from hitmesh.api.hit.v1 import hit_pb2
from hitmesh.client.batches import part_of
from hitmesh.client.mesh import Mesh
from hitmesh.client.stream import OpenStream
from hitmesh.model.errors import Unavailable
from hitmesh.model.reasons import LocalReason

HITS_TOPIC: Final = "hits"
WHOLE_BATCH: Final = -1
MAX_EXAMPLES: Final = 5
CLOSE_TIMEOUT_S: Final = 5.0
# Caused by proxies and restarts; any other status would come again on every attempt.
RETRYABLE: Final = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.DEADLINE_EXCEEDED,
    }
)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to go on without progress.

    The sender stops after `attempts` failed streams in a row, or after `attempts` sends of a batch without success.
    Once a batch was acknowledged, a mesh is known to exist: then up to `reconnects` streams in a row may fail. The
    pause between streams is `first_s`, doubling up to `max_s`. A stream that owes an answer and is silent for `stall_s`
    is cancelled.
    """

    attempts: int = 8
    reconnects: int = 0
    first_s: float = 0.25
    max_s: float = 5.0
    stall_s: float = 60.0

    def delay_s(self, failures: int) -> float:
        """Return the pause in seconds after `failures` failures in a row, at least one."""
        return min(self.max_s, self.first_s * 2.0 ** (max(failures, 1) - 1))


LASTING: Final = Patience(reconnects=30)
"""Outlasts a restart of the mesh: more than two minutes without a collector."""


class SendStopped(Unavailable):
    """No collector took the hits. Everything acknowledged before is durable; sending again is safe."""

    reason = LocalReason.SEND_STOPPED


class Refusal(NamedTuple):
    """A finally refused hit, for display. `hit_id` is "" for a batch refused whole."""

    hit_id: str
    reason: str
    message: str


@dataclass(slots=True)
class SendTotals:
    """The outcome of the hits so far. `accepted + rejected == sent` after `drain`.

    `resent` counts hits that were sent more than once because a stream broke. `offsets` has the highest acknowledged
    offset per (log, partition).
    """

    sent: int = 0
    accepted: int = 0
    rejected: int = 0
    resent: int = 0
    examples: list[Refusal] = field(default_factory=list)
    offsets: dict[tuple[str, int], int] = field(default_factory=dict)


@dataclass(slots=True)
class _Batch:
    batch: hit_pb2.HitBatch
    attempts: int = 1


class HitSender:
    """Sends batches for one site. Confined to one thread; use the sender in a `with`, which closes the stream."""

    def __init__(
        self,
        mesh: Mesh,
        site: str,
        *,
        patience: Patience = LASTING,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._mesh = mesh
        self._site = site
        self._patience = patience
        self._clock_s = clock_s
        self._changed = threading.Condition()
        self._stream: OpenStream | None = None
        self._waiting: deque[_Batch] = deque()
        self._unacked: dict[int, _Batch] = {}
        self._retries: list[tuple[float, int, _Batch]] = []
        self._tie = count()
        self._acked_through = 0
        self._issues: dict[int, list[collector_pb2.HitIssue]] = {}
        self._failures = 0
        self._given_up: SendStopped | None = None
        self._totals = SendTotals()

    def __enter__(self) -> HitSender:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.close(broken=kind is not None)

    @property
    def totals(self) -> SendTotals:
        """The outcome of the hits so far; a copy."""
        with self._changed:
            kept = self._totals
            return replace(kept, examples=list(kept.examples), offsets=dict(kept.offsets))

    def submit(self, batch: hit_pb2.HitBatch) -> None:
        """Send a batch; block until the collector has given enough credit.

        Raises:
            SendStopped: no collector takes hits.
            grpc.RpcError: the collector refuses the stream for good.
        """
        with self._changed:
            self._totals.sent += len(batch.hits)
            self._waiting.append(_Batch(batch))
        self._run_until(lambda: not self._waiting)

    def drain(self) -> None:
        """Block until all submitted batches are durable or refused; raise like `submit`."""
        self._run_until(lambda: not (self._waiting or self._unacked or self._retries))

    def close(self, *, broken: bool = False) -> None:
        """End the stream without waiting for undrained batches. A second call changes nothing."""
        stream, self._stream = self._stream, None
        if stream is None or stream.ended:
            return
        if not broken:
            stream.half_close()
            with self._changed:
                self._changed.wait_for(lambda: stream.ended, CLOSE_TIMEOUT_S)
        if not stream.ended:
            stream.cancel()

    def _run_until(self, done: Callable[[], bool]) -> None:
        while True:
            with self._changed:
                if self._given_up is not None:
                    raise self._given_up
                if done():
                    return
                stream = self._stream
                if stream is not None and not stream.ended:
                    self._send_within_credit(stream)
                    if done():
                        return
                    self._changed.wait(self._pause_s(stream))
                    self._break_off_when_silent(stream)
                    continue
            self._reopen(stream)

    # The stream's life; runs in the caller's thread.

    def _reopen(self, ended: OpenStream | None) -> None:
        """Open a stream after the last acknowledged batch; pause first if the previous stream made no progress."""
        if ended is not None:
            self._take_back(ended)
            if self._failures:
                time.sleep(self._patience.delay_s(self._failures))
        with self._changed:
            stream = OpenStream(self._mesh, self._site, self._acked_through, self._clock_s())
            self._stream = stream
        stream.start(self._responded, self._ended)

    def _take_back(self, ended: OpenStream) -> None:
        """Put the stream's unacknowledged batches back at the head of the queue."""
        with self._changed:
            self._stream = None
            self._totals.resent += sum(len(sent.batch.hits) for sent in self._unacked.values())
            self._waiting.extendleft(reversed(self._unacked.values()))
            self._unacked.clear()
            self._issues.clear()
            self._failures = 0 if ended.progressed else self._failures + 1
        if ended.error is not None and ended.error.code() not in RETRYABLE:
            raise ended.error
        patience = self._patience
        allowed = max(patience.attempts, patience.reconnects) if self._acked_through else patience.attempts
        if self._failures > allowed:
            why = f": {ended.error.details()}" if ended.error is not None else ""
            raise SendStopped(
                f"no collector took a hit in {self._failures} attempts{why}; acknowledged hits are kept, "
                "run the same command again when the mesh is back"
            ) from ended.error

    def _send_within_credit(self, stream: OpenStream) -> None:
        now_s = self._clock_s()
        while self._retries and self._retries[0][0] <= now_s:
            self._waiting.append(heapq.heappop(self._retries)[2])
        while self._waiting and stream.ready and not stream.going_away:
            batch_seq = self._acked_through + len(self._unacked) + 1
            sequenced = collector_pb2.SequencedBatch(batch_seq=batch_seq, batch=self._waiting[0].batch)
            sequenced.batch.client_send_time.GetCurrentTime()
            request = collector_pb2.StreamHitsRequest(batch=sequenced)
            size = request.ByteSize()
            # A batch beyond all credit goes alone: the collector takes it when nothing else is in flight.
            alone = not self._unacked and size > stream.credit_bytes
            if size > stream.room_bytes and not alone:
                return
            self._unacked[batch_seq] = self._waiting.popleft()
            stream.room_bytes -= size
            if len(self._unacked) == 1:
                stream.active_at_s = now_s
            stream.put(request)

    def _pause_s(self, stream: OpenStream) -> float:
        now_s = self._clock_s()
        wakes_s = [now_s + 1.0, stream.active_at_s + self._patience.stall_s]
        if stream.patience_ends_s is not None:
            wakes_s.append(stream.patience_ends_s)
        if self._retries:
            wakes_s.append(self._retries[0][0])
        return max(0.001, min(wakes_s) - now_s)

    def _break_off_when_silent(self, stream: OpenStream) -> None:
        now_s = self._clock_s()
        owes = bool(self._unacked) or not stream.ready
        stalled = owes and now_s >= stream.active_at_s + self._patience.stall_s
        overdue = stream.patience_ends_s is not None and now_s >= stream.patience_ends_s
        if (stalled or overdue) and not stream.ended:
            stream.active_at_s = now_s
            stream.cancel()

    # Responses from the collector; runs in the reader's thread.

    def _responded(self, stream: OpenStream, response: collector_pb2.StreamHitsResponse) -> None:
        with self._changed:
            if stream is not self._stream:
                return
            stream.active_at_s = self._clock_s()
            match response.WhichOneof("kind"):
                case "ready":
                    stream.ready = True
                    stream.credit_bytes = stream.room_bytes = response.ready.credit_bytes
                case "ack":
                    self._acknowledge(stream, response.ack)
                case "credit":
                    stream.room_bytes += response.credit.bytes
                case "go_away":
                    stream.going_away = True
                    drain_s = response.go_away.drain.ToMilliseconds() / 1000
                    stream.patience_ends_s = stream.active_at_s + drain_s + CLOSE_TIMEOUT_S
                    stream.half_close()
            self._changed.notify_all()

    def _ended(self, stream: OpenStream, error: grpc.RpcError | None) -> None:
        with self._changed:
            stream.ended = True
            stream.error = error
            self._changed.notify_all()

    def _acknowledge(self, stream: OpenStream, ack: collector_pb2.Ack) -> None:
        for receipt in ack.receipts:
            if receipt.topic == HITS_TOPIC:
                place = (receipt.log, receipt.partition)
                self._totals.offsets[place] = max(self._totals.offsets.get(place, -1), receipt.offset)
        for issue in ack.issues:  # a batch with very many issues sends some before its ack
            self._issues.setdefault(issue.batch_seq, []).append(issue)
        for batch_seq in [batch_seq for batch_seq in self._unacked if batch_seq <= ack.acked_through]:
            stream.progressed = True
            self._acked_through = batch_seq
            self._settle(self._unacked.pop(batch_seq), self._issues.pop(batch_seq, []))

    def _settle(self, acked: _Batch, issues: list[collector_pb2.HitIssue]) -> None:
        """Count the hits of an acknowledged batch, and queue the hits to retry."""
        everything = range(len(acked.batch.hits))
        rejected: set[int] = set()
        again: set[int] = set()
        delay_s = 0.0
        for issue in issues:
            indexes = everything if issue.index == WHOLE_BATCH else (issue.index,)
            if issue.outcome == collector_pb2.OUTCOME_REJECTED:
                rejected.update(indexes)
                self._note(issue)
            elif issue.outcome == collector_pb2.OUTCOME_RETRY:
                again.update(indexes)
                delay_s = max(delay_s, issue.retry_delay.ToMilliseconds() / 1000)
        again -= rejected
        self._totals.rejected += len(rejected)
        self._totals.accepted += len(everything) - len(rejected) - len(again)
        if again:
            self._retry(acked, sorted(again), delay_s, issues[-1].message)

    def _retry(self, acked: _Batch, indexes: list[int], delay_s: float, message: str) -> None:
        if acked.attempts >= self._patience.attempts:
            self._given_up = SendStopped(
                f"the collector did not take a batch in {acked.attempts} attempts: {message}; "
                "run the same command again when the mesh is healthy"
            )
            return
        # A batch to retry as a whole keeps its id; a part becomes another batch.
        whole = len(indexes) == len(acked.batch.hits)
        batch = acked.batch if whole else part_of(acked.batch, indexes, acked.attempts)
        due_s = self._clock_s() + max(delay_s, self._patience.first_s)
        heapq.heappush(self._retries, (due_s, next(self._tie), _Batch(batch, acked.attempts + 1)))

    def _note(self, issue: collector_pb2.HitIssue) -> None:
        if len(self._totals.examples) < MAX_EXAMPLES:
            reason = collector_pb2.Reason.Name(issue.reason).removeprefix("REASON_")
            self._totals.examples.append(Refusal(issue.hit_id, reason, issue.message))
