"""Store dirty site-days, which wait for settlement, on Cassandra.

Sites are spread over 32 buckets, so that all sites can be listed and no Cassandra partition holds all sites. A settler
reads all buckets; hitmesh.adapters.cassandra.sweep decides where each read begins. Each dirty mark is a separate row,
so `clear` deletes exactly the marks in its argument and keeps later marks. Write timestamps come from the writers'
clocks. A deletion's timestamp must therefore not be lower than the timestamps of the rows to delete.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence, Set
from typing import Final

from hitmesh.adapters.cassandra.awaited import AUDIT_EVERY_S, AwaitedDays
from hitmesh.adapters.cassandra.pages import PageRequest, first_rows
from hitmesh.adapters.cassandra.session import CassandraSession, Row
from hitmesh.adapters.cassandra.sweep import LONG_S, SHARE, Sweep
from hitmesh.adapters.shared.bits import to_signed, to_unsigned
from hitmesh.adapters.shared.marks import gathered, taken_of, whole_sites
from hitmesh.model.generations import DirtyMark, DirtySiteDay, MarkRange
from hitmesh.model.positions import PartitionId, Position
from hitmesh.model.site_buckets import EVERY_BUCKET, SITE_BUCKETS, site_bucket
from hitmesh.model.sites import SiteDay

_INSERT: Final = """INSERT INTO dirty_marks (bucket, site, day, log, partition, offset, log_time, hits, sum64, xor64)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
_RANGES: Final = """SELECT site, day, log, partition, min(offset) AS first_offset, max(offset) AS last_offset,
    min(log_time) AS first_log_time, max(writetime(hits)) AS written FROM dirty_marks WHERE bucket = ?"""
_GROUPED: Final = "GROUP BY bucket, site, day, log, partition"
_OF_SITE: Final = f"{_RANGES} AND site = ? {_GROUPED}"
_KNOWN: Final = """SELECT offset FROM dirty_marks WHERE bucket = ? AND site = ? AND day = ? AND log = ?
    AND partition = ? AND offset >= ? AND offset <= ?"""
_DELETE: Final = """DELETE FROM dirty_marks USING TIMESTAMP ?
    WHERE bucket = ? AND site = ? AND day = ? AND log = ? AND partition = ? AND offset >= ? AND offset <= ?"""
# ALLOW FILTERING discards few rows, because at most two days of a site are still open.
_MARKED: Final = f"{_RANGES} AND site >= ? AND day < ? {_GROUPED} LIMIT ? ALLOW FILTERING"


