"""The labels of metrics and their allowed values.

The number of time series is bounded, because no label value names a site or a visitor, and no label value is a text
from outside. Each set of labels has a function whose argument types accept only the allowed values.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final

from hitmesh.model.quotas import QuotaKind
from hitmesh.model.reasons import ErrorReason, HitReason, LocalReason
from hitmesh.runtime.telemetry.kinds import Labels

# Maximum number of values of the label `partition`. All higher partition numbers share the last value.
MAX_PARTITIONS: Final = 1_024
OTHER: Final = "OTHER"
# Reasons in issues (collector.v1.Reason). ID_COLLISION is missing, because id collisions are found only after the
# acknowledgement.
ISSUE_REASONS: Final = (*(reason for reason in HitReason if reason is not HitReason.ID_COLLISION), OTHER)
# Reasons why a store operation failed (hitmesh.model.errors).
STORE_REASONS: Final = (
    ErrorReason.LOG_FULL,
    ErrorReason.UNAVAILABLE,
    ErrorReason.DISK_FULL,
    LocalReason.PARTITIONS_MOVED,
    ErrorReason.COMMIT_IN_DOUBT,
    LocalReason.STALE_GENERATION,
    LocalReason.FENCED,
    ErrorReason.STORE_CORRUPT,
    OTHER,
)


class Part(StrEnum):
    """The processes."""

    COLLECTOR = "collector"
    PROCESSOR = "processor"
    REPORTER = "reporter"
    CONTROL = "control"


class LogTopic(StrEnum):
    """The topics of the log (hitmesh.model.positions.Topic)."""

    HITS = "hits"
    REJECTED = "rejected"


class HitOutcome(StrEnum):
    """The outcome of hits as reported to the client. RETRY: the client must send the hits again."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    RETRY = "retry"


class IssueOutcome(StrEnum):
    """The outcome in an issue that a client gets (collector.v1.Outcome).

    An unknown outcome becomes OTHER.
    """

    WARNED = "WARNED"
    REJECTED = "REJECTED"
    RETRY = "RETRY"
    OTHER = "OTHER"

    @classmethod
    def _missing_(cls, value: object) -> IssueOutcome:
        return cls.OTHER


class HitPath(StrEnum):
    """How the live stream processed a hit (architecture A7, A8; rule S9)."""

    FAST = "fast"
    SLOW = "slow"
    WAITING = "waiting"
    LATE = "late"
    HISTORY = "history"
    COPY = "copy"


class Stage(StrEnum):
    """The steps that process a window of the stream, in order. The rows are created in the step VISITS."""

    POLL = "poll"
    DECODE = "decode"
    RAW = "raw"
    MARKS = "marks"
    CLAIMS = "claims"
    COPIES = "copies"
    VISITS = "visits"
    TRANSACTION = "transaction"
    STATE = "state"
    PARTIALS = "partials"


class RowKind(StrEnum):
    """The sources of stored rows: hits or visits (hitmesh.model.rows.rollup_rows.RowSource)."""

    TRAFFIC = "traffic"
    VISITS = "visits"


class TransactionResult(StrEnum):
    """The result of a transaction of the live stream. DOUBT: it is unknown whether the transaction was committed."""

    COMMITTED = "committed"
    FENCED = "fenced"
    DOUBT = "doubt"


class SettledResult(StrEnum):
    """The result of a site-day's settlement."""

    CONFIRMED = "confirmed"
    NEW_GENERATION = "new_generation"
    STALE = "stale"
    BROKEN = "broken"


class ReprocessedResult(StrEnum):
    """The result of a reprocessing's work on a site-day (hitmesh.model.reprocessings.Work).

    If the result is FAILED, the reprocessing ends.
    """

    RECOMPUTED = "recomputed"
    PUBLISHED = "published"
    ROLLED_BACK = "rolled_back"
    CANCELLED = "cancelled"
    FAILED = "failed"


class DriftKind(StrEnum):
    """The kind of difference between a settled site-day and the stream.

    MEASURES: the sum of a measure differs. ROWS: a row differs. SKETCH: a sketch differs. If several kinds apply,
    MEASURES takes precedence over ROWS, and ROWS over SKETCH.
    """

    MEASURES = "measures"
    ROWS = "rows"
    SKETCH = "sketch"


