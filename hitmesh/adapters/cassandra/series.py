"""Store partials and settled series on Cassandra (step 6 of the journey, architecture A6).

A partial's field `written` is the write timestamp of its row. Cassandra therefore keeps the newest partial without a
read, whatever the order of the writes. A stale partial changes nothing. Each settled series is stored under a new
version, and a single row makes the version visible. The module hitmesh.adapters.shared.partials decides how partials
add up.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import polars as pl

from hitmesh.adapters.cassandra.session import CassandraSession, Row
from hitmesh.adapters.cassandra.written import Written
from hitmesh.adapters.shared.catalogue import log_of_stream
from hitmesh.adapters.shared.partials import NO_SERIES, as_kept, as_settled, newest, series
from hitmesh.adapters.shared.sealed_sums import opened_sums, sealed_sums
from hitmesh.model.errors import Unavailable
from hitmesh.model.generations import STREAM_GENERATION
from hitmesh.model.positions import PartitionId, PartitionProgress
from hitmesh.model.rows.stream_columns import PARTIAL_COLUMNS
from hitmesh.model.sites import SiteDay

_MICROSECONDS: Final = 1_000
_MAX_TRIES: Final = 8
_VALUES: Final = "cell, excluded, currency, digest, visitors, sums"
_PUT: Final = """INSERT INTO series_partials (site, day, generation, cell, excluded, currency, log, partition, epoch,
    digest, visitors, sums) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP ?"""
_PUT_SETTLED: Final = """INSERT INTO series_settled (site, day, generation, version, cell, excluded, currency,
    digest, visitors, sums) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
_OF: Final = "site = ? AND day = ? AND generation = ?"
_FLUSHED: Final = "SELECT log, partition, next_offset, log_time FROM flushed WHERE zero = ?"
_FEW_DAYS: Final = 8
_PARTITION: Final = 2  # the partition key is the first two key columns: site, day
_KEY: Final = ("site", "day", "generation", "cell", "excluded", "currency", "log", "partition", "epoch")


