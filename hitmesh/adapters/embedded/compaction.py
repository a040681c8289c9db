"""Merge the stream's rows in small steps: many small chunks, which transactions wrote, become few blobs.

This module decides which chunks and blobs are merged, and when. Chunks become level-1 blobs; each blob has the rows for
a day and a bucket of sites. Eight blobs on a level become a blob on the next level. A question therefore reads few
chunks and blobs. The number of times that a row is rewritten grows only with the logarithm of the number of rows. When
a day no longer changes, all rows of the day in a bucket are merged into a single blob. Rows of dropped site-days are
removed. The module shared.stream_rows decides which rows a merge keeps. Merges are computed outside any write
transaction, so a commit waits only for a few statements.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final, NamedTuple

import polars as pl

from hitmesh.adapters.embedded.sqlite import Database, Transaction
from hitmesh.adapters.embedded.stream_rows import buckets_of, of_site_days, packed, unpacked
from hitmesh.adapters.shared.stream_rows import folded
from hitmesh.model.generations import STREAM_GENERATION
from hitmesh.model.rows.rollup_rows import RowSource
from hitmesh.model.rows.stream_columns import STREAM_COLUMNS
from hitmesh.model.sites import SiteDay

MAX_BATCHES: Final = 32  # maximum number of transactions with unmerged chunks
MAX_ROWS: Final = 100_000  # maximum number of rows in unmerged chunks
FAN: Final = 8  # number of blobs on a level that are merged into a blob on the next level

# Maximum number of chunk rows per merge. After a transaction, the merge of blobs stops at MAX_ROWS rows.
_ROWS_AT_ONCE: Final = 2 * MAX_ROWS
# Rows of the newest day of event time, and of the `_OPEN_DAYS` days before that day, may still change. A day's hits may
# arrive until 26 h after the day's end (architecture A8).
_OPEN_DAYS: Final = 3
_SWEPT_AT_ONCE: Final = 8


class Compaction:
    """Merges a stream's chunks and blobs in raw.db. Only the outbox's thread may use the object.

    Another process may merge the same rows at the same time.

    Args:
        database: raw.db.
        stream: the generation of the stream's rows.
    """

    def __init__(self, database: Database, stream: int = STREAM_GENERATION) -> None:
        self._database = database
        self._stream = stream
        self._tidy_before = 0  # on all days before this day, each bucket has a single blob

    def run(self) -> None:
        """Merge a limited number of rows; later calls merge the rest."""
        waiting = self._waiting()
        if waiting.batches >= MAX_BATCHES or waiting.rows >= MAX_ROWS:
            self._merge_chunks()
            waiting = self._waiting()
        merged = 0
        while merged < MAX_ROWS and (full := self._full()):
            self._merge(full, range(full.level, full.level + 1), full.level + 1)
            merged += full.rows
        if not merged and (untidy := self._untidy()):
            self._merge(untidy, range(untidy.level + 1), untidy.level)
        if not waiting.batches:
            self._sweep()

    def finish(self) -> None:
        """Remove all dropped rows of a stream that writes no more rows."""
        while self._waiting().batches:
            self._merge_chunks()
        while self._has_dropped():
            self._sweep()

    def _waiting(self) -> _Waiting:
        with self._database.reading() as transaction:
            return _waiting(transaction, self._stream)

    def _has_dropped(self) -> bool:
        with self._database.reading() as transaction:
            return bool(
                transaction.first(int, "SELECT 1 FROM stream_dropped WHERE stream = ? LIMIT 1", (self._stream,))
            )

    def _merge_chunks(self) -> None:
        """Merge the oldest chunks into level-1 blobs.

        Keep all sketches, because blobs may have older rows with the same key.
        """
        with self._database.reading() as transaction:
            chunks = _oldest_chunks(transaction, self._stream)
            gone = transaction.rows(SiteDay, "SELECT site, day FROM stream_dropped WHERE stream = ?", (self._stream,))
            parts = [
                (chunk.source, unpacked(_value(transaction, "chunk", chunk.number), chunk.source)) for chunk in chunks
            ]
        made: list[_Made] = []
        for source in RowSource:
            rows = _joined([part for its_source, part in parts if its_source == source], source)
            net = folded(of_site_days(rows, gone, how="anti"), source, whole=False, stream=self._stream)
            by_bucket = net.with_columns(buckets_of(net["site"])).partition_by("day", "bucket", as_dict=True)
            made += [
                _made(_DayBucket(int(day), int(bucket)), source, 1, part.drop("bucket"))
                for (day, bucket), part in by_bucket.items()
            ]
        self._tidy_before = min([self._tidy_before, *(blob.day for blob in made)])
        with self._database.writing() as transaction:
            if _removed(transaction, "chunk", [chunk.number for chunk in chunks]):
                _add(transaction, made, self._stream)

    def _full(self) -> _Group | None:
        """Return a group (day, bucket, source, level) that has enough blobs for a merge."""
        with self._database.reading() as transaction:
            return transaction.first(
                _group,
                """SELECT day, bucket, source, level, sum(row_count) FROM stream_blobs
                WHERE day >= (SELECT max(day) FROM stream_blobs) - ? AND stream = ?
                GROUP BY day, bucket, source, level HAVING count(*) >= ? LIMIT 1""",
                (_OPEN_DAYS, self._stream, FAN),
            )

    def _untidy(self) -> _Group | None:
        """Return a group (day, bucket, source) that has several blobs, if the day no longer changes."""
        with self._database.reading() as transaction:
            end = (transaction.first(int, "SELECT coalesce(max(day), 0) FROM stream_blobs") or 0) - _OPEN_DAYS
            found = transaction.first(
                _group,
                """SELECT day, bucket, source, max(level), sum(row_count) FROM stream_blobs
                WHERE day >= ? AND day < ? AND stream = ?
                GROUP BY day, bucket, source HAVING count(*) > 1 LIMIT 1""",
                (self._tidy_before, end, self._stream),
            )
        self._tidy_before = found.place.day if found else max(self._tidy_before, end)
        return found

    def _merge(self, group: _Group, levels: range, level: int) -> None:
        """Merge blobs in the group's day, bucket and source into a blob on `level`.

        Only blobs on `levels` are merged.
        """
        with self._database.reading() as transaction:
            there = [blob for blob in _blobs(transaction, group.place, self._stream) if blob.source == group.source]
            blobs = [blob for blob in there if blob.level in levels]
            rows = _rows_of(transaction, blobs, group.source)
        whole = max(blob.level for blob in there) == max(blob.level for blob in blobs)
        net = folded(rows, group.source, whole=whole, stream=self._stream)
        with self._database.writing() as transaction:
            if _removed(transaction, "blob", [blob.number for blob in blobs]):
                _add(transaction, [_made(group.place, group.source, level, net)], self._stream)

    def _sweep(self) -> None:
        """Remove dropped rows from the buckets with the most dropped site-days.

        Do nothing while chunks are unmerged.
        """
        with self._database.reading() as transaction:
            places = transaction.rows(
                _DayBucket,
                """SELECT day, bucket FROM stream_dropped WHERE stream = ?
                GROUP BY day, bucket ORDER BY count(*) DESC LIMIT ?""",
                (self._stream, _SWEPT_AT_ONCE),
            )
        for place in places:
            self._sweep_place(place)

    def _sweep_place(self, place: _DayBucket) -> None:
        with self._database.reading() as transaction:
            gone = transaction.rows(
                SiteDay,
                "SELECT site, day FROM stream_dropped WHERE day = ? AND bucket = ? AND stream = ?",
                (*place, self._stream),
            )
            blobs = _blobs(transaction, place, self._stream)
            rows = {source: _rows_of(transaction, blobs, source) for source in {blob.source for blob in blobs}}
        made = [
            _made(
                place,
                source,
                max(blob.level for blob in blobs if blob.source == source),
                folded(of_site_days(of_source, gone, how="anti"), source, whole=True, stream=self._stream),
            )
            for source, of_source in rows.items()
        ]
        with self._database.writing() as transaction:
            nothing_waits = _waiting(transaction, self._stream).batches == 0
            if nothing_waits and _removed(transaction, "blob", [blob.number for blob in blobs]):
                _add(transaction, made, self._stream)
                transaction.run_many(
                    "DELETE FROM stream_dropped WHERE site = ? AND day = ? AND stream = ?",
                    [(*site_day, self._stream) for site_day in gone],
                )


class _Waiting(NamedTuple):
    """The number of transactions with unmerged chunks, and the number of rows in these chunks."""

    batches: int
    rows: int


class _Chunk(NamedTuple):
    number: int
    source: RowSource
    rows: int


class _DayBucket(NamedTuple):
    day: int
    bucket: int


class _Blob(NamedTuple):
    number: int
    source: RowSource
    level: int


class _Group(NamedTuple):
    """A group of blobs with the same day, bucket and source, and the total row count of the group."""

    place: _DayBucket
    source: RowSource
    level: int
    rows: int


class _Made(NamedTuple):
    """A blob to store."""

    source: RowSource
    day: int
    bucket: int
    level: int
    rows: int
    value: bytes


def _waiting(transaction: Transaction, stream: int) -> _Waiting:
    (found,) = transaction.rows(
        _Waiting,
        "SELECT count(DISTINCT batch), coalesce(sum(row_count), 0) FROM stream_chunks WHERE stream = ?",
        (stream,),
    )
    return found


def _oldest_chunks(transaction: Transaction, stream: int) -> list[_Chunk]:
    """Return the oldest chunks, with at most `_ROWS_AT_ONCE` rows in total, but at least one chunk."""
    taken: list[_Chunk] = []
    rows = 0
    oldest = "SELECT chunk, source, row_count FROM stream_chunks WHERE stream = ? ORDER BY chunk"
    for chunk in transaction.rows(_chunk, oldest, (stream,)):
        rows += chunk.rows
        if taken and rows > _ROWS_AT_ONCE:
            break
        taken.append(chunk)
    return taken


def _value(transaction: Transaction, kind: str, number: int) -> bytes:
    (value,) = transaction.rows(bytes, f"SELECT value FROM stream_{kind}s WHERE {kind} = ?", (number,))
    return value


def _rows_of(transaction: Transaction, blobs: Sequence[_Blob], source: RowSource) -> pl.DataFrame:
    """Return all rows of the blobs that belong to this source."""
    parts = [unpacked(_value(transaction, "blob", blob.number), source) for blob in blobs if blob.source == source]
    return _joined(parts, source)


def _joined(parts: Sequence[pl.DataFrame], source: RowSource) -> pl.DataFrame:
    return pl.concat(parts, rechunk=True) if parts else pl.DataFrame(schema=STREAM_COLUMNS[source])


def _blobs(transaction: Transaction, place: _DayBucket, stream: int) -> list[_Blob]:
    return transaction.rows(
        _blob,
        "SELECT blob, source, level FROM stream_blobs WHERE day = ? AND bucket = ? AND stream = ?",
        (*place, stream),
    )


def _removed(transaction: Transaction, kind: str, numbers: Sequence[int]) -> bool:
    """Remove chunks or blobs.

    If another process has already removed any of these chunks or blobs, remove nothing and return False.
    """
    which = f"{kind} IN (SELECT value FROM json_each(?))"
    parameters = (json.dumps(list(numbers)),)
    there = transaction.first(int, f"SELECT count(*) FROM stream_{kind}s WHERE {which}", parameters)
    return there == len(numbers) and transaction.run(f"DELETE FROM stream_{kind}s WHERE {which}", parameters) == there


def _made(place: _DayBucket, source: RowSource, level: int, rows: pl.DataFrame) -> _Made:
    return _Made(source, *place, level, rows.height, packed(rows))


def _add(transaction: Transaction, made: Sequence[_Made], stream: int) -> None:
    transaction.run_many(
        "INSERT INTO stream_blobs (source, day, bucket, level, row_count, value, stream) VALUES (?, ?, ?, ?, ?, ?, ?)",
        [(*blob, stream) for blob in made if blob.rows],
    )


def _chunk(number: int, source: str, rows: int) -> _Chunk:
    return _Chunk(number, RowSource(source), rows)


def _blob(number: int, source: str, level: int) -> _Blob:
    return _Blob(number, RowSource(source), level)


def _group(day: int, bucket: int, source: str, level: int, rows: int) -> _Group:
    return _Group(_DayBucket(day, bucket), RowSource(source), level, rows)
