"""The send window of StreamHits: batch numbers, credit, resends and refusals (collector.proto, StreamHits).

This module performs no I/O and reads no clock. The caller passes the time and sends the batches, and must serialise all
calls with a lock. Guarantees:

- Every batch is sent, and sent again after each broken stream, until a collector acknowledges the batch.
- If the collector asks for a retry of hits, the hits are sent again. A hit is sent at most `Patience.attempts` times.
- Batch numbers have no gaps: a stream begins at `acked_through + 1`, and each batch gets the next number.
- Unacknowledged bytes stay within the credit. A batch that is larger than the whole credit is sent alone.
- The window keeps only batches that are queued, delayed or in flight, and a few issues per batch.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Sequence
from itertools import count
from typing import Final, Generic, NamedTuple, Protocol, Self, TypeVar

from hitmesh.api.collector.v1 import collector_pb2
from hitmesh.client.patience import Patience

MAX_REFUSALS: Final = 5
# Seconds for which a stream stays open after the end that the collector announced, because the last acknowledgements
# may be in transit.
DRAIN_MARGIN_S: Final = 5.0


class Sendable(Protocol):
    """A batch of hits, in a form that the caller chooses."""

    @property
    def hits(self) -> int:
        """Number of hits."""

    @property
    def size(self) -> int:
        """Size of the batch in bytes."""

    def part(self, indexes: Sequence[int], attempt: int) -> Self:
        """Return a batch with the hits at these indexes.

        Each call must return a batch with a new id.
        """


B = TypeVar("B", bound=Sendable)


class Settled(NamedTuple, Generic[B]):
    """The outcome of an acknowledged batch.

    `again` has the indexes of the hits for which the collector asked for a retry. If `given_up` is empty, the hits in
    `again` are sent again in another batch. If the hits in `again` have been sent the maximum number of times, the hits
    are dropped, and `given_up` is the collector's last message. `refusals` has the first issues that reject hits, up to
    the window's `max_refusals`. `resent` counts the hits that were sent again because a stream broke.
    """

    batch: B
    accepted: int
    rejected: int
    resent: int
    attempts: int
    refusals: Sequence[collector_pb2.HitIssue]
    receipts: Sequence[collector_pb2.Receipt]
    given_up: str
    again: frozenset[int] = frozenset()


class _Verdicts:
    """Collects, from a batch's issues, which hits are rejected and which hits must be sent again."""

    __slots__ = ("again", "delay_ms", "hits", "max_refusals", "message", "refusals", "rejected")

    def __init__(self, hits: int, max_refusals: int) -> None:
        self.hits = hits
        self.max_refusals = max_refusals
        self.rejected: set[int] = set()
        self.again: set[int] = set()
        self.refusals: list[collector_pb2.HitIssue] = []
        self.delay_ms = 0
        self.message = ""

    def note(self, issue: collector_pb2.HitIssue) -> None:
        """Record an issue. An issue without an index concerns the whole batch; an index beyond the batch is ignored."""
        first, end = 0, self.hits
        if issue.HasField("index"):
            first, end = max(issue.index, 0), min(issue.index + 1, self.hits)
        if issue.outcome == collector_pb2.OUTCOME_REJECTED:
            self.rejected.update(range(first, end))
            if len(self.refusals) < self.max_refusals:
                self.refusals.append(issue)
        elif issue.outcome == collector_pb2.OUTCOME_RETRY:
            self.again.update(range(first, end))
            self.delay_ms = max(self.delay_ms, issue.retry_delay.ToMilliseconds())
            self.message = issue.message


class _Outgoing(Generic[B]):
    """A batch that is queued, delayed or in flight, with the issues and receipts from the current stream."""

    __slots__ = ("attempts", "batch", "receipts", "resent", "verdicts")

    def __init__(self, batch: B, attempts: int = 1) -> None:
        self.batch = batch
        self.attempts = attempts
        self.resent = 0
        self.receipts: list[collector_pb2.Receipt] | None = None
        self.verdicts: _Verdicts | None = None

    def take_back(self) -> None:
        """Discard the issues and receipts from a broken stream; the collector repeats both on the next stream."""
        self.resent += self.batch.hits
        self.receipts = self.verdicts = None


