"""Write settled rows to segments, on one machine.

A call first writes the files, then syncs the directory, and finally adds the files to the manifest. This module also
decides when small files are merged.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Final, NamedTuple

import polars as pl

from hitmesh.adapters.embedded.segments import Segments, Slice
from hitmesh.adapters.shared.answers import as_stored
from hitmesh.model.errors import StoreCorrupt
from hitmesh.model.rows.rollup_rows import ROW_COLUMNS, RowSource
from hitmesh.model.sites import SiteDay
from hitmesh.model.stored import SETTLED_CURE
from hitmesh.ports import Clock
from hitmesh.runtime.logs import logger

MAX_FILES: Final = 16
# A report on one site must read the whole shared file. With at most 4,000 rows, the read takes a few milliseconds.
MAX_SHARED_ROWS: Final = 4_000
MAX_MERGED_ROWS: Final = 1_000_000  # a merge holds all rows in memory, at 0.5 KB per row
_SORTED_BY: Final = ("site", "day", "generation", "cell")


class _Part(NamedTuple):
    """A site-day's rows in a generation; the rows are consecutive in a file."""

    site: str
    day: int
    generation: int
    rows: int


Dropped = Sequence[tuple[SiteDay, int]]


class EmbeddedRollupSink:
    """Implements the port RollupSink with segments.

    Each call writes separate files for each row source. A call never splits a site's rows from the same source over
    several files.

    A separate file for each small site would cost milliseconds and an inode per site-day, so small sites share files.
    If a site has many files, the files are merged. The site's rows in shared files are copied to the merged file.

    Args:
        segments: destination of settled rows.
        clock: shows whether files that are not in the manifest are old enough to be deleted.
        beside: functions that remove the data of dropped generations from other stores.
    """

    def __init__(self, segments: Segments, clock: Clock, beside: Sequence[Callable[[Dropped], None]] = ()) -> None:
        self._segments = segments
        self._clock = clock
        self._beside = beside
        self._lock = threading.Lock()
        self._swept = False

    def write(self, traffic: pl.DataFrame, visits: pl.DataFrame) -> None:
        """Store all rows of the call durably, or none of them."""
        slices: list[Slice] = []
        with self._lock:
            self._sweep_once()
            for source, rows in ((RowSource.TRAFFIC, traffic), (RowSource.VISITS, visits)):
                slices += self._save(source, as_stored(rows, source).sort(_SORTED_BY))
            if slices:
                self._segments.sync()
                self._segments.add(slices)
            for site, source in sorted({(file_slice.site, file_slice.source) for file_slice in slices}):
                self._compact_if_whole(site, source)

    def write_portions(self, traffic: Iterable[pl.DataFrame], visits: Iterable[pl.DataFrame]) -> None:
        """Store all rows of a single generation durably, or none of them."""
        slices: list[Slice] = []
        with self._lock:
            self._sweep_once()
            for source, portions in ((RowSource.TRAFFIC, traffic), (RowSource.VISITS, visits)):
                slices += self._save_portions(source, portions)
            if slices:
                self._segments.sync()
                self._segments.add(slices)

    def ingested(self, site_day: SiteDay, generation: int) -> bool:
        """Return True, because rows are readable as soon as `write` has returned."""
        return True

    def drop(self, superseded: Dropped) -> None:
        """Remove the rows of these generations; idempotent."""
        with self._lock:
            self._segments.remove(superseded)
        for drop in self._beside:
            drop(superseded)

    def _sweep_once(self) -> None:
        if not self._swept:
            self._segments.sweep(self._clock.now())
            self._swept = True

    def _save(self, source: RowSource, rows: pl.DataFrame) -> list[Slice]:
        """Write a file for each site with many rows, and shared files for the other sites; `rows` must be sorted."""
        counts = rows.group_by("site", "day", "generation", maintain_order=True).len()
        parts = [_Part(*row) for row in counts.iter_rows()]
        slices: list[Slice] = []
        start = 0
        for together in _files(parts):
            length = sum(part.rows for part in together)
            file = self._segments.save(rows.slice(start, length), source)
            start += length
            slices += _placed(source, file, together)
        return slices

    def _save_portions(self, source: RowSource, portions: Iterable[pl.DataFrame]) -> list[Slice]:
        """Write a generation's portions to a single file."""
        heights: list[int] = []
        owners: set[tuple[str, int, int]] = set()

        def in_order() -> Iterator[pl.DataFrame]:
            for portion in portions:
                if portion.height:
                    owners.update(portion.select("site", "day", "generation").unique().iter_rows())
                    heights.append(portion.height)
                    yield as_stored(portion, source).sort(_SORTED_BY)

        file = self._segments.save_portions(in_order(), source)
        if file is None:
            return []
        ((site, day, generation),) = owners
        return _placed(source, file, [_Part(site, day, generation, sum(heights))])

    def _compact_if_whole(self, site: str, source: RowSource) -> None:
        """Merge small files.

        If a file is damaged or lost, only log the error, because the new rows are already stored.
        """
        try:
            self._compact(site, source)
        except StoreCorrupt as error:
            logger().error("segments_not_merged", message=error.message)
        except FileNotFoundError as error:
            logger().error("segments_not_merged", message=f"segment {error.filename} is lost; {SETTLED_CURE}")

    def _compact(self, site: str, source: RowSource) -> None:
        """Merge a site's small files when the site has more than `MAX_FILES`."""
        slices = self._segments.of_site(site, source)
        old = _worth_merging(slices)
        if not old:
            return
        frames = {
            file_slice.file: self._segments.read(file_slice.file, list(ROW_COLUMNS[source])) for file_slice in old
        }
        in_order = sorted(old, key=lambda file_slice: (file_slice.day, file_slice.generation))
        merged = pl.concat(
            [frames[file_slice.file].slice(file_slice.first_row, file_slice.rows) for file_slice in in_order]
        )
        file = self._segments.save(merged, source)
        new = _placed(source, file, [_Part(site, each.day, each.generation, each.rows) for each in in_order])
        self._segments.sync()
        if not self._segments.replace(old, new):
            self._segments.path(file).unlink()


