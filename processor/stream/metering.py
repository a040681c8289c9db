"""Records the processor's counts and timings as metrics in the registry (hitmesh.runtime.telemetry).

Metrics are recorded once per window, settlement or snapshot, but never per hit.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

from opentelemetry.trace import Span, SpanKind

from hitmesh.model.errors import CommitInDoubt, Fenced, HitmeshError
from hitmesh.model.generations import Drift
from hitmesh.model.positions import PartitionId, PartitionProgress
from hitmesh.model.records import LoggedRecord, RecordKind
from hitmesh.model.stream_values import FoldedRows
from hitmesh.runtime.telemetry import Metrics
from hitmesh.runtime.telemetry import registry as names
from hitmesh.runtime.telemetry.labels import (
    DriftKind,
    HitPath,
    LogTopic,
    RowKind,
    SettledResult,
    Stage,
    TransactionResult,
)
from hitmesh.runtime.telemetry.trace_context import parsed
from hitmesh.runtime.telemetry.traces import active
from hitmesh.runtime.vitals import Pulse
from processor.stream.commit import CommitStep, Reached, ignore_step
from processor.stream.live.state import PathCounts

_STAGES: Final = {
    CommitStep.RAW: Stage.RAW,
    CommitStep.MARKS: Stage.MARKS,
    CommitStep.CLAIMS: Stage.CLAIMS,
    CommitStep.TRANSACTION: Stage.TRANSACTION,
    CommitStep.STATE: Stage.STATE,
    CommitStep.PARTIALS: Stage.PARTIALS,
}

WINDOW: Final = "window"
_STORE_STAGES: Final = frozenset({Stage.RAW, Stage.MARKS, Stage.CLAIMS, Stage.TRANSACTION})


def ages_s(progress: Mapping[PartitionId, PartitionProgress], now: int) -> dict[int, float]:
    """Return the age of each partition's log time. Ages are in seconds, keyed by partition number.

    A partition without a log time has no entry. If a log time is ahead of the current time, the age is negative.

    Args:
        progress: each partition's progress in one topic.
        now: UTC ms.
    """
    reached = {partition.partition: done.log_time for partition, done in progress.items() if done.log_time}
    return {number: (now - log_time) / 1_000 for number, log_time in reached.items()}


class StreamMeter:
    """Counts and times a runner's work. An instance must be used by the runner's thread only.

    Args:
        metrics: receives the numbers.
        reached: a function that is called after each commit step, when the step's time has been recorded.
        pulse: gets a report per stage, error and recovery.
    """

    def __init__(self, metrics: Metrics, reached: Reached = ignore_step, pulse: Pulse | None = None) -> None:
        self._metrics = metrics
        self._pulse = pulse or Pulse("the stream")
        self._reached = reached
        self._lap = time.perf_counter()
        self._window: Span | None = None
        self._lap_ns = 0

    @contextmanager
    def tracing(self, records: Sequence[LoggedRecord]) -> Iterator[None]:
        """Record the work on a window as a span that links to the appends of the window's records.

        The span has a child for each stage. Without a record whose append is recorded, there is no span.
        """
        traces = self._metrics.traces
        appends = [parsed(record.record.trace) for record in records if record.record.trace] if traces.is_on else []
        causes = [context for context in appends if context is not None and context.trace_flags.sampled]
        facts = {"hitmesh.records": len(records), "hitmesh.hits": sum(record.record.rows for record in records)}
        self._window = traces.follow(WINDOW, SpanKind.CONSUMER, causes, facts) if causes else None
        self._lap_ns = time.time_ns()
        try:
            with active(traces, self._window):
                yield
        finally:
            self._window = None

    def begin(self) -> None:
        """Start measuring the next stage's time."""
        self._lap = time.perf_counter()
        self._pulse.turn()

    def stepped(self) -> None:
        """Report that all effects of a step are stored."""
        self._pulse.work()

    def waits(self) -> None:
        """Report that the stream waits, and still turns."""
        self._pulse.turn()

    def recovers(self) -> None:
        """Report that the stream recovers its state."""
        self._pulse.recover()

    def record_stage(self, stage: Stage) -> None:
        """Record the time of a stage, which began when the previous stage ended."""
        now = time.perf_counter()
        self._pulse.turn()
        self._metrics.record(names.PROCESSOR_STEP_SECONDS, now - self._lap, stage=stage)
        self._lap = now
        if self._window is not None:
            self._trace_stage(self._window, stage)

    def _trace_stage(self, window: Span, stage: Stage) -> None:
        kind = SpanKind.CLIENT if stage in _STORE_STAGES else SpanKind.INTERNAL
        span = self._metrics.traces.follow(f"window {stage}", kind, [window], start_ns=self._lap_ns)
        self._lap_ns = time.time_ns()
        if span is not None:
            span.end(self._lap_ns)

    def reached(self, step: CommitStep) -> None:
        """Record a commit step's time, and call `reached` for this step."""
        self._pulse.turn()
        if step in _STAGES:
            self.record_stage(_STAGES[step])
        self._reached(step)

    def window(self, records: Sequence[LoggedRecord]) -> None:
        """Count the records and hits in a window that was polled."""
        hits = sum(record.record.rows for record in records if record.record.kind == RecordKind.HITS)
        refusals = sum(record.record.kind == RecordKind.REJECTED for record in records)
        self._metrics.add(names.PROCESSOR_RECORDS, len(records) - refusals, topic=LogTopic.HITS)
        self._metrics.add(names.PROCESSOR_RECORDS, refusals, topic=LogTopic.REJECTED)
        if hits:
            self._metrics.add(names.PROCESSOR_HITS, hits)
            self._metrics.record(names.PROCESSOR_BATCH_HITS, hits)

    def committed(self, rows: Sequence[FoldedRows], counts: PathCounts, took_s: float) -> None:
        """Count a committed transaction with its rows and hits."""
        self._metrics.record(names.PROCESSOR_TRANSACTION_SECONDS, took_s)
        self._metrics.add(names.PROCESSOR_TRANSACTIONS, 1, result=TransactionResult.COMMITTED)
        self._metrics.add(names.PROCESSOR_ROWS, sum(folded.traffic.height for folded in rows), source=RowKind.TRAFFIC)
        self._metrics.add(names.PROCESSOR_ROWS, sum(folded.visits.height for folded in rows), source=RowKind.VISITS)
        for path, hits in (
            (HitPath.FAST, counts.fast),
            (HitPath.SLOW, counts.slow),
            (HitPath.WAITING, counts.waiting),
            (HitPath.LATE, counts.late),
            (HitPath.HISTORY, counts.history),
            (HitPath.COPY, counts.copies),
        ):
            if hits:
                self._metrics.add(names.PROCESSOR_PATH_HITS, hits, path=path)

    def not_committed(self, error: HitmeshError) -> None:
        """Count a transaction that was fenced or whose outcome is in doubt."""
        if isinstance(error, Fenced):
            self._metrics.add(names.PROCESSOR_TRANSACTIONS, 1, result=TransactionResult.FENCED)
        elif isinstance(error, CommitInDoubt):
            self._metrics.add(names.PROCESSOR_TRANSACTIONS, 1, result=TransactionResult.DOUBT)

    def saved(self, size: int, took_s: float) -> None:
        """Record a saved partition snapshot's size and duration."""
        self._metrics.record(names.PROCESSOR_SNAPSHOT_SECONDS, took_s)
        self._metrics.record(names.PROCESSOR_SNAPSHOT_BYTES, size)

    def recovered(self, hits: int, took_s: float) -> None:
        """Record a recovery, with its duration and how many hits it read from the log: kept hits and replayed hits."""
        self._metrics.record(names.PROCESSOR_REPLAY_SECONDS, took_s)
        self._metrics.add(names.PROCESSOR_REPLAYED_HITS, hits)
        self._metrics.add(names.PROCESSOR_RECOVERIES, 1)

    def holds(self, open_visits: int, kept_hits: int) -> None:
        """Set the gauges that show how many visits are open and how many hits are kept."""
        self._metrics.set(names.PROCESSOR_OPEN_VISITS, open_visits)
        self._metrics.set(names.PROCESSOR_KEPT_HITS, kept_hits)

    def failed(self, error: HitmeshError) -> None:
        """Count a store error."""
        self._pulse.fail(error)
        count_store_error(self._metrics, error)


def count_store_error(metrics: Metrics, error: HitmeshError) -> None:
    """Count a store error by reason."""
    metrics.add(names.PROCESSOR_STORE_ERRORS, 1, reason=error.reason)


def count_settled(metrics: Metrics, drift: Drift | None) -> None:
    """Count a published settlement.

    If the settlement replaces the stream's rows, also count the kind of drift, which tells how the rows differ.
    """
    confirmed = drift is not None and drift.confirmed
    result = SettledResult.CONFIRMED if confirmed else SettledResult.NEW_GENERATION
    metrics.add(names.PROCESSOR_SETTLED, 1, result=result)
    if drift is not None and not drift.confirmed:
        kind = DriftKind.MEASURES if drift.measures else DriftKind.ROWS if drift.rows_differ else DriftKind.SKETCH
        metrics.add(names.PROCESSOR_DRIFT, 1, kind=kind)


def count_not_settled(metrics: Metrics, result: SettledResult) -> None:
    """Count a settlement that was not published."""
    metrics.add(names.PROCESSOR_SETTLED, 1, result=result)
