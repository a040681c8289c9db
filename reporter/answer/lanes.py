"""Lanes of questions: dear ones run a few at a time, so that a small one never waits for its turn behind them.

Decides what is dear by the shape of a question, before anything is read: a question that waits holds a thread and no
rows. When in doubt a question is dear. Refuses to know stores and calls.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from hitmesh.model.checkpoints import Checkpoint
from hitmesh.model.filters import Operator, comparisons_in
from reporter.question.asked import Question

QUESTIONS_AT_ONCE: Final = 8
DEAR_DIMENSIONS: Final = 3
# Of a question with a dimension: hours of 16 days, days of a year.
DEAR_BUCKETS: Final = 400
# Buckets times metrics of any question: 20 metrics in the hours of 40 days.
DEAR_CELLS: Final = 20_000
# How long a question that waits for its turn does not look whether its caller is there.
_LOOK_S: Final = 0.1


def is_dear(question: Question) -> bool:
    """Return whether a question may take seconds: patterns, many dimensions, buckets of a dimension, or cells."""
    has_pattern = any(each.operator is Operator.RE2 for each in comparisons_in(question.filter))
    has_many_rows = bool(question.dimensions) and len(question.buckets) > DEAR_BUCKETS
    has_many_cells = len(question.buckets) * len(question.metrics) > DEAR_CELLS
    return has_pattern or has_many_rows or has_many_cells or len(question.dimensions) >= DEAR_DIMENSIONS


class Lanes:
    """Turns of questions: half for dear ones, half for the others, at least one each. Thread-safe.

    Args:
        at_once: questions that are answered at the same time.
    """

    def __init__(self, at_once: int = QUESTIONS_AT_ONCE) -> None:
        dear = max(1, at_once // 2)
        self._dear = threading.Semaphore(dear)
        self._small = threading.Semaphore(max(1, at_once - dear))

    @contextmanager
    def turn(self, question: Question, checkpoint: Checkpoint) -> Iterator[None]:
        """Wait for a turn and hold it.

        Raises:
            Abandoned: the checkpoint said so while the question waited.
        """
        lane = self._dear if is_dear(question) else self._small
        while not lane.acquire(timeout=_LOOK_S):
            checkpoint()
        try:
            yield
        finally:
            lane.release()
