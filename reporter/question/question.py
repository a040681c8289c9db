"""A checked question: the input of plan, series and formats (journey step 7).

In a checked question, every name is known, every limit is kept, and every default is filled in.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

import numpy as np

from hitmesh.model.cells import Buckets, Grain
from hitmesh.model.filters import Filter
from reporter.question.catalogue import Metric

TIME: Final = "time"
MAX_ROWS: Final = 100_000
DEFAULT_ROWS: Final = 10_000


class GapFill(StrEnum):
    """The value with which empty buckets are filled; NONE adds no row for an empty bucket."""

    NONE = "none"
    ZERO = "zero"
    NULL = "null"


@dataclass(frozen=True, slots=True)
class Order:
    """A sort key: a metric, a dimension or `time`."""

    field: str
    descending: bool = False


@dataclass(frozen=True)
class Question:
    """A question about some sites. `buckets` cover the range [start, end) in UTC ms; an empty range has no buckets.

    `dates` are the first and last civil date, both inclusive, if the request gave the range as dates.
    """

    metrics: tuple[Metric, ...]
    buckets: Buckets
    start: int
    end: int
    dimensions: tuple[str, ...] = ()
    dates: tuple[dt.date, dt.date] | None = None
    filter: Filter | None = None
    order_by: tuple[Order, ...] = ()
    limit: int = DEFAULT_ROWS
    gap_fill: GapFill = GapFill.ZERO
    gap_fill_is_default: bool = True
    include_totals: bool = False
    include_excluded: bool = False

    @property
    def zone(self) -> str:
        """The buckets' time zone."""
        return self.buckets.zone

    @property
    def has_time(self) -> bool:
        """Whether rows have a time bucket."""
        return self.buckets.grain is not Grain.NONE

    def of_totals(self) -> Question:
        """Return the question for totals, whose answer is a single row for the whole range."""
        whole = Buckets(
            self.zone,
            Grain.NONE,
            np.array([self.start], np.int64),
            np.array([self.end], np.int64),
            np.array([False]),
        )
        return replace(
            self, dimensions=(), buckets=whole, order_by=(), limit=1, gap_fill=GapFill.ZERO, gap_fill_is_default=False
        )
