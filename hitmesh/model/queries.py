"""A query to a metric store, as a value."""

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
    """A query to a metric store: sums and sketches from a single row source, grouped by bucket and dimensions.

    `bucket_starts` are ascending UTC ms, multiples of 15 min. Bucket i is [bucket_starts[i], bucket_starts[i+1]), and
    the last bucket ends at `end`. If `bucket_starts` has a single element, the whole range is one bucket. `generations`
    gives the generation to read for each site-day; the query must ignore all other rows. `fresh` tells whether the
    answer must be read from stored rows instead of a cache.
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
    columns: Mapping[str, str] = field(default_factory=dict)  # the column of a dimension, if the names differ
    fresh: bool = False
