"""A question to the metric store, as a value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hitmesh.model.filters import Filter
from hitmesh.model.sites import SiteDay

if TYPE_CHECKING:
    from hitmesh.model.rows.rollup_rows import RowSource


@dataclass(frozen=True, slots=True)
class MetricQuery:
    """A question to a metric store: sums and sketches from one row source, by bucket and dimensions.

    `bucket_starts` are ascending UTC ms, multiples of 15 min; bucket i is [bucket_starts[i], bucket_starts[i+1]), the
    last bucket ends at `end`. A single start makes the whole range one bucket.
    `generations` names the generation to read per site-day; other rows do not exist for the query.
    """

    source: RowSource
    generations: Mapping[SiteDay, int]
    start: int
    end: int
    bucket_starts: tuple[int, ...]
    dimensions: tuple[str, ...] = ()
    measures: tuple[str, ...] = ()
    sketches: tuple[str, ...] = ()
    filter: Filter | None = None
    include_excluded: bool = False
    columns: Mapping[str, str] = field(default_factory=dict)  # the question's dimension → column, where the two differ
