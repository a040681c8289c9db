"""Store and find the stream's rows in raw.db, on one machine (step 6 of the journey).

Rows are first stored in a transaction's chunk, and later in a blob per day and bucket of sites. During a merge, a
reader still sees a consistent set of chunks and blobs. The module hitmesh.adapters.embedded.compaction decides when
rows are merged.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import polars as pl

from hitmesh.adapters.embedded.sqlite import Database, Transaction
from hitmesh.adapters.shared.kept_frames import KeptFrames
from hitmesh.adapters.shared.stream_rows import counts_something, folded
from hitmesh.model.generations import STREAM_GENERATION, is_streamed
from hitmesh.model.keys import hash64
from hitmesh.model.rows.columns import pack_record, unpack_record
from hitmesh.model.rows.hash_columns import hash64_column
from hitmesh.model.rows.rollup_rows import RowSource
from hitmesh.model.rows.stream_columns import STREAM_COLUMNS
from hitmesh.model.sites import SiteDay

BUCKETS: Final = 64
MAX_CACHED_BYTES: Final = 128 << 20
# A reader must read a whole chunk, even for a single site. The rows of a large transaction are therefore split into
# several chunks. Each chunk is a data frame with an overhead, so chunks with fewer than a few thousand rows would not
# save time.
_CHUNK_ROWS: Final = 4_096
_MAX_CHUNKS: Final = 16


class Chunk(NamedTuple):
    """A transaction's rows from one source, for all sites whose bucket is in [first_bucket, end_bucket)."""

    source: RowSource
    first_bucket: int
    end_bucket: int
    rows: int
    value: bytes


class Piece(NamedTuple):
    """A chunk or blob to read, and the requested site-days that may have rows in this chunk or blob."""

    table: str
    number: int
    site_days: frozenset[SiteDay]


def bucket_of(site: str) -> int:
    """Return a site's bucket. The hash must be stable, because buckets are stored."""
    return hash64(site) % BUCKETS


def buckets_of(sites: pl.Series) -> pl.Series:
    """Return each site's bucket."""
    return (hash64_column(sites) % BUCKETS).cast(pl.Int64).alias("bucket")


def packed(rows: pl.DataFrame) -> bytes:
    """Return the rows in their stored format."""
    return pack_record(rows)


def unpacked(value: bytes, source: RowSource) -> pl.DataFrame:
    """Decode stored bytes to rows with the row source's columns.

    Raises:
        StoreCorrupt: the bytes have changed since they were written.
    """
    return unpack_record(value, STREAM_COLUMNS[source])


