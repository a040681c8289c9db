"""Answer questions on one machine, from segments and from the stream's rows (step 8 of the journey).

This module selects the columns and files to read, and caches recently used columns. The module shared.answers computes
the answer. Another process may merge and delete files during a read. If a stream produced the requested generation, the
module hitmesh.adapters.embedded.stream_rows reads the rows.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from typing import Final

import polars as pl

from hitmesh.adapters.embedded.segments import Segments, Slice
from hitmesh.adapters.embedded.stream_rows import StreamRows
from hitmesh.adapters.shared.answers import answer, needed_columns, rows_with, settled_columns
from hitmesh.adapters.shared.stream_rows import sums_of
from hitmesh.adapters.shared.work_limits import MAX_VALUES, refuse_values
from hitmesh.model.checkpoints import Checkpoint, unwatched
from hitmesh.model.errors import StoreCorrupt, Unavailable
from hitmesh.model.filters import comparisons_in
from hitmesh.model.generations import STREAM_GENERATION, is_streamed
from hitmesh.model.positions import PartitionId, PartitionProgress, Topic
from hitmesh.model.queries import MetricQuery
from hitmesh.model.rows.rollup_rows import RowSource
from hitmesh.model.sites import SiteDay
from hitmesh.model.stored import SETTLED_CURE
from hitmesh.ports import ProgressReader

MAX_CACHED_BYTES: Final = 64 << 20
_ATTEMPTS: Final = 3


class SegmentColumns:
    """An LRU cache of segment columns. Thread-safe. No entry is ever stale, because segments never change.

    Args:
        segments: the files.
        max_bytes: limit on cached bytes; a larger column is read but not cached.
    """

    def __init__(self, segments: Segments, max_bytes: int = MAX_CACHED_BYTES) -> None:
        self._segments = segments
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, str], tuple[pl.Series, int]] = OrderedDict()
        self._bytes = 0

    def of(self, file: str, columns: Sequence[str]) -> pl.DataFrame:
        """Return columns of a segment file, in the requested order.

        Raises:
            FileNotFoundError: the file was deleted, and a requested column is not cached.
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
    """Implements the port MetricStore with segments and the stream's rows.

    Args:
        segments: settled rows.
        streamed: the stream's rows.
        progress: the positions committed together with the stream's rows.
        max_cached_bytes: limit on cached segment columns.
        max_values: maximum number of values that a question may read: rows × (columns + comparisons).
    """

    def __init__(
        self,
        segments: Segments,
        streamed: StreamRows,
        progress: ProgressReader,
        max_cached_bytes: int = MAX_CACHED_BYTES,
        max_values: int = MAX_VALUES,
    ) -> None:
        self._segments = segments
        self._streamed = streamed
        self._progress = progress
        self._columns = SegmentColumns(segments, max_cached_bytes)
        self._max_values = max_values

    def query(self, question: MetricQuery, checkpoint: Checkpoint = unwatched) -> pl.DataFrame:
        """Return bucket, dimensions, sums and united sketches for the requested generations."""
        rows = self._rows(question, needed_columns(question, question.dimensions), checkpoint)
        return answer(rows, question, checkpoint, max_values=self._max_values)

    def ingested_through(self) -> Mapping[PartitionId, PartitionProgress]:
        """Return the committed positions. A transaction commits rows together with positions, so no row is missing."""
        return self._progress.progress(Topic.HITS)

    def stream_sums(
        self, site_days: Collection[SiteDay], generation: int = STREAM_GENERATION
    ) -> Mapping[SiteDay, Mapping[str, int]]:
        """Return, for each requested site-day, the sums over all rows of the stream with this generation."""
        rows = {source: self._streamed.of(source, site_days, stream=generation) for source in RowSource}
        return sums_of(rows, site_days)

    def _rows(self, question: MetricQuery, columns: Sequence[str], checkpoint: Checkpoint = unwatched) -> pl.DataFrame:
        """Return these columns of all rows in the requested generations."""
        generations = question.generations.items()
        live: dict[int, list[SiteDay]] = {}
        for site_day, generation in generations:
            if is_streamed(generation):
                live.setdefault(generation, []).append(site_day)
        is_live_only = sum(map(len, live.values())) == len(generations)
        parts = [] if is_live_only else self._settled(question, settled_columns(columns), checkpoint)
        checkpoint()
        for stream, site_days in live.items():
            parts.append(self._streamed.of(question.source, site_days, fresh=question.fresh, stream=stream))
        return rows_with(parts, question.source, columns)

    def _settled(self, question: MetricQuery, columns: Sequence[str], checkpoint: Checkpoint) -> list[pl.DataFrame]:
        """Return the settled rows in the requested generations.

        If a merge or a drop deletes a file after the manifest was read, the manifest is read a second time. A file is
        deleted only after it was removed from the manifest. If the manifest still names the missing file, the file is
        lost.

        Raises:
            StoreCorrupt: a file is damaged or lost.
        """
        missing = ""
        read = self._segments.read if question.fresh else self._columns.of
        for _ in range(_ATTEMPTS):
            slices = self._segments.named(question.source, question.generations.items())
            if missing in {file_slice.file for file_slice in slices}:
                raise StoreCorrupt(f"segment {missing} is lost; {SETTLED_CURE}", file=missing)
            comparisons = len(comparisons_in(question.filter))
            refuse_values(sum(file_slice.rows for file_slice in slices), len(columns), comparisons, self._max_values)
            frames: dict[str, pl.DataFrame] = {}
            try:
                for file in {file_slice.file for file_slice in slices}:
                    checkpoint()
                    missing = file
                    frames[file] = read(file, columns)
            except FileNotFoundError:
                continue
            return [frames[file].slice(first, rows) for file, first, rows in _joined(slices)]
        raise Unavailable(
            "merges or deletions replaced segment files during every attempt to read the files; send the request again"
        )


def _joined(slices: Sequence[Slice]) -> list[tuple[str, int, int]]:
    """Join adjacent slices; return (file, first row, rows) per joined slice. Order `slices` by file and first row."""
    joined: list[tuple[str, int, int]] = []
    for file_slice in slices:
        if joined and joined[-1][0] == file_slice.file and joined[-1][1] + joined[-1][2] == file_slice.first_row:
            file, first_row, rows = joined.pop()
            joined.append((file, first_row, rows + file_slice.rows))
        else:
            joined.append((file_slice.file, file_slice.first_row, file_slice.rows))
    return joined
