"""Step S of the journey on one machine: settled rows as Parquet segments, named by a manifest in settled.db.

Decides where rows lie, when small files are merged and in which order things reach the disk: file, directory, then
manifest; so a row is either whole or absent, whenever the power goes. A segment is never changed. Knows no question.
"""

from __future__ import annotations

import json
import mmap
import os
import re
import secrets
import threading
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Final, NamedTuple

import polars as pl
import xxhash

from hitmesh.adapters.embedded.sqlite import Database, Transaction
from hitmesh.adapters.shared.answers import as_stored
from hitmesh.model.errors import StoreCorrupt, as_disk_full
from hitmesh.model.rows.rollup_rows import ROW_COLUMNS, RowSource
from hitmesh.model.sites import SiteDay
from hitmesh.model.stored import SETTLED_CURE
from hitmesh.ports import Clock
from hitmesh.runtime.logs import logger

MAX_FILES: Final = 16
_STRAY_AGE_MS: Final = 600_000
_SUFFIX: Final = ".parquet"
_NAMED: Final = re.compile(rf"-([0-9a-f]{{16}}){re.escape(_SUFFIX)}$")
_SORTED_BY: Final = ("site", "day", "generation", "cell")


class Slice(NamedTuple):
    """Where the rows of one generation of a site-day are: consecutive rows of a file."""

    site: str
    source: RowSource
    day: int
    generation: int
    file: str
    first_row: int
    rows: int


class Segments:
    """Files of one data directory and the manifest that says what is in them.

    Args:
        directory: where the files are; made when it is not there.
        database: settled.db.
    """

    def __init__(self, directory: Path, database: Database) -> None:
        self._directory = directory
        self._database = database

    def path(self, file: str) -> Path:
        """Returns where a file of the manifest is."""
        return self._directory / file

    def named(self, source: RowSource, generations: Iterable[tuple[SiteDay, int]]) -> list[Slice]:
        """Returns the slices of these generations; one without rows has none."""
        asked = json.dumps([[*site_day, generation] for site_day, generation in generations])
        with self._database.reading() as transaction:
            return transaction.rows(
                _slice,
                """SELECT manifest.site, manifest.source, day, generation, file, first_row, row_count
                FROM json_each(?) AS asked CROSS JOIN manifest JOIN segments USING (segment)
                WHERE manifest.site = asked.value ->> 0 AND manifest.source = ?
                AND day = asked.value ->> 1 AND generation = asked.value ->> 2
                ORDER BY file, first_row""",
                (asked, source),
            )

    def of_site(self, site: str, source: RowSource) -> list[Slice]:
        """Returns all slices of a site, file by file."""
        with self._database.reading() as transaction:
            return _of_site(transaction, site, source)

    def add(self, slices: Sequence[Slice]) -> None:
        """Names new slices; their files are on disk.

        Raises:
            ValueError: a generation of a site-day has rows already.
        """
        with self._database.writing() as transaction:
            for one in slices:
                if transaction.first(
                    int,
                    """SELECT 1 FROM manifest WHERE site = ? AND source = ? AND day = ? AND generation = ?""",
                    one[:4],
                ):
                    raise ValueError(f"{one.source} of {one.site} day {one.day}: {one.generation} is written")
            _insert(transaction, slices)

    def replace(self, old: Sequence[Slice], new: Sequence[Slice]) -> bool:
        """Names `new` in place of `old`; returns False, with nothing changed, when `old` is not what is named."""
        files = {one.file for one in old}
        with self._database.writing() as transaction:
            there = _of_site(transaction, old[0].site, old[0].source)
            if [one for one in there if one.file in files] != list(old):
                return False
            _remove(transaction, old)
            _insert(transaction, new)
        self._unlink(files)
        return True

    def remove(self, superseded: Iterable[tuple[SiteDay, int]]) -> None:
        """Forgets the rows of these generations, and deletes files in which no other rows are."""
        asked = list(superseded)
        with self._database.writing() as transaction:
            files = _remove(
                transaction,
                [
                    Slice(site_day.site, source, site_day.day, generation, "", 0, 0)
                    for site_day, generation in asked
                    for source in RowSource
                ],
            )
        self._unlink(files)

    def save(self, rows: pl.DataFrame, source: RowSource) -> str:
        """Writes a file and waits until it is on disk; the directory is another matter. Returns its name.

        The name ends with the checksum of what is in the file, so that it stays Parquet for every reader.
        """
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        name = f"{source}-{secrets.token_hex(12)}"
        made = self.path(f"{name}{_SUFFIX}.tmp")
        try:
            rows.write_parquet(made, compression="zstd", compression_level=1, statistics=False)
            _sync(made)
            file = f"{name}-{_digest(made)}{_SUFFIX}"
            made.rename(self.path(file))
            return file
        except OSError as error:
            made.unlink(missing_ok=True)
            raise as_disk_full(error) or error from error

    def sync(self) -> None:
        """Waits until the names of files are on disk."""
        _sync(self._directory)

    def read(self, file: str, columns: Sequence[str]) -> pl.DataFrame:
        """Returns columns of a file.

        Raises:
            FileNotFoundError: it was deleted.
            StoreCorrupt: it is not what was written, or lacks a column.
        """
        named = _NAMED.search(file)  # files of older programs are not named for what is in them
        try:
            if named is not None and named[1] != _digest(self.path(file)):
                raise StoreCorrupt(f"segment {file} is damaged: its checksum does not match; {SETTLED_CURE}")
            return pl.read_parquet(self.path(file), columns=list(columns), glob=False, hive_partitioning=False)
        except (FileNotFoundError, StoreCorrupt):
            raise
        except (Exception, pl.exceptions.PanicException) as error:
            raise StoreCorrupt(f"segment {file} is damaged ({type(error).__name__}); {SETTLED_CURE}") from None

    def sweep(self, now: int) -> None:
        """Deletes files that the manifest does not name and that are too old to be in the making: left by a crash."""
        if not self._directory.is_dir():
            return
        with self._database.reading() as transaction:
            named = set(transaction.rows(str, "SELECT file FROM segments"))
        for path in self._directory.iterdir():
            if path.name not in named and now - path.stat().st_mtime * 1_000 > _STRAY_AGE_MS:
                path.unlink(missing_ok=True)

    def _unlink(self, files: Iterable[str]) -> None:
        for file in files:
            self.path(file).unlink(missing_ok=True)