def chunked(rows: pl.DataFrame, source: RowSource) -> list[Chunk]:
    """Return rows (STREAM_COLUMNS) as a transaction's chunks; return no chunk if there are no rows."""
    count = 1
    while count < _MAX_CHUNKS and rows.height >= 2 * count * _CHUNK_ROWS:
        count *= 2
    if count == 1:
        return [Chunk(source, 0, BUCKETS, rows.height, packed(rows))] if rows.height else []
    width = BUCKETS // count
    parts = rows.with_columns(buckets_of(rows["site"]) // width).partition_by("bucket", as_dict=True, include_key=False)
    return [
        Chunk(source, int(part) * width, (int(part) + 1) * width, of_part.height, packed(of_part))
        for (part,), of_part in sorted(parts.items())
    ]


def add_chunks(transaction: Transaction, chunks: Sequence[Chunk], stream: int = STREAM_GENERATION) -> None:
    """Add the chunks of a stream's transaction."""
    batch = transaction.first(int, "SELECT coalesce(max(batch), 0) + 1 FROM stream_chunks")
    transaction.run_many(
        """INSERT INTO stream_chunks (batch, source, first_bucket, end_bucket, row_count, value, stream)
        VALUES (?, ?, ?, ?, ?, ?, ?)""",
        [(batch, *chunk, stream) for chunk in chunks],
    )


class StreamRows:
    """Reads the streams' rows for reports, and hides dropped rows. Thread-safe.

    Args:
        database: raw.db.
        max_cached_bytes: limit on cached bytes.
    """

    def __init__(self, database: Database, max_cached_bytes: int = MAX_CACHED_BYTES) -> None:
        self._database = database
        self._kept = KeptFrames(max_cached_bytes)

    def of(
        self,
        source: RowSource,
        site_days: Iterable[SiteDay],
        *,
        fresh: bool = False,
        stream: int = STREAM_GENERATION,
    ) -> pl.DataFrame:
        """Return a stream's rows for these site-days (STREAM_COLUMNS), folded by key; rows that cancel out are absent.

        If `fresh` is true, no cached rows are used.
        """
        kept = KeptFrames(0) if fresh else self._kept
        wanted = frozenset(site_days)
        if not wanted:
            return pl.DataFrame(schema=STREAM_COLUMNS[source])
        with self._database.reading() as transaction:
            pieces = _pieces(transaction, source, wanted - _dropped(transaction, wanted, stream), stream)
            parts = {piece: self._part(transaction, piece, source, kept) for piece in pieces}
        found = {piece: part for piece, part in parts.items() if part.height}
        return kept.of((source, *found), lambda: _net(found, source, stream))

    def drop(self, superseded: Sequence[tuple[SiteDay, int]]) -> None:
        """Hide the rows of generations that belong to a stream; merges remove these rows later."""
        gone = [(site_day, generation) for site_day, generation in superseded if is_streamed(generation)]
        if not gone:
            return
        with self._database.writing() as transaction:
            transaction.run_many(
                "INSERT OR IGNORE INTO stream_dropped VALUES (?, ?, ?, ?)",
                [(*site_day, bucket_of(site_day.site), stream) for site_day, stream in gone],
            )

    def _part(self, transaction: Transaction, piece: Piece, source: RowSource, kept: KeptFrames) -> pl.DataFrame:
        """Return the rows of a piece's site-days; the rows can be cached, because chunks and blobs never change."""

        def read() -> pl.DataFrame:
            column = "chunk" if piece.table == "stream_chunks" else "blob"
            (value,) = transaction.rows(bytes, f"SELECT value FROM {piece.table} WHERE {column} = ?", (piece.number,))
            return of_site_days(unpacked(value, source), piece.site_days, how="semi")

        return kept.of(piece, read)


def of_site_days(rows: pl.DataFrame, site_days: Iterable[SiteDay], *, how: str) -> pl.DataFrame:
    """If `how` is "semi", return the rows of these site-days; if `how` is "anti", return all other rows."""
    named = pl.DataFrame(list(site_days), schema={"site": pl.String, "day": pl.Int32}, orient="row")
    return rows.join(named, on=["site", "day"], how="semi" if how == "semi" else "anti")


def _net(found: dict[Piece, pl.DataFrame], source: RowSource, stream: int) -> pl.DataFrame:
    """Fold the rows of all pieces: sum the rows with equal keys.

    If the only piece is a blob, change nothing, because a blob's rows are already folded.
    """
    if len(found) == 1:
        ((piece, part),) = found.items()
        if piece.table == "stream_blobs":
            return part.filter(counts_something(source, whole=True))
    parts = list(found.values()) or [pl.DataFrame(schema=STREAM_COLUMNS[source])]
    return folded(pl.concat(parts, rechunk=True), source, whole=True, stream=stream)


def _dropped(transaction: Transaction, wanted: Iterable[SiteDay], stream: int) -> set[SiteDay]:
    return set(
        transaction.rows(
            SiteDay,
            """SELECT site, day FROM json_each(?) AS asked CROSS JOIN stream_dropped
            WHERE site = asked.value ->> 0 AND day = asked.value ->> 1 AND stream = ?""",
            (json.dumps([list(site_day) for site_day in wanted]), stream),
        )
    )


def _pieces(transaction: Transaction, source: RowSource, wanted: Iterable[SiteDay], stream: int) -> list[Piece]:
    """Return the chunks whose range has a requested bucket, and the blobs with a requested day and bucket."""
    by_bucket: dict[tuple[int, int], set[SiteDay]] = {}
    for site_day in wanted:
        by_bucket.setdefault((site_day.day, bucket_of(site_day.site)), set()).add(site_day)
    pieces: list[Piece] = []
    for chunk in transaction.rows(
        _ChunkRow,
        "SELECT chunk, first_bucket, end_bucket FROM stream_chunks WHERE source = ? AND stream = ?",
        (source, stream),
    ):
        inside = [
            site_day
            for (_, bucket), site_days in by_bucket.items()
            if chunk.first_bucket <= bucket < chunk.end_bucket
            for site_day in site_days
        ]
        pieces += [Piece("stream_chunks", chunk.chunk, frozenset(inside))] if inside else []
    blobs = transaction.rows(
        _BlobRow,
        """SELECT blob, day, bucket FROM json_each(?) AS asked CROSS JOIN stream_blobs
        WHERE day = asked.value ->> 0 AND bucket = asked.value ->> 1 AND source = ? AND stream = ?""",
        (json.dumps(list(by_bucket)), source, stream),
    )
    return pieces + [Piece("stream_blobs", blob.blob, frozenset(by_bucket[blob.day, blob.bucket])) for blob in blobs]


class _ChunkRow(NamedTuple):
    chunk: int
    first_bucket: int
    end_bucket: int


class _BlobRow(NamedTuple):
    blob: int
    day: int
    bucket: int
