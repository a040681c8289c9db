"""A micro-batch consists of batches that are admitted together.

Outcomes are reported when the batches' records are durable. A micro-batch counts the records that are not durable yet,
and reports each batch's outcome exactly once.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import polars as pl
from opentelemetry.trace import Span

from collector.admission import Admitted, Frame, Issue
from collector.admission.envelopes import read_envelope
from collector.hit_quotas import Charged
from collector.metering import CollectorMeter
from collector.outcome import RETRY_DELAY_S, BatchOutcome, retry_later
from hitmesh.model.errors import RetryError
from hitmesh.model.positions import LoggedPosition
from hitmesh.model.reasons import HitReason

OnOutcome = Callable[[BatchOutcome], None]


@dataclass(frozen=True, slots=True)
class Waiting:
    """A queued batch. `on_outcome` is called exactly once, from any thread.

    `let_pass` is called immediately before admission. `let_pass` raises RetryError if the sender's budget for refused
    work has been exhausted since the batch arrived. `is_over` returns whether the call has ended: the caller has left,
    the deadline has passed, or the stream has ended. A batch whose call has ended is not admitted. If `is_trial` is
    true, nothing from the batch is stored. `on_charged` gets the charge of a batch that its quotas allow; None for a
    batch that will be refused. `span` is the span of the frame or call; None if the frame or call is not recorded.
    """

    frame: Frame
    on_outcome: OnOutcome
    let_pass: Callable[[], None] = field(default=lambda: None)
    is_over: Callable[[], bool] = field(default=lambda: False)
    is_trial: bool = False
    on_charged: Callable[[Charged | None], None] = lambda charged: None
    arrived_s: float = field(default_factory=time.perf_counter)
    span: Span | None = None

    @property
    def arrived_ms(self) -> int:
        """The batch's arrival time in ms, on the monotonic clock that decides when records are cut."""
        return int(self.arrived_s * 1000)


def monotonic_ms() -> int:
    """Return the monotonic time in ms.

    Changes to the system clock do not affect the monotonic time, so a clock change cannot delay a record.
    """
    return int(time.perf_counter() * 1000)


class MicroBatch:
    """Batches that were admitted together, and the number of records that are not durable yet.

    `put_off` contains the outcomes of batches that must wait. Batches that must wait are not admitted, so they have no
    records. `give_back` is called with the index of each batch that must be sent again, to return its charge to quotas.
    `span` ends when the outcomes are reported.
    """

    def __init__(
        self,
        waiting: Sequence[Waiting],
        admitted: Admitted,
        records: int,
        meter: CollectorMeter,
        put_off: Mapping[int, BatchOutcome] = MappingProxyType({}),
        give_back: Callable[[int], None] = lambda index: None,
        span: Span | None = None,
    ) -> None:
        self.span = span
        self._waiting = waiting
        self._put_off = put_off
        self._give_back = give_back
        self._meter = meter
        self._admitted = admitted
        self._records = records
        self._positions: list[list[LoggedPosition]] = [[] for _ in waiting]
        self._failures: dict[int, RetryError] = {}
        self._lock = threading.Lock()

    def expect(self, records: int) -> None:
        """Wait for `records` more records, because a slice was divided among several records."""
        with self._lock:
            self._records += records

    def durable(self, frames: Sequence[int], position: LoggedPosition | None) -> None:
        """Count a record as durable, so that it is no longer outstanding.

        `position` is None for a record of refusals.
        """
        with self._lock:
            if position is not None:
                for frame in frames:
                    self._positions[frame].append(position)
            done = self._counted_down()
        if done:
            self._report()

    def failed(self, frames: Sequence[int], error: RetryError) -> None:
        """Count a record whose append failed, so that it is no longer outstanding.

        Batches with rows in this record must be sent again.
        """
        with self._lock:
            self._failures.update(dict.fromkeys(frames, error))
            done = self._counted_down()
        if done:
            self._report()

    def _counted_down(self) -> bool:
        self._records -= 1
        return self._records == 0

    def _report(self) -> None:
        issues: list[list[Issue]] = [[] for _ in self._waiting]
        for issue in self._admitted.issues:
            issues[issue.frame].append(issue)
        rejected = _rejected_per_frame(self._admitted, len(self._waiting))
        accepted = self._admitted.accepted.tolist()
        outcomes = []
        for index in range(len(self._waiting)):
            if index in self._put_off:
                self._give_back(index)
                outcomes.append(self._put_off[index])
                continue
            failure = self._failures.get(index)
            if failure is not None:
                self._give_back(index)
                outcomes.append(
                    retry_later(HitReason.LOG_FULL, failure.message, failure.retry_after_s, failure.variables)
                )
                continue
            batch_issues, positions = tuple(issues[index]), tuple(self._positions[index])
            retry_s = RETRY_DELAY_S if batch_issues and batch_issues[0].outcome == "RETRY" else None
            outcomes.append(BatchOutcome(batch_issues, positions, accepted[index], rejected[index], retry_s))
        if self.span is not None:
            self.span.end()
        retry_hits = sum(accepted[index] + rejected[index] for index in self._failures)
        report_all(self._waiting, outcomes, self._meter, retry_hits)


def report_all(
    waiting: Sequence[Waiting], outcomes: Sequence[BatchOutcome], meter: CollectorMeter, retry_hits: int = 0
) -> None:
    """Count the batches, then report the outcomes.

    The metrics have therefore counted a batch before its caller gets the outcome.
    """
    meter.reported([batch.arrived_s for batch in waiting], outcomes, retry_hits)
    for batch, outcome in zip(waiting, outcomes, strict=True):
        batch.on_outcome(outcome)


def countable_hits(waiting: Sequence[Waiting]) -> int:
    """Return the number of hits in batches that were not decoded. A batch that cannot be read counts as 0 hits."""
    return sum(_countable(batch.frame) for batch in waiting)


def _countable(frame: Frame) -> int:
    try:
        envelope = read_envelope(frame)
    except Exception:  # the same error may have prevented admission
        return 0
    return envelope.hits if envelope.fault is None else 0


def _rejected_per_frame(admitted: Admitted, frames: int) -> list[int]:
    counts = [0] * frames
    if admitted.rejected.height:
        for frame, hits in admitted.rejected.group_by("frame").agg(pl.col("hits").sum()).iter_rows():
            counts[frame] = hits
    return counts
