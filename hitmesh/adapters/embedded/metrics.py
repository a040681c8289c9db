"""Step 8 of the journey on one machine: questions answered from segments and from the stream's rows.

Decides which columns of which files are read, and keeps the ones used last; what the answer is, decides
shared.answers. Another process merges and deletes files while this one reads. Site-days of the stream's
generation come from hitmesh.adapters.embedded.stream_rows.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from typing import Final

import polars as pl

from hitmesh.adapters.embedded.segments import Segments, Slice
from hitmesh.adapters.embedded.stream_rows import StreamRows
from hitmesh.adapters.shared.answers import answer, as_asked, distinct_values, needed_columns, settled_columns
from hitmesh.adapters.shared.stream_rows import sums_of
from hitmesh.adapters.shared.work_limits import MAX_CELLS, refuse_cells
from hitmesh.model.checkpoints import Checkpoint, unwatched
from hitmesh.model.errors import Unavailable
from hitmesh.model.filters import comparisons_in
from hitmesh.model.positions import PartitionId, PartitionProgress, Topic
from hitmesh.model.queries import MetricQuery
from hitmesh.model.rows.rollup_rows import RowSource
from hitmesh.model.rows.stream_columns import STREAM_GENERATION
from hitmesh.model.sites import SiteDay
from hitmesh.ports import ProgressReader

MAX_CACHED_BYTES: Final = 64 << 20
_ATTEMPTS: Final = 3


class SegmentColumns:
    """Columns of segments, the last used ones kept. Thread-safe; a segment never changes, so none is ever stale.

    Args:
        segments: where the files are.
        max_bytes: how much is kept; a single larger column is read but not kept.
    """

    def __init__(self, segments: Segments, max_bytes: int = MAX_CACHED_BYTES) -> None:
        self._segments = segments
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, str], tuple[pl.Series, int]] = OrderedDict()
        self._bytes = 0

    def of(self, file: str, columns: Sequence[str]) -> pl.DataFrame:
        """Returns columns of a file, in that order.

        Raises:
            FileNotFoundError: the file was deleted and not all columns were kept.
        """
        found: dict[str, pl.Series] = {}
        with self._lock:
            for column in columns:
                if (file, column) in self._kept:
                    self._kept.move_to_end((file, column))
                    found[column] = self._kept[file, column][0]
        missing = [column for column in columns if column not in found]
        if missing:
            rows = self._segments.read(file, missing).rechunk()
            found.update({column: rows[column] for column in missing})
            self._keep(file, missing, rows)
        return pl.DataFrame([found[column] for column in columns])

    def _keep(self, file: str, columns: Sequence[str], rows: pl.DataFrame) -> None:
        with self._lock:
            for column in columns:
                size = int(rows[column].estimated_size())
                if size > self._max_bytes or (file, column) in self._kept:
                    continue
                self._kept[file, column] = rows[column], size
                self._bytes += size
            while self._bytes > self._max_bytes:
                _, (_, size) = self._kept.popitem(last=False)
                self._bytes -= size


class EmbeddedMetricStore:
    """A MetricStore over segments and the stream's rows.

    Args:
        segments: settled rows.
        streamed: the stream's rows.
        progress: what was committed, in the transactions that brought the stream's rows.
        max_cached_bytes: how much of the segments is kept.
        max_cells: rows × (columns + comparisons) of a question.
    """

    def __init__(
        self,
        segments: Segments,
        streamed: StreamRows,
        progress: ProgressReader,
        max_cached_bytes: int = MAX_CACHED_BYTES,
        max_cells: int = MAX_CELLS,
    ) -> None:
        self._segments = segments
        self._streamed = streamed
        self._progress = progress
        self._columns = SegmentColumns(segments, max_cached_bytes)
        self._max_cells = max_cells

    def query(self, question: MetricQuery, checkpoint: Checkpoint = unwatched) -> pl.DataFrame:
        """Returns bucket, dimensions, sums and united sketches of the asked generations."""
        rows = self._rows(question, needed_columns(question, question.dimensions), checkpoint)
        return answer(rows, question, checkpoint, max_cells=self._max_cells)

    def ingested_through(self) -> Mapping[PartitionId, PartitionProgress]:
        """Returns what was committed: rows and positions are one transaction."""
        return self._progress.progress(Topic.HITS)

    def stream_sums(self, site_days: Collection[SiteDay]) -> Mapping[SiteDay, Mapping[str, int]]:
        """Returns the sums of all rows of the stream's generation, for each of these site-days."""
        return sums_of({source: self._streamed.of(source, site_days) for source in RowSource}, site_days)

    def dimension_values(self, question: MetricQuery, dimension: str, limit: int) -> Sequence[str]:
        """Returns distinct values of a dimension in the range, ascending; at most `limit`."""
        rows = self._rows(question, needed_columns(question, [dimension]))
        return distinct_values(rows, question, dimension, limit)

    def _rows(self, question: MetricQuery, columns: Sequence[str], checkpoint: Checkpoint = unwatched) -> pl.DataFrame:
        """Returns columns of the rows of the asked generations; no others are looked at."""
        generations = question.generations.items()
        live = [site_day for site_day, generation in generations if generation == STREAM_GENERATION]
        parts = self._settled(question, settled_columns(columns), checkpoint) if len(live) < len(generations) else []
        checkpoint()
        if live:
            parts.append(self._streamed.of(question.source, live))
        return as_asked(parts, question.source, columns)

    def _settled(self, question: MetricQuery, columns: Sequence[str], checkpoint: Checkpoint) -> list[pl.DataFrame]:
        """Returns settled rows.

        A file that was merged into another or dropped after we read the manifest is gone: the new manifest knows.
        """
        for _ in range(_ATTEMPTS):
            slices = self._segments.named(question.source, question.generations.items())
            comparisons = len(comparisons_in(question.filter))
            refuse_cells(sum(one.rows for one in slices), len(columns), comparisons, self._max_cells)
            frames: dict[str, pl.DataFrame] = {}
            try:
                for file in {one.file for one in slices}:
                    checkpoint()
                    frames[file] = self._columns.of(file, columns)
            except FileNotFoundError:
                continue
            return [frames[file].slice(first, rows) for file, first, rows in _joined(slices)]
        raise Unavailable("segments changed faster than they could be read")


def _joined(slices: Sequence[Slice]) -> list[tuple[str, int, int]]:
    """Returns (file, first row, rows) with neighbours in a file joined; `slices` come by file and row."""
    joined: list[tuple[str, int, int]] = []
    for one in slices:
        if joined and joined[-1][0] == one.file and joined[-1][1] + joined[-1][2] == one.first_row:
            file, first_row, rows = joined.pop()
            joined.append((file, first_row, rows + one.rows))
        else:
            joined.append((one.file, one.first_row, one.rows))
    return joined
