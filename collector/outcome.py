"""The outcomes of batches as the service reports them: issues, receipts and counts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache

from collector.admission import Issue
from collector.admission.verdicts import NO_VARIABLES
from hitmesh.api.collector.v1 import collector_pb2
from hitmesh.model.errors import QuotaExceeded, RetryError, Variable
from hitmesh.model.positions import LoggedPosition, Topic
from hitmesh.model.reasons import HitReason

WHOLE_BATCH = -1
RETRY_DELAY_S = 1.0


@dataclass(frozen=True, slots=True)
class BatchOutcome:
    """The outcome of a batch.

    If `retry_s` is set, the client must send the batch again after this many seconds. If `is_free` is true, the sender
    is not charged for refused work, because no hit was refused. Such a batch only waits until the site has budget for
    exclusion rules, or until a quota allows the batch. In the latter case, `exceeded` is the error for a unary call.
    """

    issues: tuple[Issue, ...] = ()
    positions: tuple[LoggedPosition, ...] = ()
    accepted: int = 0
    rejected: int = 0
    retry_s: float | None = None
    is_free: bool = False
    exceeded: QuotaExceeded | None = None

    @property
    def is_charged(self) -> bool:
        """Whether the sender is charged for refused hits, for a refused batch or for an exhausted quota."""
        if self.is_free:
            return False
        return bool(self.rejected) or any(
            issue.index == WHOLE_BATCH and (issue.outcome == "REJECTED" or issue.reason == HitReason.QUOTA)
            for issue in self.issues[:1]
        )


def issue_messages(batch_seq: int | None, outcome: BatchOutcome) -> Iterable[collector_pb2.HitIssue]:
    """Yield a batch's issues as messages. In a call with a single batch, `batch_seq` is None."""
    for issue in outcome.issues:
        message = collector_pb2.HitIssue(
            batch_seq=batch_seq,
            index=None if issue.index == WHOLE_BATCH else issue.index,
            hit_id=issue.hit_id or None,
            outcome=_outcome_number(issue.outcome),
            reason=_reason_number(issue.reason),
            field=issue.field or None,
            message=issue.message,
        )
        if issue.outcome == "RETRY":
            message.retry_delay.FromMilliseconds(math.ceil((outcome.retry_s or RETRY_DELAY_S) * 1000))
        yield message


@cache
def _outcome_number(name: str) -> collector_pb2.Outcome.ValueType:
    return collector_pb2.Outcome.Value(f"OUTCOME_{name}")


@cache
def _reason_number(name: str) -> collector_pb2.Reason.ValueType:
    return collector_pb2.Reason.Value(f"REASON_{name}")


def receipt_messages(batch_seq: int | None, outcome: BatchOutcome) -> Iterable[collector_pb2.Receipt]:
    """Yield a batch's receipts as messages. In a call with a single batch, `batch_seq` is None."""
    for (log, partition, offset), log_time in outcome.positions:
        receipt = collector_pb2.Receipt(
            batch_seq=batch_seq, topic=Topic.HITS.value, log=log, partition=partition, offset=offset
        )
        receipt.log_time.FromMilliseconds(log_time)
        yield receipt


def retry_later(
    reason: HitReason,
    message: str,
    retry_s: float,
    variables: Mapping[str, Variable] = NO_VARIABLES,
    *,
    is_free: bool = False,
) -> BatchOutcome:
    """Return the outcome for a batch that must be sent again. `variables` are the variable parts of the message."""
    issue = Issue(0, WHOLE_BATCH, "", "RETRY", reason, "", message, variables)
    return BatchOutcome(issues=(issue,), retry_s=retry_s, is_free=is_free)


def over_quota(error: QuotaExceeded) -> BatchOutcome:
    """Return the outcome for a batch that must wait, because a quota is used up."""
    outcome = retry_later(HitReason.QUOTA, error.message, error.retry_after_s, error.variables, is_free=True)
    return replace(outcome, exceeded=error)


def put_off(error: RetryError) -> BatchOutcome:
    """Return the outcome for a batch that must wait, because its site's budget for exclusion rules is exhausted."""
    return retry_later(HitReason.QUOTA, error.message, error.retry_after_s, error.variables, is_free=True)


def as_retry(error: BaseException) -> RetryError:
    """Return the error after which a client must send a batch again, because the log failed."""
    if isinstance(error, RetryError):
        return error
    return RetryError(f"the log failed ({error}): send the batch again", cause=str(error))
