"""Store the site-days that wait for settlement, on one machine (raw.db).

Each dirty mark is stored separately, so that `clear` removes exactly the marks that its argument covers.
"""

from __future__ import annotations

import json
from collections.abc import Sequence, Set
from typing import Final

from hitmesh.adapters.embedded.sqlite import Database, Transaction
from hitmesh.adapters.shared.bits import to_signed, to_unsigned
from hitmesh.adapters.shared.marks import gathered, taken_of, whole_sites
from hitmesh.model.generations import DirtyMark, DirtySiteDay, MarkRange
from hitmesh.model.positions import PartitionId, Position
from hitmesh.model.site_buckets import EVERY_BUCKET, site_bucket
from hitmesh.model.sites import SiteDay

_RANGES: Final = """SELECT site, day, log_id, partition_no, min(record_offset), max(record_offset), min(log_time)
    FROM dirty_marks WHERE site = ? GROUP BY site, day, log_id, partition_no ORDER BY site, day, log_id, partition_no"""
# The query names each wanted site-day, because a range of site-days would also cover sites of other buckets.
_RANGES_OF_DAYS: Final = """SELECT site, day, log_id, partition_no, min(record_offset), max(record_offset),
    min(log_time) FROM json_each(?) AS wanted CROSS JOIN dirty_marks
    WHERE site = wanted.value ->> 0 AND day = wanted.value ->> 1
    GROUP BY wanted.id, log_id, partition_no ORDER BY wanted.id, log_id, partition_no"""
_MARKED: Final = """SELECT DISTINCT site, day FROM dirty_marks WHERE day < ? AND (site, day) > (?, ?)
    ORDER BY site, day LIMIT ?"""
# Most awaited days are still open, so this query finds the closed days with an index.
_CLOSED_DAYS: Final = """WITH RECURSIVE found (day) AS (
        SELECT min(day) FROM awaited_days WHERE day < ?1
        UNION ALL
        SELECT (SELECT min(day) FROM awaited_days WHERE day > found.day AND day < ?1)
        FROM found WHERE found.day IS NOT NULL
    ) SELECT day FROM found WHERE day IS NOT NULL"""
_AWAITED: Final = """SELECT site, day FROM awaited_days INDEXED BY awaited_days_by_day
    WHERE day = ? AND site >= ? AND (site, day) > (?, ?) ORDER BY site LIMIT ?"""
_BEFORE_ALL: Final = SiteDay("", 0)
_MARK_COLUMNS: Final = "site, day, log_id, partition_no, record_offset, log_time, hits, sum64, xor64"


class EmbeddedDirtyDays:
    """Implements the port DirtyDays in raw.db."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def mark(self, marks: Sequence[DirtyMark]) -> None:
        """Store dirty marks in a single durable transaction. Idempotent."""
        with self._database.writing() as transaction:
            transaction.run_many(
                f"INSERT OR IGNORE INTO dirty_marks ({_MARK_COLUMNS}) VALUES ({', '.join('?' * 9)})",
                [
                    (
                        *mark.site_day,
                        *mark.position,
                        mark.log_time,
                        mark.hits,
                        to_signed(mark.sum64),
                        to_signed(mark.xor64),
                    )
                    for mark in marks
                ],
            )

    def await_close(self, site_days: Sequence[SiteDay]) -> None:
        """Store awaited days in a single durable transaction. `take` returns a stored day once the day has closed.

        Idempotent.
        """
        with self._database.writing() as transaction:
            transaction.run_many("INSERT OR IGNORE INTO awaited_days VALUES (?, ?)", site_days)

    def take(self, limit: int, closed_before: int, buckets: Set[int] = EVERY_BUCKET) -> Sequence[DirtySiteDay]:
        """Return at most `limit` site-days in (site, day) order.

        Either all or none of a site's site-days are returned, unless the first site alone has more than `limit`.
        """
        with self._database.reading() as transaction:
            taken = whole_sites(_waiting(transaction, limit + 1, closed_before, buckets), limit)
            if not taken:
                return []
            marked = gathered(transaction.rows(_range, _RANGES_OF_DAYS, (json.dumps(taken),)))
            return taken_of(taken, marked)

    def clear(self, taken: DirtySiteDay) -> None:
        """Remove exactly the dirty marks in `taken`, and remove the site-day from the awaited days."""
        with self._database.writing() as transaction:
            transaction.run_many(
                """DELETE FROM dirty_marks WHERE site = ? AND day = ? AND log_id = ? AND partition_no = ?
                AND record_offset >= ? AND record_offset <= ?""",
                [(*taken.site_day, *marks.partition, marks.first_offset, marks.last_offset) for marks in taken.marks],
            )
            transaction.run("DELETE FROM awaited_days WHERE site = ? AND day = ?", taken.site_day)

    def pending(self, site: str) -> Sequence[DirtySiteDay]:
        """Return a site's days that have dirty marks."""
        with self._database.reading() as transaction:
            return gathered(transaction.rows(_range, _RANGES, (site,)))

    def awaited(self, site: str) -> Sequence[int]:
        """Return the days that `await_close` stored for the site, in ascending order."""
        with self._database.reading() as transaction:
            return transaction.rows(int, "SELECT day FROM awaited_days WHERE site = ? ORDER BY day", (site,))

    def marks(self, site: str) -> Sequence[DirtyMark]:
        """Return a site's dirty marks, ordered by (day, position)."""
        with self._database.reading() as transaction:
            return transaction.rows(
                _mark,
                f"""SELECT {_MARK_COLUMNS} FROM dirty_marks WHERE site = ?
                ORDER BY day, log_id, partition_no, record_offset""",
                (site,),
            )


def _waiting(transaction: Transaction, limit: int, closed_before: int, buckets: Set[int]) -> list[SiteDay]:
    """Return the first `limit` marked or awaited site-days in these buckets, sorted by (site, day)."""
    found: list[SiteDay] = []
    after = _BEFORE_ALL
    closed_days = transaction.rows(int, _CLOSED_DAYS, (closed_before,))
    while len(found) < limit:
        page = _page(transaction, after, limit, closed_before, closed_days)
        found += [site_day for site_day in page if site_bucket(site_day.site) in buckets]
        if len(page) < limit:
            break
        after = page[-1]
    return found[:limit]


def _page(
    transaction: Transaction, after: SiteDay, limit: int, closed_before: int, closed_days: Sequence[int]
) -> list[SiteDay]:
    """Return at most `limit` marked or awaited site-days that follow `after`, sorted by (site, day)."""
    waiting = set(transaction.rows(SiteDay, _MARKED, (closed_before, *after, limit)))
    for day in closed_days:
        waiting.update(transaction.rows(SiteDay, _AWAITED, (day, after.site, *after, limit)))
    return sorted(waiting)[:limit]


def _range(
    site: str, day: int, log: str, partition: int, first_offset: int, last_offset: int, first_log_time: int
) -> tuple[SiteDay, MarkRange]:
    return SiteDay(site, day), MarkRange(PartitionId(log, partition), first_offset, last_offset, first_log_time)


def _mark(
    site: str, day: int, log: str, partition: int, offset: int, log_time: int, hits: int, sum64: int, xor64: int
) -> DirtyMark:
    position = Position(log, partition, offset)
    return DirtyMark(SiteDay(site, day), position, log_time, hits, to_unsigned(sum64), to_unsigned(xor64))
