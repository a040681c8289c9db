"""Sends batches of hits over StreamHits until each batch is durable or refused (collector.proto, StreamHits).

The send window decides when each batch is sent; this module opens the streams, waits, and counts the outcomes. If a
stream breaks, each unacknowledged batch is sent again with the same batch_id. The collector may already have stored the
batch, so hits may be stored twice. The mesh counts a hit once, however often the hit is stored.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

import grpc

from hitmesh.api.collector.v1 import collector_pb2
from hitmesh.api.hit.v1 import hit_pb2
from hitmesh.client.batches import OutgoingBatch, outgoing
from hitmesh.client.mesh import Mesh
from hitmesh.client.patience import LASTING, Backoff, Patience
from hitmesh.client.send_window import MAX_REFUSALS, SendWindow, Settled
from hitmesh.client.stream import OpenStream
from hitmesh.model.errors import Unavailable
from hitmesh.model.reasons import LocalReason

HITS_TOPIC: Final = "hits"
MAX_EXAMPLES: Final = 5
CLOSE_TIMEOUT_S: Final = 5.0
# Maximum total size of the batches that wait for a retry. Without a limit, the batches would fill the sender's memory
# if a collector asked for a retry of every batch.
MAX_PUT_OFF_BYTES: Final = 16 << 20
_LONGEST_WAIT_S: Final = 1.0
# Status codes that a proxy or a restart may cause, so that a new stream may succeed. After any other status, a new
# stream would fail in the same way.
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


class SendStopped(Unavailable):
    """The sender stopped, because no collector accepted the hits.

    All acknowledged hits are durable. The caller may send all hits again, because the mesh counts each hit once.
    """

    reason = LocalReason.SEND_STOPPED


class Refusal(NamedTuple):
    """A refused hit, for display. `hit_id` is "" if a whole batch was refused."""

    hit_id: str
    reason: str
    message: str


@dataclass(slots=True)
class SendTotals:
    """Counts of the hits that a sender has sent so far. After `drain`, `accepted + rejected == sent`.

    `resent` counts the hits that were sent again because a stream broke. `examples` has the first MAX_EXAMPLES
    refusals. `offsets` has the highest acknowledged offset per (log, partition).
    """

    sent: int = 0
    accepted: int = 0
    rejected: int = 0
    resent: int = 0
    examples: list[Refusal] = field(default_factory=list)
    offsets: dict[tuple[str, int], int] = field(default_factory=dict)


class HitSender:
    """Sends batches for a single site.

    Use the sender in a single thread, in a `with` statement, which closes the stream.

    Args:
        mesh: connection with an ingest key.
        site: full name of the site.
        patience: when to give up.
        on_settled: called with the outcome of each acknowledged batch, in another thread and under a lock, so the
            function must return at once.
        max_refusals: maximum number of refused hits in an outcome.
        validate_only: ask the collector to check the hits without storing them. If the collector cannot check hits
            without storing them, no batch is sent. The totals count hits that the collector would accept.
        clock_s: monotonic clock.
        randomly: returns a number in [0, 1).
    """

    def __init__(
        self,
        mesh: Mesh,
        site: str,
        *,
        patience: Patience = LASTING,
        on_settled: Callable[[Settled[OutgoingBatch]], None] = lambda settled: None,
        max_refusals: int = MAX_REFUSALS,
        validate_only: bool = False,
        clock_s: Callable[[], float] = time.monotonic,
        randomly: Callable[[], float] = random.random,
    ) -> None:
        self._mesh = mesh
        self._site = site
        self._validate_only = validate_only
        self._clock_s = clock_s
        self._changed = threading.Condition()
        self._stream: OpenStream | None = None
        self._on_settled = on_settled
        self._window: SendWindow[OutgoingBatch] = SendWindow(patience, max_refusals)
        self._backoff = Backoff(patience, randomly)
        self._given_up: SendStopped | None = None
        self._totals = SendTotals()

    def __enter__(self) -> HitSender:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.close(broken=kind is not None)

    @property
    def totals(self) -> SendTotals:
        """A copy of the counts of the hits that were sent so far."""
        with self._changed:
            kept = self._totals
            return replace(kept, examples=list(kept.examples), offsets=dict(kept.offsets))

    def submit(self, batch: hit_pb2.HitBatch) -> None:
        """Send a batch.

        Blocks until the batch is sent, and until at most MAX_PUT_OFF_BYTES of batches wait for a retry.

        Raises:
            SendStopped: too many streams in a row failed, or a batch was sent too often (see Patience).
            grpc.RpcError: a stream ended with a status that is not RETRYABLE.
        """
        window = self._window
        with self._changed:
            self._totals.sent += len(batch.hits)
            window.add(outgoing(batch))
        self._run_until(lambda: not window.is_waiting and window.queued_bytes <= MAX_PUT_OFF_BYTES)

    def drain(self) -> None:
        """Block until all submitted batches are durable or refused; raise the same errors as `submit`."""
        self._run_until(lambda: self._window.is_idle)

    def close(self, *, broken: bool = False) -> None:
        """End the stream without sending the batches that wait. A second call changes nothing.

        Wait up to CLOSE_TIMEOUT_S for the stream's end, or cancel the stream at once if `broken` is true.
        """
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
                    pause_s = min(self._window.wakes_at_s() - self._clock_s(), _LONGEST_WAIT_S)
                    self._changed.wait(max(0.001, pause_s))
                    if not stream.ended and self._window.break_off(self._clock_s()):
                        stream.cancel()
                    continue
            self._reopen(stream)

    # The following methods open and feed the stream; they run in the caller's thread.

    def _reopen(self, ended: OpenStream | None) -> None:
        """Open a stream that continues after the last acknowledged batch.

        If the previous stream acknowledged no batch, the function pauses first.
        """
        if ended is not None:
            self._stream = None
            self._backoff.ended(progressed=self._window.progressed)
            self._give_up_when_exhausted(ended.error)
            time.sleep(self._backoff.pause_s())
        with self._changed:
            resume_from = self._window.reopen(self._clock_s())
            stream = OpenStream(self._mesh, self._site, resume_from, validate_only=self._validate_only)
            self._stream = stream
        stream.start(self._responded, self._ended)

    def _give_up_when_exhausted(self, error: grpc.RpcError | None) -> None:
        if error is not None and error.code() not in RETRYABLE:
            raise error
        if self._backoff.is_exhausted:
            why = f": {error.details()}" if error is not None else ""
            raise SendStopped(
                f"no collector accepted a hit in {self._backoff.failures} attempts{why}; acknowledged hits are kept; "
                "run the same command again when the mesh is back"
            ) from error

    def _send_within_credit(self, stream: OpenStream) -> None:
        window, now_s = self._window, self._clock_s()
        while (head := window.head(now_s)) is not None:
            sequenced = collector_pb2.SequencedBatch(batch_seq=window.next_number, batch=head.batch)
            sequenced.batch.client_send_time.GetCurrentTime()
            request = collector_pb2.StreamHitsRequest(batch=sequenced)
            size = request.ByteSize()
            if not window.fits(size):
                return
            window.take(size, now_s)
            stream.put(request)

    # The following methods handle responses; they run in the reader thread of the stream.

    def _responded(self, stream: OpenStream, response: collector_pb2.StreamHitsResponse) -> None:
        with self._changed:
            if stream is not self._stream:
                return
            if response.HasField("ready") and self._validate_only and not response.ready.validate_only:
                self._given_up = SendStopped(
                    "the collector is older than this client and would store the hits, so nothing was sent: upgrade "
                    "the mesh"
                )
                self._changed.notify_all()
                return
            for settled in self._window.respond(response, self._clock_s()):
                self._count(settled)
                self._on_settled(settled)
            if response.HasField("go_away"):
                stream.half_close()
            self._changed.notify_all()

    def _ended(self, stream: OpenStream, error: grpc.RpcError | None) -> None:
        with self._changed:
            stream.ended = True
            stream.error = error
            self._changed.notify_all()

    def _count(self, settled: Settled[OutgoingBatch]) -> None:
        totals = self._totals
        totals.accepted += settled.accepted
        totals.rejected += settled.rejected
        totals.resent += settled.resent
        for receipt in settled.receipts:
            if receipt.topic == HITS_TOPIC:
                place = (receipt.log, receipt.partition)
                totals.offsets[place] = max(totals.offsets.get(place, -1), receipt.offset)
        for issue in settled.refusals[: MAX_EXAMPLES - len(totals.examples)]:
            reason = collector_pb2.Reason.Name(issue.reason).removeprefix("REASON_")
            totals.examples.append(Refusal(issue.hit_id, reason, issue.message))
        if settled.given_up:
            self._given_up = SendStopped(
                f"the collector did not accept a batch in {settled.attempts} attempts: {settled.given_up}; "
                "run the same command again when the mesh is healthy"
            )
