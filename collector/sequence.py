"""Keeps the order of a stream's batches: the next number, acknowledgements and unacknowledged bytes (collector.proto).

This module uses no lock, no thread and no clock. The caller must make only one call at a time.
"""

from __future__ import annotations

from collections import defaultdict, deque
from dataclasses import dataclass
from enum import Enum, auto

from collector.answered import AnsweredBatches, repeat_of
from collector.batch_identity import BatchIdentity
from collector.outcome import BatchOutcome

# The batch number 0 means that the client did not number the batch. If the client did not number a garbage frame, the
# frame's acknowledgement contains 0 too.
UNNUMBERED = 0


class Verdict(Enum):
    """Tells the caller how to handle a batch that has arrived."""

    TAKE = auto()
    RESUME = auto()  # a repeated batch, whose outcome is known or pending
    GAP = auto()  # the batch's number is not the expected number


@dataclass(slots=True)
class _Batch:
    batch_seq: int
    size: int
    identity: BatchIdentity | None
    outcome: BatchOutcome | None = None
    is_garbage: bool = False
    answer_seq: int | None = None  # the number to use in acknowledgements; None = batch_seq


@dataclass(frozen=True, slots=True)
class Progress:
    """The batches that can be acknowledged now, in order, and the credit in bytes that the acknowledgement frees."""

    acked_through: int
    outcomes: tuple[tuple[int, BatchOutcome], ...]
    freed_bytes: int


class Sequence:
    """The numbers, outcomes and sizes of a stream's batches.

    Args:
        resume_from: number of the last batch that was acknowledged on an earlier stream.
        answered: memory for the outcomes of batches that may be sent again.
    """

    def __init__(self, resume_from: int, answered: AnsweredBatches | None = None) -> None:
        self.acked_through = resume_from
        self.due = resume_from + 1
        self.unacked_bytes = 0
        self._open: deque[_Batch] = deque()
        # Two indexes avoid a search through the open batches. `_taken` contains the taken batches, keyed by a pair: the
        # batch's number, and whether the batch is a garbage frame. A garbage frame may have the same number as a batch.
        # `_repeats` contains the repeats of each pending batch, keyed by the batch's identity.
        self._taken: defaultdict[tuple[int, bool], deque[_Batch]] = defaultdict(deque)
        self._repeats: dict[BatchIdentity, list[_Batch]] = {}
        self._answered = answered or AnsweredBatches()
        self._uncounted = 0  # garbage frames since the last batch, whether numbered or not

    def arrive(self, batch_seq: int, identity: BatchIdentity | None, size: int) -> Verdict:
        """Register a batch. If the result is TAKE, the caller must submit the batch and later call `finish`.

        A batch is a repeat, whatever its number, if its identity is the identity of a remembered or pending batch. A
        repeat gets the same receipts, and nothing new is written (rule D4). A batch without an identity is never a
        repeat. For a batch without a number, the result is always GAP.
        The client may have numbered some, all or none of the garbage frames before a batch. The lowest batch number
        that is accepted is the number if the client numbered no garbage frame. The highest batch number that is
        accepted is the number if the client numbered every garbage frame before the batch.
        """
        if self.due - self._uncounted <= batch_seq < self.due:
            self.due = batch_seq
            for open_batch in self._open:
                if open_batch.is_garbage and open_batch.batch_seq >= batch_seq:
                    open_batch.answer_seq = UNNUMBERED
        self._uncounted = 0
        known = None if identity is None else self._answered.outcome(identity)
        again = known is not None or identity in self._repeats
        if batch_seq != self.due and not (again and UNNUMBERED < batch_seq < self.due):
            return Verdict.GAP
        self.due = max(self.due, batch_seq + 1)
        batch = _Batch(batch_seq, size, identity, known)
        self._add(batch)
        if not again:
            self._taken[batch_seq, False].append(batch)
            if identity is not None:
                self._repeats[identity] = []
        elif identity is not None and known is None:
            self._repeats[identity].append(batch)
        return Verdict.RESUME if again else Verdict.TAKE

    def garbage(self, size: int) -> int:
        """Register a garbage message under the expected number, and return this number."""
        batch = _Batch(self.due, size, None, is_garbage=True)
        self.due += 1
        self._uncounted += 1
        self._add(batch)
        self._taken[batch.batch_seq, True].append(batch)
        return batch.batch_seq

    def finish(self, batch_seq: int, outcome: BatchOutcome, *, is_garbage: bool = False) -> None:
        """Set the outcome of a taken batch or garbage frame, and of all repeats that wait for this outcome."""
        waiting = self._taken[batch_seq, is_garbage]
        taken = waiting.popleft()
        if not waiting:
            del self._taken[batch_seq, is_garbage]
        if taken.identity is None:
            taken.outcome = outcome
            return
        taken.outcome = self._answered.note(taken.identity, outcome)
        repeated = repeat_of(taken.outcome)
        for repeat in self._repeats.pop(taken.identity):
            repeat.outcome = repeated

    def progress(self) -> Progress | None:
        """Remove and return the batches that can be acknowledged now, or return None if there are none."""
        outcomes: list[tuple[int, BatchOutcome]] = []
        freed = 0
        while self._open and self._open[0].outcome is not None:
            batch = self._open.popleft()
            assert batch.outcome is not None
            outcomes.append((batch.batch_seq if batch.answer_seq is None else batch.answer_seq, batch.outcome))
            freed += batch.size
            self.acked_through = max(self.acked_through, batch.batch_seq)
        if not outcomes:
            return None
        self.unacked_bytes -= freed
        return Progress(self.acked_through, tuple(outcomes), freed)

    @property
    def ready(self) -> bool:
        """Whether a batch can be acknowledged now."""
        return bool(self._open) and self._open[0].outcome is not None

    @property
    def idle(self) -> bool:
        """Whether every batch is acknowledged."""
        return not self._open

    def _add(self, batch: _Batch) -> None:
        self.unacked_bytes += batch.size
        self._open.append(batch)
