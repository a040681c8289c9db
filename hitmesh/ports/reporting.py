"""The ports of reports: questions to settled rows, and how far the log has been applied."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

import polars as pl

from hitmesh.model.checkpoints import Checkpoint, unwatched
from hitmesh.model.positions import PartitionId, PartitionProgress, Topic
from hitmesh.model.queries import MetricQuery
from hitmesh.model.sites import SiteDay


class MetricStore(Protocol):
    """Answers questions over published rows."""

    def query(self, question: MetricQuery, checkpoint: Checkpoint = unwatched) -> pl.DataFrame:
        """Returns one row per bucket and dimension values; groups in which no row matched are absent.

        Columns: `bucket` (Int32 index), the dimensions (String, null = not set), the measures (Int64 sums) and the
        sketches (Binary, united). No order is promised.
        Dimension values with quotes, backslashes, newlines and any Unicode come back as they were written.

        Raises:
            Abandoned: the checkpoint said so; it is looked at between the steps of the work.
            RefusedError: the work would be beyond a limit, which the message names with its cure.
        """

    def ingested_through(self) -> Mapping[PartitionId, PartitionProgress]:
        """Returns up to which position of each partition of hits every row of the stream is in answers.

        Never more than what was committed; a declared partition of which nothing is known is (0, 0).
        """

    def stream_sums(self, site_days: Collection[SiteDay]) -> Mapping[SiteDay, Mapping[str, int]]:
        """Returns the sums (ROW_SUMS) of all rows of STREAM_GENERATION, for each of these site-days.

        Rows of both sources and of excluded hits count; a site-day without rows has zeros. Equal sums prove little of
        single rows, but rows that were lost or doubled show. Sums are exact modulo 2⁶⁴.

        Raises:
            Unavailable: the store does not answer, or has lost rows for a while that it had.
        """

    def dimension_values(self, question: MetricQuery, dimension: str, limit: int) -> Sequence[str]:
        """Returns distinct values of a dimension in the range, for suggestions; at most `limit`."""


class ProgressReader(Protocol):
    """How far the processor has applied the log: what GetFreshness is computed from."""

    def progress(self, topic: Topic) -> Mapping[PartitionId, PartitionProgress]:
        """Returns the committed progress of every **declared** partition; one without progress is (0, 0)."""
