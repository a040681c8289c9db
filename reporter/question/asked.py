"""A question that was checked: what the plan, the series and the formats work with (step 7 of the journey).

Decides nothing. Every name in it is known, every limit is kept, every default is filled in.
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
    """What becomes of buckets in which nothing happened."""

    NONE = "none"
    ZERO = "zero"
    NULL = "null"


@dataclass(frozen=True, slots=True)
class Order:
    """A metric, a dimension or `time` to order by."""

    field: str
    descending: bool = False


@dataclass(frozen=True)
class Question:
    """What is asked about some sites. The range is [start, end) in UTC ms; `buckets` cover it, none when it is empty.

    `dates` are the civil dates (both included) when the range was given by dates.
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
        """The zone of the buckets."""
        return self.buckets.zone

    @property
    def has_time(self) -> bool:
        """Whether rows carry a bucket."""
        return self.buckets.grain is not Grain.NONE

    def of_totals(self) -> Question:
        """Returns the same question over the range as one row."""
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