class CassandraSeriesStore:
    """Implements the port SeriesStore. Thread-safe.

    Args:
        session: the connection.
        stream: the generation of the stream whose flushed positions this store holds.
    """

    def __init__(self, session: CassandraSession, stream: int = STREAM_GENERATION) -> None:
        self._session = session
        self._stream = stream
        self._days_written: Written[SiteDay] = Written()

    def put_partials(self, partials: pl.DataFrame) -> None:
        """Store partials durably; a partial older than the stored partial changes nothing."""
        put = newest(as_kept(partials, PARTIAL_COLUMNS), PARTIAL_COLUMNS)
        self._add_days(SiteDay(*row) for row in put.select("site", "day").unique().iter_rows())
        values = put.select(*_KEY, pl.col("digest").reinterpret(signed=True), "visitors")
        columns = [values[name].to_list() for name in values.columns]
        rows = zip(*columns, sealed_sums(put), put["written"].to_list(), strict=True)
        self._session.run_by_partition(_PUT, rows, _PARTITION)

    def read(self, site: str, first_day: int, end_day: int, generation: int) -> pl.DataFrame:
        """Return the site's series for days in [first_day, end_day), as SERIES_COLUMNS.

        A settled day has the rows of its settled series, and any other day has the partials, added up over epochs.
        """
        versions = self._versions(site, first_day, end_day, generation)
        for _ in range(_MAX_TRIES):
            rows = self._rows(site, first_day, end_day, generation, versions)
            before, versions = versions, self._versions(site, first_day, end_day, generation)
            # If a version was replaced during the read, some rows of the version may be missing.
            if before == versions:
                return series(_frame(site, rows)) if rows else NO_SERIES.clone()
        raise Unavailable(f"days of {site} were settled again during every read; try again", site=site)

    def _rows(
        self, site: str, first_day: int, end_day: int, generation: int, versions: Mapping[int, uuid.UUID]
    ) -> list[Row]:
        streamed = [day for day in self._days(site, first_day, end_day) if day not in versions]
        partials = self._session.run_each(
            f"SELECT day, {_VALUES} FROM series_partials WHERE site = ? AND day = ? AND generation = ?",
            [(site, day, generation) for day in streamed],
        )
        settled = self._session.run_each(
            f"SELECT day, {_VALUES} FROM series_settled WHERE site = ? AND day = ? AND generation = ? AND version = ?",
            [(site, day, generation, version) for day, version in versions.items()],
        )
        return [row for rows in (*partials, *settled) for row in rows]

    def _days(self, site: str, first_day: int, end_day: int) -> Sequence[int]:
        """Return the days in a range that may have partials. For a short range, return all days without a query."""
        if end_day - first_day <= _FEW_DAYS:
            return range(first_day, end_day)
        rows = self._session.run(
            "SELECT day FROM partial_days WHERE site = ? AND day >= ? AND day < ?", (site, first_day, end_day)
        )
        return [row.day for row in rows]

    def _add_days(self, site_days: Iterable[SiteDay]) -> None:
        """Store which days have partials. Must be called before the partials are stored."""
        missing = self._days_written.missing(site_days)
        self._session.run_many("INSERT INTO partial_days (site, day) VALUES (?, ?)", missing)
        self._days_written.note(missing)

    def _versions(self, site: str, first_day: int, end_day: int, generation: int) -> dict[int, uuid.UUID]:
        """Return, for each settled day, the version of the series that readers use."""
        rows = self._session.run(
            "SELECT day, generation, version FROM series_settled_days WHERE site = ? AND day >= ? AND day < ?",
            (site, first_day, end_day),
        )
        return {row.day: row.version for row in rows if row.generation == generation}

    def put_settled(self, site_day: SiteDay, generation: int, rows: pl.DataFrame) -> None:
        """Store a site-day's settled series durably, replacing the previous series atomically."""
        put, version = as_settled(rows, site_day), uuid.uuid1()
        values = put.select("cell", "excluded", "currency", pl.col("digest").reinterpret(signed=True), "visitors")
        key = (*site_day, generation)
        self._session.run_many(
            _PUT_SETTLED,
            ((*key, version, *row, sums) for row, sums in zip(values.iter_rows(), sealed_sums(put), strict=True)),
        )
        for _ in range(_MAX_TRIES):
            found = self._session.run(f"SELECT version FROM series_settled_days WHERE {_OF}", key, serial=True)
            before = found[0].version if found else None
            if self._is_valid_instead(key, version, before):
                break
        else:
            raise Unavailable(f"other processes settle {site_day} at the same time; try again", site_day=str(site_day))
        if before is not None:
            self._session.run(f"DELETE FROM series_settled WHERE {_OF} AND version = ?", (*key, before))

    def _is_valid_instead(self, key: tuple[str, int, int], version: uuid.UUID, before: uuid.UUID | None) -> bool:
        """Make `version` current if `before` is still the current version; return whether the write succeeded.

        If two writers write at the same time, the conditional write of one writer fails, even if the writers' clocks
        differ. A failed write removes no rows, because readers still use the rows.
        """
        if before is None:
            return self._session.apply(
                "INSERT INTO series_settled_days (site, day, generation, version) VALUES (?, ?, ?, ?) IF NOT EXISTS",
                (*key, version),
            )
        return self._session.apply(
            f"UPDATE series_settled_days SET version = ? WHERE {_OF} IF version = ?", (version, *key, before)
        )

    def note_flushed(self, through: Mapping[PartitionId, PartitionProgress]) -> None:
        """Record durably that all partials before these positions are stored; a position never moves back."""
        self._session.run_many(
            """INSERT INTO flushed (zero, log, partition, next_offset, log_time) VALUES (?, ?, ?, ?, ?)
            USING TIMESTAMP ?""",
            [
                (*self._key(partition), done.next_offset, done.log_time, done.log_time * _MICROSECONDS)
                for partition, done in through.items()
            ],
        )

    def flushed(self) -> Mapping[PartitionId, PartitionProgress]:
        """Return the positions that `note_flushed` stored last."""
        rows = self._session.run(_FLUSHED, (int(self._stream != STREAM_GENERATION),))
        suffix = log_of_stream("", self._stream)
        return {
            PartitionId(row.log.removesuffix(suffix), row.partition): PartitionProgress(row.next_offset, row.log_time)
            for row in rows
            if row.log.endswith(suffix)
        }

    def forget(self) -> None:
        """Remove the stream's positions that `note_flushed` stored; idempotent."""
        self._session.run_many(
            "DELETE FROM flushed WHERE zero = ? AND log = ? AND partition = ?", map(self._key, self.flushed())
        )

    def _key(self, partition: PartitionId) -> tuple[int, str, int]:
        """Return a partition's key in the table `flushed`; the first column is 0 for the first stream, otherwise 1."""
        return int(self._stream != STREAM_GENERATION), log_of_stream(partition.log, self._stream), partition.partition

    def drop(self, superseded: Sequence[tuple[SiteDay, int]]) -> None:
        """Delete all values stored for these generations; idempotent.

        A partial that is written later, but with an older timestamp, stays deleted.
        """
        keys = [(*site_day, generation) for site_day, generation in superseded]
        self._session.apply_each(f"DELETE FROM series_settled_days WHERE {_OF} IF EXISTS", keys)
        for table in ("series_settled", "series_partials"):
            self._session.run_many(f"DELETE FROM {table} WHERE {_OF}", keys)


def _frame(site: str, rows: Sequence[Row]) -> pl.DataFrame:
    """Return a site's rows as a data frame with the columns that the function `series` needs."""
    schema = {
        "day": pl.Int32,
        "cell": pl.Int64,
        "excluded": pl.Boolean,
        "currency": pl.String,
        "digest": pl.Int64,
        "visitors": pl.Binary,
    }
    keys = pl.DataFrame([tuple(row[:6]) for row in rows], schema=schema, orient="row").with_columns(
        pl.lit(site).alias("site"), pl.col("digest").reinterpret(signed=False)
    )
    return keys.hstack(opened_sums(keys, [row.sums for row in rows]))