Dropped = Sequence[tuple[SiteDay, int]]


class EmbeddedRollupSink:
    """A RollupSink over segments: one file per site, row source and call; merged when there are many.

    Args:
        segments: where settled rows go.
        clock: tells which stray files are old.
        beside: drop what is kept of generations elsewhere: the stream's rows, partials.
    """

    def __init__(self, segments: Segments, clock: Clock, beside: Sequence[Callable[[Dropped], None]] = ()) -> None:
        self._segments = segments
        self._clock = clock
        self._beside = beside
        self._lock = threading.Lock()
        self._swept = False

    def write(self, traffic: pl.DataFrame, visits: pl.DataFrame) -> None:
        """Stores rows durably: all of the call, or nothing."""
        slices: list[Slice] = []
        with self._lock:
            self._sweep_once()
            for source, rows in ((RowSource.TRAFFIC, traffic), (RowSource.VISITS, visits)):
                slices += self._save(source, as_stored(rows, source).sort(_SORTED_BY))
            if slices:
                self._segments.sync()
                self._segments.add(slices)
            for site, source in sorted({(one.site, one.source) for one in slices}):
                self._compact_if_whole(site, source)

    def ingested(self, site_day: SiteDay, generation: int) -> bool:
        """Returns True: rows can be read when `write` returns, and a generation without rows needs none."""
        return True

    def drop(self, superseded: Dropped) -> None:
        """Removes the rows of these generations; removing twice is removing once."""
        with self._lock:
            self._segments.remove(superseded)
        for drop in self._beside:
            drop(superseded)

    def _sweep_once(self) -> None:
        if not self._swept:
            self._segments.sweep(self._clock.now())
            self._swept = True

    def _save(self, source: RowSource, rows: pl.DataFrame) -> list[Slice]:
        """Writes one file per site; `rows` are sorted."""
        counts = rows.group_by("site", "day", "generation", maintain_order=True).len()
        slices: list[Slice] = []
        start = 0
        for site, days in groupby(counts.iter_rows(), key=lambda row: str(row[0])):
            parts = [(day, generation, rows) for _, day, generation, rows in days]
            length = sum(rows for _, _, rows in parts)
            file = self._segments.save(rows.slice(start, length), source)
            start += length
            slices += _placed(site, source, file, parts)
        return slices

    def _compact_if_whole(self, site: str, source: RowSource) -> None:
        """Merges small files; where one is damaged, what was just written stands all the same."""
        try:
            self._compact(site, source)
        except StoreCorrupt as error:
            logger().error("segments_not_merged", message=error.message)

    def _compact(self, site: str, source: RowSource) -> None:
        """Merges small files of a site into one when it has more than `MAX_FILES`."""
        slices = self._segments.of_site(site, source)
        old = _worth_merging(slices)
        if not old:
            return
        frames = {one.file: self._segments.read(one.file, list(ROW_COLUMNS[source])) for one in old}
        in_order = sorted(old, key=lambda one: (one.day, one.generation))
        merged = pl.concat([frames[one.file].slice(one.first_row, one.rows) for one in in_order])
        file = self._segments.save(merged, source)
        new = _placed(site, source, file, [(one.day, one.generation, one.rows) for one in in_order])
        self._segments.sync()
        if not self._segments.replace(old, new):
            self._segments.path(file).unlink()


