"""Store, on Cassandra, the site-days that wait for their day to close.

A million sites have a million awaited site-days, nearly all on days that are still open. A settler therefore reads a
table that is keyed by day. The settler reads only the few closed days, so the settler passes over no tombstones from
earlier days. A second table, `awaited_site_days`, lists each site's awaited days. An older version of hitmesh wrote
only the table `awaited_site_days`. Every few minutes, the settler therefore also reads a bucket from
`awaited_site_days`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence, Set
from typing import Final

from hitmesh.adapters.cassandra.pages import PageRequest, first_rows
from hitmesh.adapters.cassandra.session import CassandraSession
from hitmesh.adapters.cassandra.sweep import Sweep
from hitmesh.adapters.cassandra.written import Written
from hitmesh.model.site_buckets import SITE_BUCKETS, site_bucket
from hitmesh.model.sites import SiteDay

LOOK_EVERY_S: Final = 10.0
AUDIT_EVERY_S: Final = 120.0
_KEPT_DAYS: Final = 7  # a closed day's row is deleted after this number of days, unless a site awaits the day
_INSERT: Final = "INSERT INTO awaited_site_days (bucket, site, day) VALUES (?, ?, ?)"
_INSERT_BY_DAY: Final = "INSERT INTO awaited_by_day (day, bucket, site) VALUES (?, ?, ?)"
_INSERT_DAY: Final = "INSERT INTO awaited_days (bucket, day) VALUES (?, ?)"
_DAYS: Final = "SELECT bucket, day FROM awaited_days WHERE bucket = ? AND day < ?"
_SITES: Final = "SELECT site FROM awaited_by_day WHERE day = ? AND bucket = ? AND site >= ? LIMIT ?"
_OF_BUCKET: Final = "SELECT site, day FROM awaited_site_days WHERE bucket = ?"
_OF_SITE: Final = "SELECT day FROM awaited_site_days WHERE bucket = ? AND site = ?"
_END: Final = "DELETE FROM awaited_site_days USING TIMESTAMP ? WHERE bucket = ? AND site = ? AND day = ?"
_END_BY_DAY: Final = "DELETE FROM awaited_by_day USING TIMESTAMP ? WHERE day = ? AND bucket = ? AND site = ?"
_FORGET_DAY: Final = "DELETE FROM awaited_days USING TIMESTAMP ? WHERE bucket = ? AND day = ?"
# A site-day's deletion gets a timestamp 10 minutes in the future, because the table does not store the deleted row's
# write time. The clocks of any two processes differ by less than 10 minutes. For 10 minutes, a deletion therefore also
# hides new rows with the deleted key. A hidden row does no harm, because a settled day need not be awaited again.
_CLOCK_MARGIN_US: Final = 600_000_000


class AwaitedDays:
    """The awaited site-days. `closed` and `end` must be called by a single thread.

    Args:
        session: a session on the keyspace.
        long_s, share: see the arguments of the class Sweep.
        look_every_s: seconds for which an empty result is reused.
        audit_every_s: seconds between two reads of the table `awaited_site_days`; each read covers a single bucket.
        clock: returns monotonic seconds.
    """

    def __init__(
        self,
        session: CassandraSession,
        *,
        long_s: float,
        share: int,
        look_every_s: float = LOOK_EVERY_S,
        audit_every_s: float = AUDIT_EVERY_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._session = session
        self._written: Written[SiteDay] = Written()
        self._sweep = Sweep(SITE_BUCKETS, long_s=long_s, share=share)
        self._look_every_s = look_every_s
        self._audit_every_s = audit_every_s
        self._clock = clock
        self._looked_s = 0.0
        # If the last read found no site-day, this attribute holds the arguments `closed_before` and `buckets` of that
        # read. For `look_every_s` seconds, a call with equal arguments reuses the empty result.
        self._none_before: tuple[int, Set[int]] | None = None
        self._audited_s = float("-inf")
        self._next_audit = 0
        self._found_by_audit: dict[int, set[SiteDay]] = {}

    def add(self, site_days: Sequence[SiteDay]) -> None:
        """Store site-days durably, except those that this process has already stored."""
        missing = self._written.missing(site_days)
        if not missing:
            return
        keys = [(site_bucket(site), site, day) for site, day in missing]
        self._session.run_by_partition(_INSERT, keys, 1)
        self._session.run_by_partition(_INSERT_BY_DAY, ((day, bucket, site) for bucket, site, day in keys), 2)
        # The row in `awaited_days` is written last. While a day has a row in `awaited_days`, settlers read the day,
        # even if an earlier read found no site.
        self._session.run_by_partition(_INSERT_DAY, sorted({(bucket, day) for bucket, _, day in keys}), 1)
        self._written.note(missing)
        self._none_before = None

    def of(self, site: str) -> list[int]:
        """Return the site's awaited days, in ascending order."""
        return [row.day for row in self._session.run(_OF_SITE, (site_bucket(site), site))]

    def closed(self, limit: int, closed_before: int, buckets: Set[int]) -> set[SiteDay]:
        """Return the first awaited site-days on days before `closed_before`.

        The result has at least `limit` + 1 site-days, or all awaited site-days if fewer exist.
        """
        now_s = self._clock()
        audited = self._audit(now_s, closed_before, buckets)
        if (closed_before, buckets) == self._none_before and now_s - self._looked_s < self._look_every_s:
            return audited
        found = self._look(limit, closed_before, buckets)
        self._looked_s, self._none_before = now_s, None if found else (closed_before, buckets)
        return found | audited

    def end(self, site_day: SiteDay, now_us: int) -> None:
        """Delete a site-day."""
        site, day = site_day
        bucket, at = site_bucket(site), now_us + _CLOCK_MARGIN_US
        self._session.run(_END, (at, bucket, site, day))
        self._session.run(_END_BY_DAY, (at, day, bucket, site))
        self._written.forget(site_day)
        self._found_by_audit.get(bucket, set()).discard(site_day)

    def _look(self, limit: int, closed_before: int, buckets: Set[int]) -> set[SiteDay]:
        read_us = time.time_ns() // 1_000
        of_buckets = self._session.run_each(_DAYS, [(bucket, closed_before) for bucket in sorted(buckets)])
        days = [(row.bucket, row.day) for rows in of_buckets for row in rows]
        begin = self._sweep.begin()
        found = first_rows({key: begin[key[0]] for key in days}, self._pages, limit) if days else []
        first = {site_bucket(each.site): each.site for each in reversed(found)}
        self._sweep.end([[first[bucket]] if bucket in first else [] for bucket in range(SITE_BUCKETS)])
        if not found:
            self._forget_days([key for key in days if not begin[key[0]]], closed_before, read_us)
        return set(found)

    def _pages(self, requests: Mapping[tuple[int, int], PageRequest]) -> dict[tuple[int, int], list[SiteDay]]:
        answers = self._session.run_each(
            _SITES, [(day, bucket, *request) for (bucket, day), request in requests.items()]
        )
        return {
            (bucket, day): [SiteDay(row.site, day) for row in rows]
            for (bucket, day), rows in zip(requests, answers, strict=True)
        }

    def _forget_days(self, empty: Sequence[tuple[int, int]], closed_before: int, read_us: int) -> None:
        """Delete the rows of old days that no site awaits.

        The stream never adds a site-day after the day has closed.
        """
        old = [(bucket, day) for bucket, day in empty if day < closed_before - _KEPT_DAYS]
        self._session.run_many(_FORGET_DAY, [(read_us - _CLOCK_MARGIN_US, *key) for key in old])

    def _audit(self, now_s: float, closed_before: int, buckets: Set[int]) -> set[SiteDay]:
        """Return the closed site-days that were found in the table `awaited_site_days`.

        If the last read of `awaited_site_days` is at least `audit_every_s` seconds old, first read the table's next
        bucket.
        """
        if now_s - self._audited_s >= self._audit_every_s and buckets:
            self._audited_s = now_s
            bucket = sorted(buckets)[self._next_audit % len(buckets)]
            self._next_audit += 1
            rows = self._session.stream(_OF_BUCKET, (bucket,))
            self._found_by_audit[bucket] = {SiteDay(row.site, row.day) for row in rows if row.day < closed_before}
        found = (self._found_by_audit.get(bucket, set()) for bucket in buckets)
        return {site_day for of_bucket in found for site_day in of_bucket}