class StatusCode(StrEnum):
    """The gRPC status of a call."""

    OK = "OK"
    CANCELLED = "CANCELLED"
    UNKNOWN = "UNKNOWN"
    INVALID_ARGUMENT = "INVALID_ARGUMENT"
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"
    NOT_FOUND = "NOT_FOUND"
    ALREADY_EXISTS = "ALREADY_EXISTS"
    PERMISSION_DENIED = "PERMISSION_DENIED"
    RESOURCE_EXHAUSTED = "RESOURCE_EXHAUSTED"
    FAILED_PRECONDITION = "FAILED_PRECONDITION"
    ABORTED = "ABORTED"
    OUT_OF_RANGE = "OUT_OF_RANGE"
    UNIMPLEMENTED = "UNIMPLEMENTED"
    INTERNAL = "INTERNAL"
    UNAVAILABLE = "UNAVAILABLE"
    DATA_LOSS = "DATA_LOSS"
    UNAUTHENTICATED = "UNAUTHENTICATED"


FAULTS: Final = (
    StatusCode.UNAVAILABLE,
    StatusCode.INTERNAL,
    StatusCode.UNKNOWN,
    StatusCode.DATA_LOSS,
    StatusCode.DEADLINE_EXCEEDED,
)
"""Statuses for which the mesh, not the caller, is the cause."""


PartitionNumber = Annotated[int, f"0 to {MAX_PARTITIONS - 1:,}"]
RpcMethod = Annotated[str, "every single-request method of the contract, as package.Service/Method"]
IssueReason = Annotated[str, ISSUE_REASONS]
StoreReason = Annotated[str, STORE_REASONS]
BuildText = Annotated[str, "one value per build"]


def unlabelled() -> Labels:
    """No labels."""
    return {}


def by_topic(*, topic: LogTopic) -> Labels:
    """By log topic."""
    return {"topic": topic.value}


def by_hit_outcome(*, outcome: HitOutcome) -> Labels:
    """Label hits by the outcome that the client gets."""
    return {"outcome": outcome.value}


def by_issue(*, outcome: IssueOutcome, reason: IssueReason) -> Labels:
    """Label issues by outcome and reason.

    A reason outside ISSUE_REASONS becomes OTHER.
    """
    return {"outcome": outcome.value, "reason": reason if reason in ISSUE_REASONS else OTHER}


def by_quota(*, quota: QuotaKind) -> Labels:
    """By kind of quota."""
    return {"quota": quota.value}


def by_store_reason(*, reason: StoreReason) -> Labels:
    """Label store errors by reason; a reason outside STORE_REASONS becomes OTHER."""
    return {"reason": reason if reason in STORE_REASONS else OTHER}


def by_path(*, path: HitPath) -> Labels:
    """Label hits by how the stream processed the hits (see HitPath)."""
    return {"path": path.value}


def by_stage(*, stage: Stage) -> Labels:
    """Label durations by the step that processes a stream window (see Stage)."""
    return {"stage": stage.value}


def by_row_kind(*, source: RowKind) -> Labels:
    """By row source."""
    return {"source": source.value}


def by_partition(*, partition: PartitionNumber) -> Labels:
    """Label by partition number; a number above MAX_PARTITIONS − 1 becomes MAX_PARTITIONS − 1."""
    return {"partition": str(min(partition, MAX_PARTITIONS - 1))}


def by_transaction_result(*, result: TransactionResult) -> Labels:
    """By transaction result."""
    return {"result": result.value}


def by_settled_result(*, result: SettledResult) -> Labels:
    """By settlement result."""
    return {"result": result.value}


def by_reprocessed_result(*, result: ReprocessedResult) -> Labels:
    """Label site-days by their result in a reprocessing."""
    return {"result": result.value}


def by_drift(*, kind: DriftKind) -> Labels:
    """Label site-days by the kind of drift."""
    return {"kind": kind.value}


def by_call(*, rpc_method: RpcMethod, rpc_response_status_code: StatusCode) -> Labels:
    """Label calls by RPC method and gRPC status; the label names follow OpenTelemetry's conventions."""
    return {"rpc_method": rpc_method, "rpc_response_status_code": rpc_response_status_code.value}


def by_build(*, part: Part, version: BuildText, python: BuildText) -> Labels:
    """Label a process by its name, its hitmesh version and its Python version."""
    return {"part": part.value, "version": version, "python": python}
