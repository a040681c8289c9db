"""What the processor counts and times of itself, in terms of the registry (hitmesh.runtime.telemetry).

Decides which number goes where; per window, settlement and snapshot, never per hit. Refuses to change anything.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Final

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
    StoreReason,
    TransactionResult,
)
from processor.stream.commit import CommitStep, Reached, nowhere
from processor.stream.live.state import PathCounts

_STAGES: Final = {
    CommitStep.RAW: Stage.RAW,
    CommitStep.MARKS: Stage.MARKS,
    CommitStep.CLAIMS: Stage.CLAIMS,
    CommitStep.TRANSACTION: Stage.TRANSACTION,
    CommitStep.STATE: Stage.STATE,
    CommitStep.PARTIALS: Stage.PARTIALS,
}


def ages_s(progress: Mapping[PartitionId, PartitionProgress], now: int) -> dict[int, float]:
    """Return how many seconds ago the log time was that each partition has reached, by number.

    A partition that has reached nothing yet has no age. One whose log time is ahead of the present has a negative age.

    Args:
        progress: of the partitions of one topic.
        now: UTC ms.
    """
    reached = {name.partition: one.log_time for name, one in progress.items() if one.log_time}
    return {number: (now - log_time) / 1_000 for number, log_time in reached.items()}


class StreamMeter:
    """Counts and times a runner. Confined to its thread.

    Args:
        metrics: takes the numbers.
        reached: is told of each step of a commit, after its time was taken.
    """

    def __init__(self, metrics: Metrics, reached: Reached = nowhere) -> None:
        self._metrics = metrics
        self._reached = reached
        self._lap = time.perf_counter()

    def begin(self) -> None:
        """A stage begins now."""
        self._lap = time.perf_counter()

    def did(self, stage: Stage) -> None:
        """A stage is done: it took the time since the one before it."""
        now = time.perf_counter()
        self._metrics.record(names.PROCESSOR_STEP_SECONDS, now - self._lap, stage=stage)
        self._lap = now

    def reached(self, step: CommitStep) -> None:
        """A step of a commit is done."""
        if step in _STAGES:
            self.did(_STAGES[step])
        self._reached(step)

    def window(self, records: Sequence[LoggedRecord]) -> None:
        """A window was polled."""
        hits = sum(one.record.rows for one in records if one.record.kind == RecordKind.HITS)
        refusals = sum(one.record.kind == RecordKind.REJECTED for one in records)
        self._metrics.add(names.PROCESSOR_RECORDS, len(records) - refusals, topic=LogTopic.HITS)
        self._metrics.add(names.PROCESSOR_RECORDS, refusals, topic=LogTopic.REJECTED)
        if hits:
            self._metrics.add(names.PROCESSOR_HITS, hits)
            self._metrics.record(names.PROCESSOR_BATCH_HITS, hits)

    def committed(self, rows: Sequence[FoldedRows], counts: PathCounts, took_s: float) -> None:
        """A transaction was committed."""
        self._metrics.record(names.PROCESSOR_TRANSACTION_SECONDS, took_s)
        self._metrics.add(names.PROCESSOR_TRANSACTIONS, 1, result=TransactionResult.COMMITTED)
        self._metrics.add(names.PROCESSOR_ROWS, sum(one.traffic.height for one in rows), source=RowKind.TRAFFIC)
        self._metrics.add(names.PROCESSOR_ROWS, sum(one.visits.height for one in rows), source=RowKind.VISITS)
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
        """A transaction ended with an error."""
        if isinstance(error, Fenced):
            self._metrics.add(names.PROCESSOR_TRANSACTIONS, 1, result=TransactionResult.FENCED)
        elif isinstance(error, CommitInDoubt):
            self._metrics.add(names.PROCESSOR_TRANSACTIONS, 1, result=TransactionResult.DOUBT)

    def saved(self, size: int, took_s: float) -> None:
        """A snapshot of a partition was saved."""
        self._metrics.record(names.PROCESSOR_SNAPSHOT_SECONDS, took_s)
        self._metrics.record(names.PROCESSOR_SNAPSHOT_BYTES, size)

    def recovered(self, hits: int, took_s: float) -> None:
        """The states were made again."""
        self._metrics.record(names.PROCESSOR_REPLAY_SECONDS, took_s)
        self._metrics.add(names.PROCESSOR_REPLAYED_HITS, hits)
        self._metrics.add(names.PROCESSOR_RECOVERIES, 1)

    def holds(self, open_visits: int, kept_hits: int) -> None:
        """So much is in the states."""
        self._metrics.set(names.PROCESSOR_OPEN_VISITS, open_visits)
        self._metrics.set(names.PROCESSOR_KEPT_HITS, kept_hits)

    def failed(self, error: HitmeshError) -> None:
        """A store did not do what it was asked."""
        count_store_error(self._metrics, error)


def count_store_error(metrics: Metrics, error: HitmeshError) -> None:
    """Count an error of a store by its reason."""
    metrics.add(names.PROCESSOR_STORE_ERRORS, 1, reason=StoreReason(error.reason))


def count_settled(metrics: Metrics, drift: Drift | None) -> None:
    """Count a settlement that was published."""
    confirmed = drift is not None and drift.confirmed
    result = SettledResult.CONFIRMED if confirmed else SettledResult.NEW_GENERATION
    metrics.add(names.PROCESSOR_SETTLED, 1, result=result)
    if drift is not None and not drift.confirmed:
        kind = DriftKind.MEASURES if drift.measures else DriftKind.ROWS if drift.rows_differ else DriftKind.SKETCH
        metrics.add(names.PROCESSOR_DRIFT, 1, kind=kind)


def count_not_settled(metrics: Metrics, result: SettledResult) -> None:
    """Count a settlement that was not published."""
    metrics.add(names.PROCESSOR_SETTLED, 1, result=result)
