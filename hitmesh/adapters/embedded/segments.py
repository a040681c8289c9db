"""Store settled rows on one machine, as Parquet files (segments) that a manifest in settled.db lists.

A segment is on disk before its manifest entry is written. Every segment in the manifest is therefore complete, even
after a power failure. A segment never changes.
"""

from __future__ import annotations

import json
import mmap
import os
import re
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import polars as pl
import pyarrow.parquet as pq
import xxhash

from hitmesh.adapters.embedded.sqlite import Database, Transaction
from hitmesh.model.errors import StoreCorrupt, as_disk_full
from hitmesh.model.rows.rollup_rows import RowSource
from hitmesh.model.sites import SiteDay
from hitmesh.model.stored import SETTLED_CURE

_STRAY_AGE_MS: Final = 600_000
_SUFFIX: Final = ".parquet"
_MANY_SITES: Final = ""  # the stored site name of a file that several sites share
_NAMED: Final = re.compile(rf"-([0-9a-f]{{16}}){re.escape(_SUFFIX)}$")


class Slice(NamedTuple):
    """The location of a site-day's rows in a file, for a single generation. The rows are consecutive."""

    site: str
    source: RowSource
    day: int
    generation: int
    file: str
    first_row: int
    rows: int


class Segments:
    """Reads and writes the segment files in a data directory, and the manifest that lists their content.

    Args:
        directory: directory of the files; created when absent.
        database: settled.db.
    """

    def __init__(self, directory: Path, database: Database) -> None:
        self._directory = directory
        self._database = database

    def path(self, file: str) -> Path:
        """Return the path of a file in the manifest."""
        return self._directory / file

    def size(self, file: str) -> int | None:
        """Return the size of a file in bytes; None if the file does not exist."""
        try:
            return self.path(file).stat().st_size
        except FileNotFoundError:
            return None

    def named(self, source: RowSource, generations: Iterable[tuple[SiteDay, int]]) -> list[Slice]:
        """Return the slices of these generations; a generation without rows has no slice."""
        wanted = json.dumps([[*site_day, generation] for site_day, generation in generations])
        with self._database.reading() as transaction:
            return transaction.rows(
                _slice,
                """SELECT manifest.site, manifest.source, day, generation, file, first_row, row_count
                FROM json_each(?) AS asked CROSS JOIN manifest JOIN segments USING (segment)
                WHERE manifest.site = asked.value ->> 0 AND manifest.source = ?
                AND day = asked.value ->> 1 AND generation = asked.value ->> 2
                ORDER BY file, first_row""",
                (wanted, source),
            )

    def of_site(self, site: str, source: RowSource) -> list[Slice]:
        """Return all slices of a site, ordered by file and first row."""
        with self._database.reading() as transaction:
            return _of_site(transaction, site, source)

    def add(self, slices: Sequence[Slice]) -> None:
        """Add slices to the manifest; the files of the slices must already be on disk.

        Raises:
            ValueError: a generation of a site-day already has rows from this source.
        """
        with self._database.writing() as transaction:
            for added in slices:
                if transaction.first(
                    int,
                    """SELECT 1 FROM manifest WHERE site = ? AND source = ? AND day = ? AND generation = ?""",
                    added[:4],
                ):
                    raise ValueError(
                        f"{added.source} of {added.site} day {added.day}: "
                        f"generation {added.generation} is already written"
                    )
            _insert(transaction, slices)

    def replace(self, old: Sequence[Slice], new: Sequence[Slice]) -> bool:
        """Replace `old` with `new` in the manifest.

        If the slices of the files in `old` have changed in the manifest, do nothing and return False.
        """
        files = {file_slice.file for file_slice in old}
        with self._database.writing() as transaction:
            there = _of_site(transaction, old[0].site, old[0].source)
            if [file_slice for file_slice in there if file_slice.file in files] != list(old):
                return False
            removed = _remove(transaction, old)
            _insert(transaction, new)
        self._unlink(removed)
        return True

    def remove(self, superseded: Iterable[tuple[SiteDay, int]]) -> None:
        """Remove these generations from the manifest, and delete files without remaining rows."""
        generations = list(superseded)
        with self._database.writing() as transaction:
            files = _remove(
                transaction,
                [
                    Slice(site_day.site, source, site_day.day, generation, "", 0, 0)
                    for site_day, generation in generations
                    for source in RowSource
                ],
            )
        self._unlink(files)

    def save(self, rows: pl.DataFrame, source: RowSource) -> str:
        """Write a file, block until its content is on disk, and return its name. Only `sync` makes the name durable.

        The checksum is part of the name, so that the content remains plain Parquet for every reader.
        """
        return self._saved(
            source, lambda made: rows.write_parquet(made, compression="zstd", compression_level=1, statistics=False)
        )

    def save_portions(self, portions: Iterator[pl.DataFrame], source: RowSource) -> str | None:
        """Write all portions to a single file, as `save` does; return None if there are no portions.

        Each portion becomes a row group.
        """
        first = next(portions, None)
        if first is None:
            return None

        def write(made: Path) -> None:
            rows = first.to_arrow(compat_level=pl.CompatLevel.oldest())
            with pq.ParquetWriter(
                made, rows.schema, compression="zstd", compression_level=1, write_statistics=False
            ) as writer:
                writer.write_table(rows)
                for portion in portions:
                    writer.write_table(portion.to_arrow(compat_level=pl.CompatLevel.oldest()))

        return self._saved(source, write)

    def _saved(self, source: RowSource, write: Callable[[Path], None]) -> str:
        """Write a file with `write`, block until its content is on disk, and return its final name."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        name = f"{source}-{secrets.token_hex(12)}"
        made = self.path(f"{name}{_SUFFIX}.tmp")
        try:
            write(made)
            _sync(made)
            file = f"{name}-{_digest(made)}{_SUFFIX}"
            made.rename(self.path(file))
            return file
        except OSError as error:
            made.unlink(missing_ok=True)
            raise as_disk_full(error) or error from error

    def sync(self) -> None:
        """Block until the names of all written files are on disk."""
        _sync(self._directory)

    def read(self, file: str, columns: Sequence[str]) -> pl.DataFrame:
        """Return columns of a segment file.

        Raises:
            FileNotFoundError: the file was deleted.
            StoreCorrupt: the content has changed since it was written, or a column is missing.
        """
        named = _NAMED.search(file)  # None if an older version of hitmesh wrote the file; then the name has no checksum
        try:
            if named is not None and named[1] != _digest(self.path(file)):
                raise StoreCorrupt(f"segment {file} is damaged: its checksum does not match; {SETTLED_CURE}", file=file)
            return pl.read_parquet(self.path(file), columns=list(columns), glob=False, hive_partitioning=False)
        except (FileNotFoundError, StoreCorrupt):
            raise
        except (Exception, pl.exceptions.PanicException) as error:
            raise StoreCorrupt(
                f"segment {file} is damaged ({type(error).__name__}); {SETTLED_CURE}",
                file=file,
                cause=type(error).__name__,
            ) from None

    def sweep(self, now: int) -> None:
        """Delete files that a crash left: files that are older than 10 minutes and not in the manifest."""
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


def _insert(transaction: Transaction, slices: Sequence[Slice]) -> None:
    sites: dict[tuple[str, str], set[str]] = {}
    for file_slice in slices:
        sites.setdefault((file_slice.file, file_slice.source), set()).add(file_slice.site)
    for (file, source), of_file in sorted(sites.items()):
        site = min(of_file) if len(of_file) == 1 else _MANY_SITES
        transaction.run("INSERT INTO segments (file, source, site) VALUES (?, ?, ?)", (file, source, site))
    transaction.run_many(
        """INSERT INTO manifest SELECT ?, ?, ?, ?, segment, ?, ? FROM segments WHERE file = ?""",
        [(*file_slice[:4], file_slice.first_row, file_slice.rows, file_slice.file) for file_slice in slices],
    )


def _remove(transaction: Transaction, slices: Sequence[Slice]) -> list[str]:
    """Remove the slices with these keys, then all segments without slices. Return the removed segments' files."""
    touched: set[int] = set()
    for file_slice in slices:
        touched.update(
            transaction.rows(
                int,
                """DELETE FROM manifest WHERE site = ? AND source = ? AND day = ? AND generation = ?
                RETURNING segment""",
                file_slice[:4],
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
    """Return the XXH3-64 of a file, in hexadecimal."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        return xxhash.xxh3_64_hexdigest(mapped)


def _sync(path: Path) -> None:
    """Block until the file or directory is on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
