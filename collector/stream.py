"""One open stream: reads batches as fast as credit allows, answers acks as they become due (contract, items 1, 3, 4).

Two threads meet here: the reader, which blocks on the client, and the handler's own, which yields responses. All state
is behind one condition.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import grpc

from collector.admission import Frame
from collector.batcher import MicroBatcher, Waiting
from collector.budget import ByteBudget
from collector.frames import GarbageFrame, OpenFrame, read_stream_frame
from collector.outcome import BatchOutcome, issue_messages, receipt_messages
from collector.sequence import Progress, Sequence, Verdict
from hitmesh.collector.v1 import collector_pb2
from hitmesh.errors import HitmeshError, RefusedError
from hitmesh.logs import logger
from hitmesh.ports import Clock

MIN_CREDIT_BYTES = 1 << 20


class Age:
    """How long a stream may stay open: one that stays for ever never meets a collector that was added later.

    Args:
        max_s: after so long the client is asked to open another; None = never.
        drain_s: how long it has for that.
    """

    def __init__(self, max_s: float | None, drain_s: float) -> None:
        self.drain_s = drain_s
        self.was_told = False
        self._ends = None if max_s is None else time.monotonic() + max_s

    @property
    def left_s(self) -> float | None:
        """Seconds until something is to be done about it, 0 when it is due; None = never."""
        return None if self._ends is None else max(0.0, self._ends - time.monotonic())

    def tell(self) -> None:
        """Notes that the client was asked; it has `drain_s` from now on."""
        self.was_told = True
        self._ends = time.monotonic() + self.drain_s


class HitStream:
    """A stream after its open message."""

    def __init__(
        self,
        opened: OpenFrame,
        *,
        site_header: str,
        credit_bytes: int,
        batcher: MicroBatcher,
        budget: ByteBudget,
        clock: Clock,
        age: Age | None = None,
    ) -> None:
        wanted = opened.max_inflight_bytes or credit_bytes
        self._credit_bytes = min(max(wanted, MIN_CREDIT_BYTES), credit_bytes)
        self._key = opened.ingest_key
        self._site_header = site_header
        self._batcher = batcher
        self._budget = budget
        self._clock = clock
        self._changed = threading.Condition()
        self._sequence = Sequence(opened.resume_from)
        self._reader_done = False
        self._failure: HitmeshError | None = None
        self._go_away: collector_pb2.GoAway | None = None
        self._ended = False
        self._age = age or Age(None, 0.0)

    def read(self, messages: Iterator[bytes]) -> None:
        """Reads until the client half-closes, breaks off, or breaks the order. Runs in the reader thread."""
        try:
            for message in messages:
                self._arrived(message)
        except RefusedError as error:
            self._failure = error
        except grpc.RpcError:
            pass  # the client is gone; what it sent and was not told about it sends again
        except Exception as error:
            logger().exception("stream_reader_failed", error=type(error).__name__)
            self._failure = HitmeshError("the server failed; the cause is in its log")
        finally:
            with self._changed:
                self._reader_done = True
                self._changed.notify_all()

    def responses(self) -> Iterator[collector_pb2.StreamHitsResponse]:
        """Yields ready, then acks with the credit they free, until everything read is acknowledged.

        Raises:
            HitmeshError: the client broke the order of the stream; all good batches before are acknowledged.
        """
        ready = collector_pb2.StreamReady(acked_through=self._sequence.acked_through, credit_bytes=self._credit_bytes)
        yield collector_pb2.StreamHitsResponse(ready=ready)
        while True:
            with self._changed:
                self._changed.wait_for(self._something_to_say, self._age.left_s)
                self._grow_old()
                progress = self._sequence.progress()
                if progress is not None:
                    self._changed.notify_all()  # the reader may wait for the room that this makes
                go_away, self._go_away = self._go_away, None
                over = self._ended or (self._reader_done and self._sequence.idle)
            if progress is not None:
                yield collector_pb2.StreamHitsResponse(ack=_ack(progress))
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
        """Tells the client to send no new batch and to reopen elsewhere."""
        with self._changed:
            self._go_away = _go_away_message(drain_s, reason)
            self._changed.notify_all()

    def end(self) -> None:
        """Ends the stream, whatever is still open: the client is gone or the drain is over."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _grow_old(self) -> None:
        """Asks the client of a stream that is old to open another one; ends the stream of one that does not."""
        if self._age.left_s != 0.0:
            return
        if self._age.was_told:
            self._ended = True
            return
        self._go_away = _go_away_message(self._age.drain_s, "the stream is old; another collector may have room")
        self._age.tell()

    def _something_to_say(self) -> bool:
        return (
            self._sequence.ready
            or self._go_away is not None
            or self._ended
            or (self._reader_done and self._sequence.idle)
        )

    def _arrived(self, message: bytes) -> None:
        frame = read_stream_frame(message)
        if isinstance(frame, OpenFrame):
            raise RefusedError("open came twice: it is the first message of a stream only", field="open")
        size = len(message)
        self._wait_for_room(size)
        if isinstance(frame, GarbageFrame):
            # Admission refuses and keeps it, so that its bytes can be looked at like those of any other refusal.
            with self._changed:
                batch_seq = self._sequence.garbage(size)
            self._submit(batch_seq, frame.original, size, is_garbage=True)
            return
        with self._changed:
            verdict = self._sequence.arrive(frame.batch_seq, frame.batch_id, size)
            due = self._sequence.due
            if self._sequence.ready:  # a wake-up of the handler for every batch would cost 40 µs a batch
                self._changed.notify_all()
        if verdict is Verdict.TAKE:
            self._submit(frame.batch_seq, frame.batch, size)
        elif verdict is Verdict.GAP:
            raise RefusedError(
                f"batch_seq {frame.batch_seq} came where {due} was due: number batches from resume_from + 1 "
                f"without gaps; reopen the stream with resume_from = the last acknowledged number",
                field="batch.batch_seq",
                reason="BATCH_OUT_OF_SEQUENCE",
            )

    def _submit(self, batch_seq: int, batch: bytes, size: int, *, is_garbage: bool = False) -> None:
        frame = Frame(batch, self._key, self._site_header, self._clock.now())
        self._budget.take(size)

        def tell(outcome: BatchOutcome) -> None:
            self._budget.give(size)
            with self._changed:
                self._sequence.finish(batch_seq, outcome, is_garbage=is_garbage)
                self._changed.notify_all()

        self._batcher.submit(Waiting(frame, tell))

    def _wait_for_room(self, size: int) -> None:
        """Blocks a client that goes beyond its credit: its messages stay in the transport's window."""
        with self._changed:
            self._changed.wait_for(
                lambda: (
                    self._ended
                    or self._sequence.unacked_bytes == 0
                    or self._sequence.unacked_bytes + size <= self._credit_bytes
                )
            )


def _go_away_message(drain_s: float, reason: str) -> collector_pb2.GoAway:
    message = collector_pb2.GoAway(reason=reason)
    message.drain.FromMilliseconds(int(drain_s * 1000))
    return message


def _ack(progress: Progress) -> collector_pb2.Ack:
    ack = collector_pb2.Ack(acked_through=progress.acked_through)
    for batch_seq, outcome in progress.outcomes:
        ack.issues.extend(issue_messages(batch_seq, outcome))
        ack.receipts.extend(receipt_messages(batch_seq, outcome))
        ack.accepted_count += outcome.accepted
    return ack


def start_reader(stream: HitStream, messages: Iterator[bytes]) -> Callable[[], None]:
    """Starts the reader thread; returns what waits for its end."""
    thread = threading.Thread(target=stream.read, args=(messages,), name="stream-reader", daemon=True)
    thread.start()
    return thread.join
