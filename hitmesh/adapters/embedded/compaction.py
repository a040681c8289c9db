"""The stream's rows, merged bit by bit: many small chunks of transactions into few blobs of a day and bucket.

Decides when and what is merged, so that a question reads few pieces and a row is rewritten a logarithmic number of
times: chunks become blobs of level 1, eight blobs of a level one of the next. Days that no longer change become one
blob, and rows of dropped site-days go. What a merge keeps, decides shared.stream_rows. Computed outside of
any write: a commit waits for a few statements only.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final, NamedTuple

import polars as pl

from hitmesh.adapters.embedded.sqlite import Database, Transaction
from hitmesh.adapters.embedded.stream_rows import buckets_of, of_site_days, packed, unpacked
from hitmesh.adapters.shared.stream_rows import folded
from hitmesh.model.rows.rollup_rows import RowSource
from hitmesh.model.rows.stream_columns import STREAM_COLUMNS
from hitmesh.model.sites import SiteDay

MAX_BATCHES: Final = 32  # transactions whose chunks wait
MAX_ROWS: Final = 100_000  # rows that wait
FAN: Final = 8  # blobs of a level
# A merge takes at most this many rows of chunks, and blobs are merged behind a transaction until so many were.
_ROWS_AT_ONCE: Final = 2 * MAX_ROWS
# Hits of a day may come until 26 h after it (decision A8), and days are those of event time.
_OPEN_DAYS: Final = 3
_SWEPT_AT_ONCE: Final = 8


class Compaction:
    """Merges chunks and blobs of raw.db. Confined to the thread of its outbox; a second process does no harm.

    Args:
        database: raw.db.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._tidy_before = 0  # days before this one are known to be one blob each

    def run(self) -> None:
        """Does some of the work that waits; what is left is done another time."""
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

    def _waiting(self) -> _Waiting:
        with self._database.reading() as transaction:
            return _waiting(transaction)

    def _merge_chunks(self) -> None:
        """Turns the oldest chunks into blobs of level 1. Older rows of their keys may lie in blobs: sketches stay."""
        with self._database.reading() as transaction:
            chunks = _oldest_chunks(transaction)
            gone = transaction.rows(SiteDay, "SELECT site, day FROM stream_dropped")
            parts = [
                (chunk.source, unpacked(_value(transaction, "chunk", chunk.number), chunk.source)) for chunk in chunks
            ]
        made: list[_Made] = []
        for source in RowSource:
            rows = _joined([part for its_source, part in parts if its_source == source], source)
            net = folded(of_site_days(rows, gone, how="anti"), source, whole=False)
            by_bucket = net.with_columns(buckets_of(net["site"])).partition_by("day", "bucket", as_dict=True)
            made += [
                _made(_DayBucket(int(day), int(bucket)), source, 1, part.drop("bucket"))
                for (day, bucket), part in by_bucket.items()
            ]
        self._tidy_before = min([self._tidy_before, *(one.day for one in made)])
        with self._database.writing() as transaction:
            if _removed(transaction, "chunk", [chunk.number for chunk in chunks]):
                _add(transaction, made)

    def _full(self) -> _Group | None:
        """Returns a day and bucket with enough blobs of a level to merge them."""
        with self._database.reading() as transaction:
            return transaction.first(
                _group,
                """SELECT day, bucket, source, level, sum(row_count) FROM stream_blobs
                WHERE day >= (SELECT max(day) FROM stream_blobs) - ?
                GROUP BY day, bucket, source, level HAVING count(*) >= ? LIMIT 1""",
                (_OPEN_DAYS, FAN),
            )

    def _untidy(self) -> _Group | None:
        """Returns a day that no longer changes and a bucket of it in several blobs."""
        with self._database.reading() as transaction:
            end = (transaction.first(int, "SELECT coalesce(max(day), 0) FROM stream_blobs") or 0) - _OPEN_DAYS
            found = transaction.first(
                _group,
                """SELECT day, bucket, source, max(level), sum(row_count) FROM stream_blobs
                WHERE day >= ? AND day < ? GROUP BY day, bucket, source HAVING count(*) > 1 LIMIT 1""",
                (self._tidy_before, end),
            )
        self._tidy_before = found.place.day if found else max(self._tidy_before, end)
        return found

    def _merge(self, group: _Group, levels: range, level: int) -> None:
        """Makes one blob, of `level`, of those of a day, bucket and source whose level is one of `levels`."""
        with self._database.reading() as transaction:
            there = [blob for blob in _blobs(transaction, group.place) if blob.source == group.source]
            blobs = [blob for blob in there if blob.level in levels]
            rows = _rows_of(transaction, blobs, group.source)
        whole = max(blob.level for blob in there) == max(blob.level for blob in blobs)
        net = folded(rows, group.source, whole=whole)
        with self._database.writing() as transaction:
            if _removed(transaction, "blob", [blob.number for blob in blobs]):
                _add(transaction, [_made(group.place, group.source, level, net)])

    def _sweep(self) -> None:
        """Removes rows of dropped site-days, where most were dropped; no chunk waits that may hold some."""
        with self._database.reading() as transaction:
            places = transaction.rows(
                _DayBucket,
                "SELECT day, bucket FROM stream_dropped GROUP BY day, bucket ORDER BY count(*) DESC LIMIT ?",
                (_SWEPT_AT_ONCE,),
            )
        for place in places:
            self._sweep_place(place)

    def _sweep_place(self, place: _DayBucket) -> None:
        with self._database.reading() as transaction:
            gone = transaction.rows(SiteDay, "SELECT site, day FROM stream_dropped WHERE day = ? AND bucket = ?", place)
            blobs = _blobs(transaction, place)
            rows = {source: _rows_of(transaction, blobs, source) for source in {blob.source for blob in blobs}}
        made = [
            _made(
                place,
                source,
                max(blob.level for blob in blobs if blob.source == source),
                folded(of_site_days(of_source, gone, how="anti"), source, whole=True),
            )
            for source, of_source in rows.items()
        ]
        with self._database.writing() as transaction:
            nothing_waits = _waiting(transaction).batches == 0
            if nothing_waits and _removed(transaction, "blob", [blob.number for blob in blobs]):
                _add(transaction, made)
                transaction.run_many("DELETE FROM stream_dropped WHERE site = ? AND day = ?", gone)


