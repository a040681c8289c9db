"""An open stream. Reads batches as fast as credit allows. Sends acks when outcomes arrive (collector.proto).

Two threads share a stream. The reader thread blocks on the client's messages; the gRPC handler yields responses. A
condition variable guards all state.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import grpc

from collector.acks import acks, go_away_message
from collector.admission import Frame
from collector.admission.envelopes import hit_sizes, read_envelope
from collector.batch_identity import identity_of
from collector.batcher import MicroBatcher
from collector.budget import ByteBudget
from collector.frames import MAX_BATCH_SEQ, GarbageFrame, OpenFrame, read_stream_frame
from collector.gate import Gate
from collector.micro_batch import Waiting
from collector.outcome import BatchOutcome
from collector.peers import Peer
from collector.sequence import Sequence, Verdict
from collector.tracing import FrameSpans, end_frame
from collector.wire import is_sound
from hitmesh.api.collector.v1 import collector_pb2
from hitmesh.model.errors import HitmeshError, RefusedError, Unauthenticated
from hitmesh.model.reasons import ErrorReason
from hitmesh.ports import Clock
from hitmesh.runtime.logs import logger

MIN_CREDIT_BYTES = 1 << 20


class Age:
    """Limits the time for which a stream stays open.

    Without a limit, an old stream would never move to a collector that was added later.

    Args:
        max_s: age in seconds at which the client is asked to open another stream; None = never.
        drain_s: seconds that the client has to finish after it was asked.
    """

    def __init__(self, max_s: float | None, drain_s: float) -> None:
        self.drain_s = drain_s
        self.is_draining = False
        self._ends = None if max_s is None else time.monotonic() + max_s

    @property
    def left_s(self) -> float | None:
        """Seconds until the client must be asked to open another stream, or None if there is no limit.

        After the client was asked to open another stream, return the seconds until this stream must end.
        """
        return None if self._ends is None else max(0.0, self._ends - time.monotonic())

    def begin_drain(self) -> None:
        """Record that the client was asked to move to another stream. From now on, the client has `drain_s` seconds."""
        self.is_draining = True
        self._ends = time.monotonic() + self.drain_s


class HitStream:
    """A client's stream: the message `open`, followed by batches until the stream ends.

    Args:
        peer: the client. Its key applies if `open` has no key.
        gate: refuses batches of senders whose budget of refused work is exhausted.
        credit_bytes: maximum number of unacknowledged bytes.
        batcher: admits the batches.
        budget: byte budget shared by all streams and calls.
        clock: source of a batch's receipt time.
        age: how long the stream may stay open.
    """

    def __init__(
        self,
        *,
        peer: Peer,
        gate: Gate,
        credit_bytes: int,
        batcher: MicroBatcher,
        budget: ByteBudget,
        clock: Clock,
        age: Age | None = None,
    ) -> None:
        self._credit_bytes = credit_bytes
        self._key = ""
        self.validate_only = False
        self.peer = peer
        self._spans = FrameSpans(batcher.traces, peer.trace)
        self._gate = gate
        self._proved: Callable[[str], None] | None = None
        self._prove_by_s: float | None = None
        self._first: OpenFrame | RefusedError | None = None
        self._is_accepted = False
        self._batcher = batcher
        self._budget = budget
        self._clock = clock
        self._changed = threading.Condition()
        self._sequence = Sequence(0)
        self._reader_done = False
        self._failure: HitmeshError | None = None
        self._go_away: collector_pb2.GoAway | None = None
        self._ended = False
        self._age = age or Age(None, 0.0)

    def opened(self, timeout_s: float) -> OpenFrame:
        """Wait for the first message from `read`, and return the message.

        Raises:
            HitmeshError: no message came in time, the message was not `open`, or the stream was ended to make room for
            another stream.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._first or self._ended or self._reader_done, timeout_s)
            if self._failure is not None:
                raise self._failure
            if isinstance(self._first, OpenFrame):
                _check_number("open.resume_from", self._first.resume_from)
                return self._first
        raise self._first or RefusedError(
            f"no `open` arrived within {timeout_s:g} s: the first message of a stream must be StreamOpen",
            field="open",
            timeout_s=timeout_s,
        )

    def accept(self, opened: OpenFrame, *, prove_within_s: float, proved: Callable[[str], None]) -> None:
        """Accept batches from now on.

        Args:
            opened: the first message. If neither `opened` nor `peer` has a key, a batch with a known key must arrive
                within `prove_within_s`.
            prove_within_s: seconds within which that batch must arrive.
            proved: called with the known key, in the reader's thread. If `proved` raises HitmeshError, the stream ends.
        """
        with self._changed:
            if opened.max_inflight_bytes is not None:
                self._credit_bytes = min(max(opened.max_inflight_bytes, MIN_CREDIT_BYTES), self._credit_bytes)
            self._key = opened.ingest_key or self.peer.key
            self.validate_only = opened.validate_only
            self._sequence = Sequence(opened.resume_from)
            if not self._key:
                self._proved, self._prove_by_s = proved, time.monotonic() + prove_within_s
                self._prove_within_s = prove_within_s
            self._is_accepted = True
            self._changed.notify_all()

    def read(self, messages: Iterator[bytes]) -> None:
        """Read messages until the client half-closes the stream or disconnects, or until a message breaks the protocol.

        Must be called in the reader thread.
        """
        try:
            first = next(messages, None)
            with self._changed:
                self._first = _as_open(first)
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._is_accepted or self._ended)
            for message in messages:
                if self._ended:
                    return
                self._arrived(message)
        except HitmeshError as error:
            self._failure = error
        except grpc.RpcError:
            pass  # the client disconnected; it must send unacknowledged batches again
        except BaseException as error:  # a Rust panic is a BaseException, not an Exception
            self._failure = HitmeshError(
                "the server failed: report this to the operator; the cause is in the server's log"
            )
            logger().exception("stream_reader_failed", error=type(error).__name__)
        finally:
            with self._changed:
                self._reader_done = True
                self._changed.notify_all()

    def responses(self) -> Iterator[collector_pb2.StreamHitsResponse]:
        """Yield `ready`, then acks and the credit that each ack frees.

        End when every batch that was read is acknowledged.

        Raises:
            HitmeshError: reading failed, for example because a batch number was out of sequence. All good batches
                before the error are acknowledged first. The stream ends early if no known key arrives in time, or if
                another stream needs its slot. The client must then send the unacknowledged batches again.
        """
        ready = collector_pb2.StreamReady(
            acked_through=self._sequence.acked_through,
            credit_bytes=self._credit_bytes,
            validate_only=self.validate_only,
        )
        yield collector_pb2.StreamHitsResponse(ready=ready)
        while True:
            with self._changed:
                self._changed.wait_for(self._has_message, self._patience_s())
                self._grow_old()
                self._miss_proof()
                before, progress = self._sequence.acked_through, self._sequence.progress()
                if progress is not None:
                    self._changed.notify_all()  # the reader may be waiting for the freed credit
                go_away, self._go_away = self._go_away, None
                over = self._ended or (self._reader_done and self._sequence.idle)
            if progress is not None:
                for ack in acks(before, progress):
                    yield collector_pb2.StreamHitsResponse(ack=ack)
                if progress.freed_bytes:
                    credit = collector_pb2.Credit(bytes=progress.freed_bytes)
                    yield collector_pb2.StreamHitsResponse(credit=credit)
            if go_away is not None:
                yield collector_pb2.StreamHitsResponse(go_away=go_away)
            if over and progress is None:
                if self._failure is not None:
                    raise self._failure
                return

    def go_away(self, drain_s: float, reason: str) -> None:
        """Ask the client to send no new batch and to reopen the stream elsewhere."""
        with self._changed:
            self._go_away = go_away_message(drain_s, reason)
            self._changed.notify_all()

    def end(self) -> None:
        """End the stream immediately, because the client has disconnected or the time to drain is over."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def make_room(self, failure: HitmeshError) -> None:
        """End the stream with the given error, so that another stream can use its slot."""
        with self._changed:
            self._failure = self._failure or failure
            self._ended = True
            self._changed.notify_all()

    def _patience_s(self) -> float | None:
        """Return the number of seconds that the handler may wait for a message before it must check a deadline."""
        proof_s = None if self._prove_by_s is None else max(0.0, self._prove_by_s - time.monotonic())
        waits_s = [wait_s for wait_s in (self._age.left_s, proof_s) if wait_s is not None]
        return min(waits_s, default=None)

    def _miss_proof(self) -> None:
        """End a stream that has not shown a known key in time."""
        if self._prove_by_s is None or time.monotonic() < self._prove_by_s:
            return
        self._failure = self._failure or Unauthenticated(
            f"`open` has no ingest key, and no batch with a known key arrived within {self._prove_within_s:g} s: "
            "name the key in StreamOpen.ingest_key",
            field="open.ingest_key",
            reason=ErrorReason.UNKNOWN_KEY,
            timeout_s=self._prove_within_s,
        )
        self._ended = True
        self._changed.notify_all()

    def _let_pass(self, batch: bytes) -> None:
        """Check the batch's sender if the stream has not shown a known key yet, or if any sender may have to wait."""
        if self._proved is None and not self._gate.is_watchful:
            return
        key = read_envelope(Frame(batch, self._key, "", 0)).sender.key
        self._gate.check(key, self.peer.address)
        if self._proved is not None and self._gate.is_known(key):
            proved, self._proved = self._proved, None
            with self._changed:
                self._prove_by_s = None
            proved(key)

    def _grow_old(self) -> None:
        """If the stream is too old, ask the client to open another stream.

        If the client does not open another stream in time, end this stream.
        """
        if self._age.left_s != 0.0:
            return
        if self._age.is_draining:
            self._ended = True
            return
        self._go_away = go_away_message(self._age.drain_s, "the stream reached the maximum age: open another stream")
        self._age.begin_drain()

    def _has_message(self) -> bool:
        return (
            self._sequence.ready
            or self._go_away is not None
            or self._ended
            or (self._reader_done and self._sequence.idle)
        )

    def _arrived(self, message: bytes) -> None:
        frame = read_stream_frame(message)
        if isinstance(frame, OpenFrame):
            raise RefusedError("`open` was sent twice: only the first message of a stream may be `open`", field="open")
        if not isinstance(frame, GarbageFrame):
            _check_number("batch.batch_seq", frame.batch_seq)
        self._let_pass(frame.original if isinstance(frame, GarbageFrame) else frame.batch)
        size = len(message)
        self._wait_for_room(size)
        if isinstance(frame, GarbageFrame):
            # A garbage frame, which is neither `open` nor a batch, is submitted like a batch. Admission refuses the
            # frame, and keeps its bytes for inspection.
            with self._changed:
                batch_seq = self._sequence.garbage(size)
            self._submit(batch_seq, frame.original, size, is_garbage=True)
            return
        identity = identity_of(frame.batch, self._key)
        with self._changed:
            verdict = self._sequence.arrive(frame.batch_seq, identity, size)
            due = self._sequence.due
            if self._sequence.ready:  # wake the handler only if needed, because a wake-up costs 40 µs per batch
                self._changed.notify_all()
        if verdict is Verdict.TAKE:
            self._submit(frame.batch_seq, frame.batch, size)
        elif verdict is Verdict.GAP:
            raise RefusedError(
                f"batch_seq {frame.batch_seq} arrived where {due} was expected: number batches from resume_from + 1 "
                f"without gaps; reopen the stream with resume_from = the last acknowledged number",
                field="batch.batch_seq",
                reason=ErrorReason.BATCH_OUT_OF_SEQUENCE,
                value=frame.batch_seq,
                expected=due,
            )

    def _submit(self, batch_seq: int, batch: bytes, size: int, *, is_garbage: bool = False) -> None:
        frame = Frame(batch, self._key, self.peer.site, self._clock.now(), origin=self.peer.origin)
        early = None if is_garbage else self._batcher.quota_gate.refused_early(frame)
        if early is not None:
            with self._changed:
                self._sequence.finish(batch_seq, early)
                self._changed.notify_all()
            return
        span = self._spans.begin(batch_seq, size)
        self._budget.take(size)

        def on_outcome(outcome: BatchOutcome) -> None:
            self._budget.give(size)
            end_frame(span, outcome)
            if outcome.is_charged:
                key = read_envelope(frame).sender.key
                self._gate.charge(key, self.peer.address, size, hit_sizes(batch), outcome)
            with self._changed:
                self._sequence.finish(batch_seq, outcome, is_garbage=is_garbage)
                self._changed.notify_all()

        def let_pass() -> None:
            self._gate.check_again(frame, None, self.peer.address)

        waiting = Waiting(frame, on_outcome, let_pass, lambda: self._ended, is_trial=self.validate_only, span=span)
        self._batcher.submit(waiting)

    def _wait_for_room(self, size: int) -> None:
        """Block while the client exceeds its credit.

        While this method blocks, further messages wait in gRPC's flow-control window.
        """
        with self._changed:
            self._changed.wait_for(
                lambda: (
                    self._ended
                    or self._sequence.unacked_bytes == 0
                    or self._sequence.unacked_bytes + size <= self._credit_bytes
                )
            )