class SendWindow(Generic[B]):
    """The batches that a sender sends over successive streams.

    Call `reopen` when a stream begins, and pass each response to `respond`. To send a batch, get the batch from `head`,
    and encode a message with the batch and `next_number`. Check the message's size with `fits`, call `take`, and send
    the message.

    Args:
        patience: maximum number of attempts per batch, minimum pause before a retry, and maximum silence of a stream.
        max_refusals: maximum number of issues kept per batch.
    """

    def __init__(self, patience: Patience, max_refusals: int = MAX_REFUSALS) -> None:
        self.acked_through = 0
        self.progressed = False
        self.is_draining = False
        self._patience = patience
        self._max_refusals = max_refusals
        self._waiting: deque[_Outgoing[B]] = deque()
        self._in_flight: dict[int, _Outgoing[B]] = {}
        self._put_off: list[tuple[float, int, _Outgoing[B]]] = []
        self._tie = count()
        self._queued_bytes = 0
        self._is_ready = False
        self._credit_bytes = 0
        self._room_bytes = 0
        self._active_at_s = 0.0
        self._drain_ends_s = float("inf")

    @property
    def queued_bytes(self) -> int:
        """Total size in bytes of the batches that wait for credit, a stream or their retry time."""
        return self._queued_bytes

    @property
    def is_waiting(self) -> bool:
        """Whether a batch waits for credit or for a stream.

        If batches wait only for their retry time, the result is False.
        """
        return bool(self._waiting)

    @property
    def is_idle(self) -> bool:
        """Whether no batch is queued, delayed or in flight."""
        return not (self._waiting or self._in_flight or self._put_off)

    @property
    def next_number(self) -> int:
        """The number of the next batch that is sent."""
        return self.acked_through + len(self._in_flight) + 1

    def add(self, batch: B) -> None:
        """Queue a batch behind all queued batches."""
        self._waiting.append(_Outgoing(batch))
        self._queued_bytes += batch.size

    def reopen(self, now_s: float) -> int:
        """Begin a stream, and return the number of the last acknowledged batch.

        Batches that were in flight are queued again, in order, before all other batches.
        """
        for outgoing in reversed(self._in_flight.values()):
            outgoing.take_back()
            self._waiting.appendleft(outgoing)
            self._queued_bytes += outgoing.batch.size
        self._in_flight.clear()
        self.progressed = self.is_draining = self._is_ready = False
        self._credit_bytes = self._room_bytes = 0
        self._active_at_s, self._drain_ends_s = now_s, float("inf")
        return self.acked_through

    def head(self, now_s: float) -> B | None:
        """Return the batch to send next.

        Return None if no batch waits, if the stream is not ready, or if the stream is ending.
        """
        while self._put_off and self._put_off[0][0] <= now_s:
            self._waiting.append(heapq.heappop(self._put_off)[2])
        if not self._is_ready or self.is_draining or not self._waiting:
            return None
        return self._waiting[0].batch

    def fits(self, size: int) -> bool:
        """Return whether a message of `size` bytes may be sent now."""
        return size <= self._room_bytes or (size > self._credit_bytes and not self._in_flight)

    def take(self, size: int, now_s: float) -> None:
        """Mark the batch that `head` returns as in flight.

        The batch gets the number `next_number`. `size` is the size of the message with the batch; `fits(size)` must be
        true.
        """
        if not self._in_flight:
            self._active_at_s = now_s
        outgoing = self._waiting.popleft()
        self._queued_bytes -= outgoing.batch.size
        self._in_flight[self.next_number] = outgoing
        self._room_bytes -= size

    def respond(self, response: collector_pb2.StreamHitsResponse, now_s: float) -> list[Settled[B]]:
        """Apply a response of the current stream, and return the outcomes of the acknowledged batches."""
        self._active_at_s = now_s
        match response.WhichOneof("kind"):
            case "ready":
                self._is_ready = True
                self._credit_bytes = self._room_bytes = response.ready.credit_bytes
            case "credit":
                self._room_bytes += response.credit.bytes
            case "go_away":
                self.is_draining = True
                self._drain_ends_s = now_s + response.go_away.drain.ToMilliseconds() / 1_000 + DRAIN_MARGIN_S
            case "ack":
                return self._acknowledge(response.ack, now_s)
        return []

    def break_off(self, now_s: float) -> bool:
        """Return whether to cancel the stream.

        The stream is cancelled if a response is overdue, or if the end that the collector announced has passed.

        The result is True only once per overdue response, because a cancelled stream may take time to end.
        """
        if now_s < min(self._stalls_at_s(), self._drain_ends_s):
            return False
        self._active_at_s, self._drain_ends_s = now_s, float("inf")
        return True

    def wakes_at_s(self) -> float:
        """Return the time at which the caller must call `head` and `break_off` again, even if no response arrives."""
        retry_s = self._put_off[0][0] if self._put_off else float("inf")
        return min(retry_s, self._stalls_at_s(), self._drain_ends_s)

    def clear(self) -> None:
        """Drop all batches."""
        self._waiting.clear()
        self._in_flight.clear()
        self._put_off.clear()
        self._queued_bytes = 0

    def _stalls_at_s(self) -> float:
        is_due = self._in_flight or not self._is_ready or (self._waiting and not self.is_draining)
        return self._active_at_s + self._patience.stall_s if is_due else float("inf")

    def _acknowledge(self, ack: collector_pb2.Ack, now_s: float) -> list[Settled[B]]:
        # Issues and receipts of a batch may arrive before the acknowledgement of the batch.
        for issue in ack.issues:
            if (outgoing := self._in_flight.get(issue.batch_seq)) is not None:
                if outgoing.verdicts is None:
                    outgoing.verdicts = _Verdicts(outgoing.batch.hits, self._max_refusals)
                outgoing.verdicts.note(issue)
        for receipt in ack.receipts:
            if (outgoing := self._in_flight.get(receipt.batch_seq)) is not None:
                if outgoing.receipts is None:
                    outgoing.receipts = [receipt]
                else:
                    outgoing.receipts.append(receipt)
        settled = []
        while self.acked_through < ack.acked_through and self._in_flight:
            self.progressed = True
            self.acked_through += 1
            settled.append(self._settle(self._in_flight.pop(self.acked_through), now_s))
        return settled

    def _settle(self, acked: _Outgoing[B], now_s: float) -> Settled[B]:
        batch, attempts, verdicts, receipts = acked.batch, acked.attempts, acked.verdicts, acked.receipts or ()
        if verdicts is None:
            return Settled(batch, batch.hits, 0, acked.resent, attempts, (), receipts, "")
        again, rejected, given_up = verdicts.again - verdicts.rejected, len(verdicts.rejected), ""
        if again and attempts >= self._patience.attempts:
            given_up = verdicts.message or "no message"
        elif again:
            due_s = now_s + max(verdicts.delay_ms / 1_000, self._patience.first_s)
            self._put_back(batch, attempts, sorted(again), due_s)
        accepted = batch.hits - rejected - len(again)
        return Settled(
            batch, accepted, rejected, acked.resent, attempts, verdicts.refusals, receipts, given_up, frozenset(again)
        )

    def _put_back(self, acked: B, attempts: int, indexes: Sequence[int], due_s: float) -> None:
        """Send the hits at these indexes again, at `due_s` at the earliest.

        A whole batch keeps its id; a part becomes a batch with a new id.
        """
        batch = acked if len(indexes) == acked.hits else acked.part(indexes, attempts)
        heapq.heappush(self._put_off, (due_s, next(self._tie), _Outgoing(batch, attempts + 1)))
        self._queued_bytes += batch.size