def _worth_merging(slices: Sequence[Slice]) -> list[Slice]:
    """Returns the slices of the files to merge: the smaller half, and each larger one not above their sum.

    So a row is rewritten a logarithmic number of times, however many days a site has.
    """
    sizes: dict[str, int] = {}
    for one in slices:
        sizes[one.file] = sizes.get(one.file, 0) + one.rows
    if len(sizes) <= MAX_FILES:
        return []
    chosen: set[str] = set()
    total = 0
    for file, size in sorted(sizes.items(), key=lambda item: item[1]):
        if len(chosen) > MAX_FILES // 2 and size > total:
            break
        chosen.add(file)
        total += size
    return [one for one in slices if one.file in chosen]


def _placed(site: str, source: RowSource, file: str, parts: Iterable[tuple[int, int, int]]) -> list[Slice]:
    """Returns slices of (day, generation, rows), one behind the other in a file."""
    slices: list[Slice] = []
    first_row = 0
    for day, generation, rows in parts:
        slices.append(Slice(site, source, day, generation, file, first_row, rows))
        first_row += rows
    return slices


def _insert(transaction: Transaction, slices: Sequence[Slice]) -> None:
    for file, site, source in sorted({(one.file, one.site, one.source) for one in slices}):
        transaction.run("INSERT INTO segments (file, source, site) VALUES (?, ?, ?)", (file, source, site))
    transaction.run_many(
        """INSERT INTO manifest SELECT ?, ?, ?, ?, segment, ?, ? FROM segments WHERE file = ?""",
        [(*one[:4], one.first_row, one.rows, one.file) for one in slices],
    )


def _remove(transaction: Transaction, slices: Sequence[Slice]) -> list[str]:
    """Removes slices by key, then the segments that have none left; returns the files of those."""
    touched: set[int] = set()
    for one in slices:
        touched.update(
            transaction.rows(
                int,
                """DELETE FROM manifest WHERE site = ? AND source = ? AND day = ? AND generation = ?
                RETURNING segment""",
                one[:4],
            )
        )
    files: list[str] = []
    for segment in sorted(touched):
        files += transaction.rows(
            str,
            """DELETE FROM segments WHERE segment = ?1
            AND NOT EXISTS (SELECT 1 FROM manifest WHERE segment = ?1) RETURNING file""",
            (segment,),
        )
    return files


def _of_site(transaction: Transaction, site: str, source: RowSource) -> list[Slice]:
    return transaction.rows(
        _slice,
        """SELECT manifest.site, manifest.source, day, generation, file, first_row, row_count
        FROM manifest JOIN segments USING (segment)
        WHERE manifest.site = ? AND manifest.source = ? ORDER BY file, first_row""",
        (site, source),
    )


def _slice(site: str, source: str, day: int, generation: int, file: str, first_row: int, rows: int) -> Slice:
    return Slice(site, RowSource(source), day, generation, file, first_row, rows)


def _digest(path: Path) -> str:
    """Returns XXH3-64 of a file, in hexadecimal."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        return xxhash.xxh3_64_hexdigest(mapped)


def _sync(path: Path) -> None:
    """Waits until the file or directory is on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
