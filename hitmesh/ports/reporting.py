"""The ports that reports use: queries over published rows, and the processor's progress in the log."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Protocol

from hitmesh.model.checkpoints import Checkpoint, unwatched
from hitmesh.model.generations import STREAM_GENERATION
from hitmesh.model.positions import PartitionId, PartitionProgress, Topic
from hitmesh.model.queries import MetricQuery
from hitmesh.model.sites import SiteDay

if TYPE_CHECKING:
    import polars as pl


class MetricStore(Protocol):
    """Answers queries over published rows."""

    def query(self, question: MetricQuery, checkpoint: Checkpoint = unwatched) -> pl.DataFrame:
        """Return a row for each group (bucket and dimension values) that has at least one matching row.

        The column `bucket` (Int32) is the index in `bucket_starts`. The other columns are the dimensions (String; null
        means not set), the measures (exact sums) and the sketches (Binary, united). Rows have no defined order.
        Dimension values are returned exactly as they were written, including quotes, backslashes, newlines and any
        Unicode character.

        Raises:
            Abandoned: raised by the checkpoint, which the store calls between the steps of the query.
            RefusedError: the query would exceed a limit; the message names the limit and the remedy.
        """

    def ingested_through(self) -> Mapping[PartitionId, PartitionProgress]:
        """Return a position for each hits partition. Answers include all rows that the stream made before the position.

        A position is never ahead of the committed position. If a declared partition has no stored position, its offset
        and log time are 0.
        """

    def stream_sums(
        self, site_days: Collection[SiteDay], generation: int = STREAM_GENERATION
    ) -> Mapping[SiteDay, Mapping[str, int]]:
        """Return the sums of the measures in ROW_SUMS over all rows in a stream's generation, for each given site-day.

        The sums include the rows from hits and from visits, and also the rows of excluded hits. A site-day without rows
        has zeros. If the returned sums differ from the sums of the stream's partials (SeriesStore), the metric store
        lost or doubled rows. Even if the sums are equal, the metric store may have lost or doubled rows. Sums are exact
        modulo 2⁶⁴.

        Raises:
            Unavailable: the store does not answer, or temporarily lacks rows that earlier answers had.
        """


class ProgressReader(Protocol):
    """Reads the processor's progress in the log. GetFreshness is computed from the processor's progress."""

    def progress(self, topic: Topic) -> Mapping[PartitionId, PartitionProgress]:
        """Return the committed progress of every **declared** partition; offset and log time are 0 without a commit."""
