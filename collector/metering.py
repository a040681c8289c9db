"""The collector's metrics. The metrics are updated per micro-batch, batch and record, but never per hit."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence

from collector.admission import Admitted, Frame
from collector.outcome import BatchOutcome
from hitmesh.model.errors import HitmeshError, QuotaExceeded, RetryError
from hitmesh.model.positions import Topic
from hitmesh.model.quotas import QuotaKind
from hitmesh.runtime.telemetry import Metrics
from hitmesh.runtime.telemetry import registry as known
from hitmesh.runtime.telemetry.labels import OTHER, HitOutcome, IssueOutcome, LogTopic


class CollectorMeter:
    """The collector's counters and histograms."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def admitted(self, frames: Sequence[Frame], admitted: Admitted) -> None:
        """Count an admitted micro-batch."""
        self._metrics.record(known.COLLECTOR_BATCH_BYTES, sum(len(frame.batch) for frame in frames))
        refused = int(admitted.rejected["hits"].sum()) if admitted.rejected.height else 0
        self._metrics.record(known.COLLECTOR_BATCH_HITS, admitted.hits.height + refused)

    def reported(self, arrived_s: Sequence[float], outcomes: Sequence[BatchOutcome], retry_hits: int = 0) -> None:
        """Count batches when their outcomes are reported.

        Args:
            arrived_s: the arrival time of each batch, from time.perf_counter.
            outcomes: the outcome of each batch.
            retry_hits: the number of hits that must be sent again, except hits in batches that were not decoded.
        """
        now_s = time.perf_counter()
        for began_s in arrived_s:
            self._metrics.record(known.COLLECTOR_ACK_SECONDS, now_s - began_s)
        counts = {
            HitOutcome.ACCEPTED: sum(outcome.accepted for outcome in outcomes),
            HitOutcome.REJECTED: sum(outcome.rejected for outcome in outcomes),
            HitOutcome.RETRY: retry_hits,
        }
        for hit_outcome, hits in counts.items():
            if hits:
                self._metrics.add(known.COLLECTOR_HITS, hits, outcome=hit_outcome)
        issues = Counter((issue.outcome, issue.reason) for outcome in outcomes for issue in outcome.issues)
        for (issue_outcome, reason), count in issues.items():
            self._metrics.add(known.COLLECTOR_ISSUES, count, outcome=IssueOutcome(issue_outcome), reason=reason)

    def ended(self, error: HitmeshError) -> None:
        """Count a stream that ended with an error."""
        outcome = IssueOutcome.RETRY if isinstance(error, RetryError) else IssueOutcome.REJECTED
        self._metrics.add(known.COLLECTOR_ISSUES, 1, outcome=outcome, reason=error.reason)

    def over_quota(self, error: QuotaExceeded, hits: int) -> None:
        """Count the hits of a batch that must be sent again because a quota is used up."""
        self._metrics.add(known.COLLECTOR_QUOTA_HITS, hits, quota=QuotaKind(error.quota))

    def appended(self, topic: Topic, error: BaseException | None) -> None:
        """Count a record that became durable, or an append that failed."""
        if error is None:
            self._metrics.add(known.COLLECTOR_RECORDS, 1, topic=LogTopic(topic.value))
        else:
            reason = error.reason if isinstance(error, HitmeshError) else OTHER
            self._metrics.add(known.COLLECTOR_APPEND_FAILURES, 1, reason=reason)