class _Waiting(NamedTuple):
    """Transactions whose chunks wait, and their rows."""

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
    """Blobs of a day and bucket, of one source."""

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


def _waiting(transaction: Transaction) -> _Waiting:
    (found,) = transaction.rows(
        _Waiting, "SELECT count(DISTINCT batch), coalesce(sum(row_count), 0) FROM stream_chunks"
    )
    return found


def _oldest_chunks(transaction: Transaction) -> list[_Chunk]:
    """Returns the first chunks that have at most `_ROWS_AT_ONCE` rows together, at least one."""
    taken: list[_Chunk] = []
    rows = 0
    for chunk in transaction.rows(_chunk, "SELECT chunk, source, row_count FROM stream_chunks ORDER BY chunk"):
        rows += chunk.rows
        if taken and rows > _ROWS_AT_ONCE:
            break
        taken.append(chunk)
    return taken


def _value(transaction: Transaction, what: str, number: int) -> bytes:
    (value,) = transaction.rows(bytes, f"SELECT value FROM stream_{what}s WHERE {what} = ?", (number,))
    return value


def _rows_of(transaction: Transaction, blobs: Sequence[_Blob], source: RowSource) -> pl.DataFrame:
    """Returns the rows of those blobs that are of the source."""
    parts = [unpacked(_value(transaction, "blob", blob.number), source) for blob in blobs if blob.source == source]
    return _joined(parts, source)


def _joined(parts: Sequence[pl.DataFrame], source: RowSource) -> pl.DataFrame:
    return pl.concat(parts, rechunk=True) if parts else pl.DataFrame(schema=STREAM_COLUMNS[source])


def _blobs(transaction: Transaction, place: _DayBucket) -> list[_Blob]:
    return transaction.rows(_blob, "SELECT blob, source, level FROM stream_blobs WHERE day = ? AND bucket = ?", place)


def _removed(transaction: Transaction, what: str, numbers: Sequence[int]) -> bool:
    """Removes chunks or blobs; returns False, with nothing removed, when another process removed some before."""
    which = f"{what} IN (SELECT value FROM json_each(?))"
    asked = (json.dumps(list(numbers)),)
    there = transaction.first(int, f"SELECT count(*) FROM stream_{what}s WHERE {which}", asked)
    return there == len(numbers) and transaction.run(f"DELETE FROM stream_{what}s WHERE {which}", asked) == there


def _made(place: _DayBucket, source: RowSource, level: int, rows: pl.DataFrame) -> _Made:
    return _Made(source, *place, level, rows.height, packed(rows))


def _add(transaction: Transaction, made: Sequence[_Made]) -> None:
    transaction.run_many(
        "INSERT INTO stream_blobs (source, day, bucket, level, row_count, value) VALUES (?, ?, ?, ?, ?, ?)",
        [one for one in made if one.rows],
    )


def _chunk(number: int, source: str, rows: int) -> _Chunk:
    return _Chunk(number, RowSource(source), rows)


def _blob(number: int, source: str, level: int) -> _Blob:
    return _Blob(number, RowSource(source), level)


def _group(day: int, bucket: int, source: str, level: int, rows: int) -> _Group:
    return _Group(_DayBucket(day, bucket), RowSource(source), level, rows)
