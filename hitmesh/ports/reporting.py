"""The ports of reports: queries over published rows, and how far the log has been applied."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Protocol

from hitmesh.model.checkpoints import Checkpoint, unwatched
from hitmesh.model.positions import PartitionId, PartitionProgress, Topic
from hitmesh.model.queries import MetricQuery
from hitmesh.model.sites import SiteDay

if TYPE_CHECKING:
    import polars as pl


class MetricStore(Protocol):
    """Answers queries over published rows."""

    def query(self, question: MetricQuery, checkpoint: Checkpoint = unwatched) -> pl.DataFrame:
        """Return one row per bucket and dimension values; groups without a matching row are absent.

        Columns: `bucket` (Int32 index), the dimensions (String, null = not set), the measures (Int64 sums) and the
        sketches (Binary, united). No order is promised.
        Dimension values with quotes, backslashes, newlines and any Unicode come back as written.

        Raises:
            Abandoned: raised by the checkpoint, which is called between the steps of the work.
            RefusedError: the work would exceed a limit; the message names the limit and the remedy.
        """

    def ingested_through(self) -> Mapping[PartitionId, PartitionProgress]:
        """Return, per partition of hits, the position up to which answers include every row of the stream.

        Never ahead of the committed position; a declared partition without a known position is at (0, 0).
        """

    def stream_sums(self, site_days: Collection[SiteDay]) -> Mapping[SiteDay, Mapping[str, int]]:
        """Return the sums (ROW_SUMS) over all rows of STREAM_GENERATION, for each given site-day.

        Rows from both sources and rows of excluded hits count; a site-day without rows has zeros. Equal sums prove
        little about single rows, but lost or doubled rows show. Sums are exact modulo 2⁶⁴.

        Raises:
            Unavailable: the store does not answer, or is temporarily missing rows that it had.
        """


class ProgressReader(Protocol):
    """How far the processor has applied the log: the input of GetFreshness."""

    def progress(self, topic: Topic) -> Mapping[PartitionId, PartitionProgress]:
        """Return the committed progress of every **declared** partition; (0, 0) for a partition without progress."""
