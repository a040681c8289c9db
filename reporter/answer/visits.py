"""Which numbers of an answer rest on visits (step 8 of the journey): they may change with hits that are in none yet."""

from __future__ import annotations

from typing import Final

from hitmesh.model.rows.rollup_rows import VISIT_DIMENSIONS
from reporter.question.asked import Question
from reporter.question.catalogue import needs_visits
from reporter.question.check_filter import dimensions_in

_OF_VISITS: Final = frozenset({*VISIT_DIMENSIONS, "exit_page"})


def resting_on_visits(question: Question) -> frozenset[str]:
    """Return the metrics that count visits, or all where rows are told apart by what a visit gives its hits (S9).

    A hit that waits is counted at once, under dimensions of its own: those of its visit are known at settlement.
    """
    asked = {*question.dimensions, *dimensions_in(question.filter)}
    if asked & _OF_VISITS:
        return frozenset(metric.id for metric in question.metrics)
    return frozenset(metric.id for metric in question.metrics if needs_visits(metric))
