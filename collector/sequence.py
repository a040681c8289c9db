"""The order of one stream: which batch is due, what is acknowledged, how much room is left (contract, items 1 and 3).

Pure state without locks, threads or time; the stream's owner serialises calls.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict, deque
from dataclasses import dataclass, replace
from enum import Enum, auto

from collector.outcome import BatchOutcome

REMEMBERED_BATCHES = 256
UNNUMBERED = 0  # a garbage frame whose number the client gave to the batch after it


class Verdict(Enum):
    """What to do with a batch that arrived."""

    TAKE = auto()
    RESUME = auto()  # the same batch again: its outcome is known or under way
    GAP = auto()  # not the number that was due


@dataclass(slots=True)
class _Batch:
    batch_seq: int
    size: int
    batch_id: str
    outcome: BatchOutcome | None = None
    is_garbage: bool = False
    told_as: int | None = None  # the number in answers, where it is not batch_seq


@dataclass(frozen=True, slots=True)
class Progress:
    """Batches that can be acknowledged now, in order, and the bytes they free."""

    acked_through: int
    outcomes: tuple[tuple[int, BatchOutcome], ...]
    freed_bytes: int


class Sequence:
    """Numbers, outcomes and bytes of one stream's batches."""

    def __init__(self, resume_from: int) -> None:
        self.acked_through = resume_from
        self.due = resume_from + 1
        self.unacked_bytes = 0
        self._open: deque[_Batch] = deque()
        # Looked up by every batch, so not searched for among the open ones: what was taken, by number and whether it
        # is garbage (numbers of garbage may come twice), and the repeats that wait for a batch under way, by its id.
        self._taken: defaultdict[tuple[int, bool], deque[_Batch]] = defaultdict(deque)
        self._repeats: dict[str, list[_Batch]] = {}
        self._remembered: OrderedDict[str, BatchOutcome] = OrderedDict()
        self._uncounted = 0  # garbage frames since the last batch, which the client may not have numbered

    def arrive(self, batch_seq: int, batch_id: str, size: int) -> Verdict:
        """Registers a batch; TAKE means it must be submitted and finished later.

        A batch whose id is remembered, or still on its way, was sent again: it gets the same receipts and nothing new
        is written, whether it comes under a new number or its old one (rule D4). After garbage frames the client may
        or may not have counted them, so each of these numbers is taken.
        """
        if self.due - self._uncounted <= batch_seq < self.due:
            self.due = batch_seq
            for one in self._open:
                if one.is_garbage and one.batch_seq >= batch_seq:
                    one.told_as = UNNUMBERED
        self._uncounted = 0
        known = self._remembered.get(batch_id) if batch_id else None
        again = known is not None or batch_id in self._repeats
        if batch_seq != self.due and not (again and batch_seq < self.due):
            return Verdict.GAP
        self.due = max(self.due, batch_seq + 1)
        batch = _Batch(batch_seq, size, batch_id, known)
        self._add(batch)
        if not again:
            self._taken[batch_seq, False].append(batch)
            if batch_id:
                self._repeats[batch_id] = []
        elif known is None:
            self._repeats[batch_id].append(batch)
        return Verdict.RESUME if again else Verdict.TAKE

    def garbage(self, size: int) -> int:
        """Registers a message that is no batch under the number that was due; returns the number."""
        batch = _Batch(self.due, size, "", is_garbage=True)
        self.due += 1
        self._uncounted += 1
        self._add(batch)
        self._taken[batch.batch_seq, True].append(batch)
        return batch.batch_seq

    def finish(self, batch_seq: int, outcome: BatchOutcome, *, is_garbage: bool = False) -> None:
        """Sets the outcome of a batch or garbage frame that was taken, and of its repeats that wait for it."""
        waiting = self._taken[batch_seq, is_garbage]
        taken = waiting.popleft()
        if not waiting:
            del self._taken[batch_seq, is_garbage]
        taken.outcome = outcome
        if not taken.batch_id:
            return
        # A repeat has the same receipts, but no hit became durable with it.
        repeated = replace(outcome, accepted=0)
        if outcome.retry_s is None:
            self._remember(taken.batch_id, repeated)
        for repeat in self._repeats.pop(taken.batch_id):
            repeat.outcome = repeated

    def progress(self) -> Progress | None:
        """Returns and removes what can be acknowledged now; None when nothing can."""
        outcomes: list[tuple[int, BatchOutcome]] = []
        freed = 0
        while self._open and self._open[0].outcome is not None:
            batch = self._open.popleft()
            assert batch.outcome is not None
            outcomes.append((batch.batch_seq if batch.told_as is None else batch.told_as, batch.outcome))
            freed += batch.size
            self.acked_through = max(self.acked_through, batch.batch_seq)
        if not outcomes:
            return None
        self.unacked_bytes -= freed
        return Progress(self.acked_through, tuple(outcomes), freed)

    @property
    def ready(self) -> bool:
        """Whether something can be acknowledged now."""
        return bool(self._open) and self._open[0].outcome is not None

    @property
    def idle(self) -> bool:
        """Whether every batch is acknowledged."""
        return not self._open

    def _add(self, batch: _Batch) -> None:
        self.unacked_bytes += batch.size
        self._open.append(batch)

    def _remember(self, batch_id: str, outcome: BatchOutcome) -> None:
        self._remembered[batch_id] = outcome
        while len(self._remembered) > REMEMBERED_BATCHES:
            self._remembered.popitem(last=False)