class CassandraDirtyDays:
    """Implements the port DirtyDays: dirty marks and awaited days, bucketed by site.

    Args:
        session: a session on the keyspace.
        long_s: a full read that takes at least this number of seconds is repeated only after a delay (see Sweep).
        share: the delay, as a multiple of the full read's duration.
        audit_every_s: see AwaitedDays.
    """

    def __init__(
        self,
        session: CassandraSession,
        *,
        long_s: float = LONG_S,
        share: int = SHARE,
        audit_every_s: float = AUDIT_EVERY_S,
    ) -> None:
        self._session = session
        self._awaited = AwaitedDays(session, long_s=long_s, share=share, audit_every_s=audit_every_s)
        self._marked = Sweep(SITE_BUCKETS, long_s=long_s, share=share)
        # The last result of `take`: for each site-day and partition, the highest write timestamp of the dirty marks.
        self._taken: dict[tuple[SiteDay, PartitionId], int] = {}

    def mark(self, marks: Sequence[DirtyMark]) -> None:
        """Store dirty marks. Idempotent: existing marks stay unchanged."""
        by_place: dict[tuple[SiteDay, PartitionId], dict[int, DirtyMark]] = {}
        for mark in marks:
            place = mark.site_day, PartitionId(mark.position.log, mark.position.partition)
            by_place.setdefault(place, {}).setdefault(mark.position.offset, mark)
        known = self._session.run_each(
            _KNOWN,
            [
                (*_key(site_day), *partition, min(found), max(found))
                for (site_day, partition), found in by_place.items()
            ],
        )
        for found, rows in zip(by_place.values(), known, strict=True):
            for row in rows:
                found.pop(row.offset, None)
        rows_left = [_row(mark) for found in by_place.values() for mark in found.values()]
        self._session.run_by_partition(_INSERT, rows_left, 1)

    def await_close(self, site_days: Sequence[SiteDay]) -> None:
        """Store awaited days; `take` returns a stored day once the day has closed.

        Days that this process already stored are skipped.
        """
        self._awaited.add(site_days)

    def take(self, limit: int, closed_before: int, buckets: Set[int] = EVERY_BUCKET) -> Sequence[DirtySiteDay]:
        """Return at most `limit` site-days in (site, day) order.

        Either all or none of a site's site-days are returned, unless the first site alone has more than `limit`.
        """
        marked = self._look(limit, closed_before, buckets) if buckets else []
        awaited = self._awaited.closed(limit, closed_before, buckets)
        waiting = sorted({SiteDay(row.site, row.day) for row in marked} | awaited)
        taken = whole_sites(waiting[: limit + 1], limit)
        wanted = set(taken)
        rows = [row for row in marked if SiteDay(row.site, row.day) in wanted]
        self._taken = {(SiteDay(row.site, row.day), PartitionId(row.log, row.partition)): row.written for row in rows}
        return taken_of(taken, gathered(map(_range, rows)))

    def _look(self, limit: int, closed_before: int, buckets: Set[int]) -> list[Row]:
        """Return the ranges of dirty marks on the first site-days, sorted by (site, day)."""
        begin = self._marked.begin()

        def pages(requests: Mapping[int, PageRequest]) -> dict[int, list[Row]]:
            values = [(bucket, request.from_site, closed_before, request.rows) for bucket, request in requests.items()]
            return dict(zip(requests, self._session.run_each(_MARKED, values), strict=True))

        rows = first_rows({bucket: begin[bucket] for bucket in sorted(buckets)}, pages, limit)
        first = {site_bucket(row.site): row.site for row in reversed(rows)}
        self._marked.end([[first[bucket]] if bucket in first else [] for bucket in range(SITE_BUCKETS)])
        return rows

    def clear(self, taken: DirtySiteDay) -> None:
        """Delete exactly the dirty marks in `taken`, and remove the site-day from the awaited days."""
        key, now_us = _key(taken.site_day), time.time_ns() // 1_000
        deleted = [
            (
                max(now_us, self._taken.get((taken.site_day, marks.partition), 0)),
                *(*key, *marks.partition, marks.first_offset, marks.last_offset),
            )
            for marks in taken.marks
        ]
        self._session.run_many(_DELETE, deleted)
        self._awaited.end(taken.site_day, now_us)

    def pending(self, site: str) -> Sequence[DirtySiteDay]:
        """Return the site's days that have dirty marks."""
        return gathered(map(_range, self._session.run(_OF_SITE, (site_bucket(site), site))))

    def awaited(self, site: str) -> Sequence[int]:
        """Return the days that `await_close` stored for the site, in ascending order."""
        return self._awaited.of(site)

    def marks(self, site: str) -> Sequence[DirtyMark]:
        """Return the site's dirty marks, ordered by (day, position)."""
        rows = self._session.run(
            """SELECT site, day, log, partition, offset, log_time, hits, sum64, xor64 FROM dirty_marks
            WHERE bucket = ? AND site = ?""",
            (site_bucket(site), site),
        )
        return list(map(_mark, rows))


def _key(site_day: SiteDay) -> tuple[int, str, int]:
    return site_bucket(site_day.site), site_day.site, site_day.day


def _row(mark: DirtyMark) -> tuple[object, ...]:
    sums = to_signed(mark.sum64), to_signed(mark.xor64)
    return (*_key(mark.site_day), *mark.position, mark.log_time, mark.hits, *sums)


def _range(row: Row) -> tuple[SiteDay, MarkRange]:
    marks = MarkRange(PartitionId(row.log, row.partition), row.first_offset, row.last_offset, row.first_log_time)
    return SiteDay(row.site, row.day), marks


def _mark(row: Row) -> DirtyMark:
    position = Position(row.log, row.partition, row.offset)
    sums = to_unsigned(row.sum64), to_unsigned(row.xor64)
    return DirtyMark(SiteDay(row.site, row.day), position, row.log_time, row.hits, *sums)