def _worth_merging(slices: Sequence[Slice]) -> list[Slice]:
    """Return the slices to merge, with at most `MAX_MERGED_ROWS` rows in total.

    The `MAX_FILES` // 2 + 1 smallest files are chosen first. Further files are added in order of size. If the next file
    has more rows than all chosen files together, the choice ends. The number of times that a row is rewritten therefore
    grows only with the logarithm of the number of rows.
    """
    sizes: dict[str, int] = {}
    for file_slice in slices:
        sizes[file_slice.file] = sizes.get(file_slice.file, 0) + file_slice.rows
    if len(sizes) <= MAX_FILES:
        return []
    chosen: set[str] = set()
    total = 0
    for file, size in sorted(sizes.items(), key=lambda item: item[1]):
        if (len(chosen) > MAX_FILES // 2 and size > total) or total + size > MAX_MERGED_ROWS:
            break
        chosen.add(file)
        total += size
    if len(chosen) < 2:
        return []
    return [file_slice for file_slice in slices if file_slice.file in chosen]


def _files(parts: Iterable[_Part]) -> Iterator[list[_Part]]:
    """Yield, for each file to write, the parts that the file will contain.

    All parts of a site go into the same file. If several sites share a file, the file has at most `MAX_SHARED_ROWS`
    rows.
    """
    together: list[_Part] = []
    height = 0
    for _, of_site in groupby(parts, key=lambda part: part.site):
        next_site = list(of_site)
        rows = sum(part.rows for part in next_site)
        if together and height + rows > MAX_SHARED_ROWS:
            yield together
            together, height = [], 0
        together += next_site
        height += rows
    if together:
        yield together


def _placed(source: RowSource, file: str, parts: Iterable[_Part]) -> list[Slice]:
    """Return the slices for parts that are stored one after another in a file."""
    slices: list[Slice] = []
    first_row = 0
    for part in parts:
        slices.append(Slice(part.site, source, part.day, part.generation, file, first_row, part.rows))
        first_row += part.rows
    return slices
