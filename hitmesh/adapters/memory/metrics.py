"""Answer questions from the rows in memory."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import polars as pl

from hitmesh.adapters.memory.rows import MemoryRows
from hitmesh.adapters.shared.answers import answer, needed_columns, rows_with
from hitmesh.adapters.shared.stream_rows import sums_of
from hitmesh.model.checkpoints import Checkpoint, unwatched
from hitmesh.model.generations import STREAM_GENERATION
from hitmesh.model.positions import PartitionId, PartitionProgress, Topic
from hitmesh.model.queries import MetricQuery
from hitmesh.model.sites import SiteDay
from hitmesh.ports import ProgressReader


class MemoryMetricStore:
    """Implements the port MetricStore in memory.

    Args:
        rows: the rows to query.
        progress: the committed positions. Rows are visible to queries as soon as they are committed.
    """

    def __init__(self, rows: MemoryRows, progress: ProgressReader) -> None:
        self.rows = rows
        self._progress = progress

    def query(self, question: MetricQuery, checkpoint: Checkpoint = unwatched) -> pl.DataFrame:
        """Return bucket, dimensions, sums and united sketches for the requested generations."""
        return answer(self._rows_for(question, needed_columns(question, question.dimensions)), question, checkpoint)

    def ingested_through(self) -> Mapping[PartitionId, PartitionProgress]:
        """Return the committed positions. A transaction commits rows together with positions, so no row is missing."""
        return self._progress.progress(Topic.HITS)

    def stream_sums(
        self, site_days: Collection[SiteDay], generation: int = STREAM_GENERATION
    ) -> Mapping[SiteDay, Mapping[str, int]]:
        """Return, for each requested site-day, the sums over all rows of the stream with this generation."""
        return sums_of(self.rows.streamed(site_days, generation), site_days)

    def _rows_for(self, question: MetricQuery, columns: Sequence[str]) -> pl.DataFrame:
        return rows_with(self.rows.of_generations(question.source, question.generations), question.source, columns)