def _as_open(message: bytes | None) -> OpenFrame | RefusedError:
    frame = None if message is None else read_stream_frame(message)
    if isinstance(frame, OpenFrame):
        return frame
    if isinstance(frame, GarbageFrame) and not is_sound(frame.original, collector_pb2.StreamHitsRequest):
        return RefusedError(
            "the first message of the stream does not decode as a StreamHitsRequest: send that message with `open`",
            field="open",
            reason=ErrorReason.DECODE,
        )
    return RefusedError("the first message of a stream must be `open`: send StreamOpen", field="open")


def _check_number(field: str, number: int) -> None:
    if number > MAX_BATCH_SEQ:
        raise RefusedError(
            f"{field} is {number}; the largest number of a batch is {MAX_BATCH_SEQ}: resume from the last number that "
            "was acknowledged, or from 0, and number batches from there",
            field=field,
            reason=ErrorReason.BATCH_OUT_OF_SEQUENCE,
            value=number,
            limit=MAX_BATCH_SEQ,
        )


def start_reader(stream: HitStream, messages: Iterator[bytes]) -> Callable[[], None]:
    """Start the reader thread; return a function that joins the thread."""
    thread = threading.Thread(target=stream.read, args=(messages,), name="stream-reader", daemon=True)
    thread.start()
    return thread.join
