"""Store partials and settled series on one machine, in raw.db (step 6 of the journey, architecture A6).

A partial is the contribution of an epoch to the sums of a cell (15 minutes of a site-day). The sums of a partial are
stored in a blob, so that rows stay small and a new sum needs no new column. The settled series of a site-day is stored
as a single blob. The module hitmesh.adapters.shared.partials decides the content of partials and how partials add up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import polars as pl

from hitmesh.adapters.embedded.sqlite import Database
from hitmesh.adapters.shared.partials import NO_SERIES, as_kept, as_settled, newest, series
from hitmesh.adapters.shared.sealed_sums import opened_sums, sealed_sums
from hitmesh.model.generations import STREAM_GENERATION
from hitmesh.model.positions import PartitionId, PartitionProgress
from hitmesh.model.rows.columns import pack_record, unpack_record
from hitmesh.model.rows.stream_columns import PARTIAL_COLUMNS, PARTIAL_SUMS, SERIES_COLUMNS, UNKEYED_DIGESTS
from hitmesh.model.sites import SiteDay

# SQLite has no booleans and no unsigned integers.
_STORED_AS: Final[dict[str, pl.DataType]] = {"excluded": pl.Int64(), "digest": pl.Int64()}
_OF_DAYS: Final = "WHERE site = ?1 AND day >= ?2 AND day < ?3 AND generation = ?4"
_PUT: Final = """INSERT INTO series_partials (site, day, cell, excluded, currency, generation, log_id, partition_no,
        epoch, written, digest, visitors, sums)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT DO UPDATE SET written = excluded.written, sums = excluded.sums, digest = excluded.digest,
        visitors = excluded.visitors
    WHERE excluded.written >= written"""


class EmbeddedSeriesStore:
    """Implements the port SeriesStore in raw.db.

    Args:
        database: raw.db.
        stream: the generation of the stream whose flushed positions this store holds.
    """

    def __init__(self, database: Database, stream: int = STREAM_GENERATION) -> None:
        self._database = database
        self._stream = stream

    def put_partials(self, partials: pl.DataFrame) -> None:
        """Store partials durably in a single transaction; a partial older than the stored partial is ignored."""
        put = newest(as_kept(partials, PARTIAL_COLUMNS), PARTIAL_COLUMNS).sort("site", "day", "generation", "cell")
        plain = put.drop(*PARTIAL_SUMS, UNKEYED_DIGESTS).with_columns(pl.col("digest").reinterpret(signed=True))
        with self._database.writing() as transaction:
            transaction.run_many(
                _PUT, ((*row, sums) for row, sums in zip(plain.iter_rows(), sealed_sums(put), strict=True))
            )

    def read(self, site: str, first_day: int, end_day: int, generation: int) -> pl.DataFrame:
        """Return the site's series for days in [first_day, end_day), as SERIES_COLUMNS.

        A settled day has the rows of its settled series, and any other day has the partials, added up over epochs.
        """
        parameters = (site, first_day, end_day, generation)
        with self._database.reading() as transaction:
            settled = transaction.rows(bytes, f"SELECT value FROM settled_series {_OF_DAYS}", parameters)
            streamed = transaction.rows(
                _Partial,
                f"""SELECT day, cell, excluded, currency, digest, visitors, sums FROM series_partials {_OF_DAYS}
                AND day NOT IN (SELECT day FROM settled_series {_OF_DAYS})""",
                parameters,
            )
        if not settled and not streamed:
            # During an import, most days have no series, and `series` would take milliseconds for an empty frame.
            return NO_SERIES.clone()
        return series(pl.concat([_frame(site, streamed), *(unpack_record(blob, SERIES_COLUMNS) for blob in settled)]))

    def put_settled(self, site_day: SiteDay, generation: int, rows: pl.DataFrame) -> None:
        """Store a site-day's settled series durably, replacing earlier settled series."""
        value = pack_record(as_settled(rows, site_day))
        with self._database.writing() as transaction:
            transaction.run("REPLACE INTO settled_series VALUES (?, ?, ?, ?)", (*site_day, generation, value))

    def note_flushed(self, through: Mapping[PartitionId, PartitionProgress]) -> None:
        """Record durably that all partials before these positions are stored; a position never moves back."""
        with self._database.writing() as transaction:
            transaction.run_many(
                """INSERT INTO flushed VALUES (?, ?, ?, ?, ?)
                ON CONFLICT DO UPDATE SET next_offset = excluded.next_offset, log_time = excluded.log_time
                WHERE excluded.next_offset >= next_offset""",
                [(*partition, *_numbers(progress), self._stream) for partition, progress in through.items()],
            )

    def flushed(self) -> Mapping[PartitionId, PartitionProgress]:
        """Return the positions that `note_flushed` stored last."""
        with self._database.reading() as transaction:
            return dict(
                transaction.rows(
                    _flushed,
                    "SELECT log_id, partition_no, next_offset, log_time FROM flushed WHERE stream = ?",
                    (self._stream,),
                )
            )

    def forget(self) -> None:
        """Remove the stream's positions that `note_flushed` stored; idempotent."""
        with self._database.writing() as transaction:
            transaction.run("DELETE FROM flushed WHERE stream = ?", (self._stream,))

    def drop(self, superseded: Sequence[tuple[SiteDay, int]]) -> None:
        """Remove all values stored for these generations in a single transaction; idempotent."""
        gone = [(*site_day, generation) for site_day, generation in superseded]
        with self._database.writing() as transaction:
            for table in ("series_partials", "settled_series"):
                transaction.run_many(f"DELETE FROM {table} WHERE site = ? AND day = ? AND generation = ?", gone)


def _numbers(progress: PartitionProgress) -> tuple[int, int]:
    return progress.next_offset, progress.log_time


def _flushed(log: str, partition: int, offset: int, log_time: int) -> tuple[PartitionId, PartitionProgress]:
    return PartitionId(log, partition), PartitionProgress(offset, log_time)


class _Partial(NamedTuple):
    day: int
    cell: int
    excluded: int
    currency: str
    digest: int
    visitors: bytes | None
    sums: bytes


def _frame(site: str, rows: Sequence[_Partial]) -> pl.DataFrame:
    """Return a site's partials as SERIES_COLUMNS."""
    schema = {name: _STORED_AS.get(name, SERIES_COLUMNS[name]) for name in _Partial._fields if name != "sums"}
    keys = pl.DataFrame([row[:-1] for row in rows], schema=schema, orient="row").with_columns(
        pl.lit(site).alias("site"),
        pl.col("excluded").cast(pl.Boolean),
        pl.col("digest").reinterpret(signed=False),
    )
    return keys.hstack(opened_sums(keys, [row.sums for row in rows])).select(list(SERIES_COLUMNS))
