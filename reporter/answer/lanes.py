"""Lanes for questions. Small questions have separate slots, so that they never wait for expensive questions.

A question's content shows whether the question may be expensive, so the lane is chosen before any read. A waiting
question holds a thread but no rows.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from hitmesh.model.checkpoints import Checkpoint
from hitmesh.model.filters import Operator, comparisons_in
from reporter.question.question import Question

QUESTIONS_AT_ONCE: Final = 8
DEAR_DIMENSIONS: Final = 3
# A question with dimensions and more buckets than this limit is expensive. 400 buckets are, for example, the hours of
# about 16 days, or the days of about a year.
DEAR_BUCKETS: Final = 400
# A question with more values (buckets × metrics) than this limit is expensive. 20,000 values are, for example, 20
# metrics for each hour of about 40 days.
DEAR_VALUES: Final = 20_000
# Seconds between two checks whether the caller of a waiting question is still connected.
_LOOK_S: Final = 0.1


def is_dear(question: Question) -> bool:
    """Return whether a question may take seconds: it has a pattern, or many dimensions, rows or values."""
    has_pattern = any(each.operator is Operator.RE2 for each in comparisons_in(question.filter))
    has_many_rows = bool(question.dimensions) and len(question.buckets) > DEAR_BUCKETS
    has_many_values = len(question.buckets) * len(question.metrics) > DEAR_VALUES
    return has_pattern or has_many_rows or has_many_values or len(question.dimensions) >= DEAR_DIMENSIONS


class Lanes:
    """Slots for questions: half for expensive questions, half for small questions. Thread-safe.

    Args:
        at_once: number of questions answered at the same time. Each half has at least 1 slot.
    """

    def __init__(self, at_once: int = QUESTIONS_AT_ONCE) -> None:
        dear = max(1, at_once // 2)
        self._dear = threading.Semaphore(dear)
        self._small = threading.Semaphore(max(1, at_once - dear))

    @contextmanager
    def turn(self, question: Question, checkpoint: Checkpoint) -> Iterator[None]:
        """Wait for a free slot, and hold this slot until the context ends.

        Raises:
            Abandoned: the caller left or the deadline passed while the question waited.
        """
        lane = self._dear if is_dear(question) else self._small
        while not lane.acquire(timeout=_LOOK_S):
            checkpoint()
        try:
            yield
        finally:
            lane.release()
