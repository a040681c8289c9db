"""Find the metrics that depend on visits (journey step 8).

When a hit joins a visit later, the values of metrics that depend on visits may change.
"""

from __future__ import annotations

from typing import Final

from hitmesh.model.rows.rollup_rows import VISIT_DIMENSIONS
from reporter.question.catalogue import needs_visits
from reporter.question.check_filter import dimensions_in
from reporter.question.question import Question

_OF_VISITS: Final = frozenset({*VISIT_DIMENSIONS, "exit_page"})


def resting_on_visits(question: Question) -> frozenset[str]:
    """Return the metrics that count visits, or all metrics if the question uses a visit dimension (rule S9).

    A waiting hit counts in hit metrics at once, under the hit's own dimension values. The visit's dimension values are
    known only after settlement.
    """
    dimensions = {*question.dimensions, *dimensions_in(question.filter)}
    if dimensions & _OF_VISITS:
        return frozenset(metric.id for metric in question.metrics)
    return frozenset(metric.id for metric in question.metrics if needs_visits(metric))
