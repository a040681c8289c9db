"""Keep on Cassandra a list of the site-days with replaced generations.

The module decides when each site-day is read again. Generations that are kept for a rollback stay in the list for
weeks, so most site-days need no read. A slow full read is therefore repeated only after a delay. Between full reads, a
read covers only site-days that this process changed and site-days with a newly superseded generation. A generation that
another process superseded may be found only by the next full read. A full read lists all site-days in the table, and
then reads their generations page by page. The process keeps a time per listed site-day in memory.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from hitmesh.adapters.cassandra.session import CassandraSession
from hitmesh.adapters.cassandra.sweep import LONG_S, SHARE
from hitmesh.model.keys import hash64
from hitmesh.model.sites import SiteDay
from hitmesh.ports.settling import SUPERSEDED_PAGE

_BUCKETS: Final = 32
# A day number below the number of any real day.
_BEFORE_ALL: Final = -(1 << 31)
# Microseconds. While the clocks of any two settlers differ by less than this margin, no row of `replaced_site_days` is
# lost.
_CLOCK_MARGIN_US: Final = 60_000_000


class ReplacedSiteDays:
    """The site-days with superseded generations. Thread-safe.

    Args:
        session: a session on the keyspace.
        long_s: a full read that takes fewer than `long_s` seconds may be repeated at once.
        share: the delay after a longer full read, as a multiple of the read's duration.
        clock: returns monotonic seconds.
    """

    def __init__(
        self,
        session: CassandraSession,
        *,
        long_s: float = LONG_S,
        share: int = SHARE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._session = session
        self._long_s = long_s
        self._share = share
        self._clock = clock
        self._lock = threading.Lock()
        self._whole_again_s = float("-inf")
        self._is_listed = False
        # While site-days of the last full read are still unread: the time that the full read has taken so far.
        self._whole_took_s: float | None = None
        # The earliest time at which any generation becomes superseded, for each site-day.
        self._first: dict[SiteDay, int] = {}
        self._changed: set[SiteDay] = set()

    def note(self, site_day: SiteDay) -> None:
        """Store that the site-day may have superseded generations.

        Must be called after the site-day's row in `generations` was read, and before that row is changed.
        `CassandraGenerations.forget` changes the row in `generations` before it calls `drop`. If `note` and `forget`
        run at the same time, the row in `replaced_site_days` is not lost. Either one of the two conditional writes to
        `generations` fails, or the deletion in `drop` has an older timestamp than the row that `note` wrote.
        """
        self._session.run(
            "INSERT INTO replaced_site_days (bucket, site, day) VALUES (?, ?, ?)", (_bucket(site_day.site), *site_day)
        )
        self.look_again(site_day)

    def look_again(self, site_day: SiteDay) -> None:
        """Make the next call of `superseded` read the site-day."""
        with self._lock:
            self._changed.add(site_day)

    def drop(self, site_day: SiteDay, read_us: int) -> None:
        """Delete the site-day's row; at the time `read_us` (UTC µs), the site-day had no replaced generations."""
        self._session.run(
            "DELETE FROM replaced_site_days USING TIMESTAMP ? WHERE bucket = ? AND site = ? AND day = ?",
            (read_us - _CLOCK_MARGIN_US, _bucket(site_day.site), *site_day),
        )

    def superseded(
        self, published_before: int, after: tuple[SiteDay, int] | None = None, limit: int = SUPERSEDED_PAGE
    ) -> Sequence[tuple[SiteDay, int]]:
        """Return a page of the generations that became superseded before the time `published_before`.

        The first call begins a full read. Later, a full read begins with a first page only. The call reads at most
        `limit` site-days at once, and reads further site-days only until the page is full.
        """
        began_s = self._clock()
        is_begin = after is None or not self._is_listed
        if is_begin and self._whole_took_s is None and began_s >= self._whole_again_s:
            self._read_all()
            self._whole_took_s, self._is_listed = 0.0, True
        found: list[tuple[SiteDay, int]] = []
        due = self._due(published_before, after)
        for begin in range(0, len(due), limit):
            found += sorted(
                (site_day, generation)
                for site_day, replaced in self._read(due[begin : begin + limit]).items()
                for generation, at in replaced.items()
                if at < published_before and (after is None or (site_day, generation) > after)
            )
            if len(found) >= limit:
                break
        self._note_time(began_s)
        return found[:limit]

    def _note_time(self, began_s: float) -> None:
        """Delay the next full read if the last full read is complete and was slow."""
        if self._whole_took_s is None:
            return
        now_s = self._clock()
        self._whole_took_s += now_s - began_s
        with self._lock:
            is_complete = not self._changed
        if is_complete:
            if self._whole_took_s >= self._long_s:
                self._whole_again_s = now_s + self._share * self._whole_took_s
            self._whole_took_s = None

    def site_days(self, site: str | None, after: SiteDay | None, limit: int) -> Sequence[SiteDay]:
        """Return up to `limit` site-days after `after` in the order (bucket, site, day); `site` None means all sites.

        Some of the returned site-days may have no superseded generation.
        """
        begin = site or (after.site if after else "")
        first = _bucket(begin) if begin else 0
        found: list[SiteDay] = []
        for bucket in range(first, first + 1 if site else _BUCKETS):
            place = after if after and bucket == _bucket(after.site) else SiteDay(site or "", _BEFORE_ALL)
            rows = self._session.stream(
                "SELECT site, day FROM replaced_site_days WHERE bucket = ? AND (site, day) > (?, ?)"
                f"{' AND (site) <= (?)' if site else ''} LIMIT ?",
                (bucket, *place, *([site] if site else []), limit - len(found)),
            )
            found += (SiteDay(row.site, row.day) for row in rows)
            if len(found) == limit:
                break
        return found

    def _read_all(self) -> None:
        answers = self._session.run_each(
            "SELECT site, day FROM replaced_site_days WHERE bucket = ?", [(bucket,) for bucket in range(_BUCKETS)]
        )
        with self._lock:
            self._first = {}
            self._changed |= {SiteDay(row.site, row.day) for rows in answers for row in rows}

    def _due(self, published_before: int, after: tuple[SiteDay, int] | None) -> Sequence[SiteDay]:
        """Return the site-days, from the site-day of `after` on, that changed or have a superseded generation."""
        with self._lock:
            due = self._changed | {site_day for site_day, first in self._first.items() if first < published_before}
        return sorted(site_day for site_day in due if after is None or site_day >= after[0])

    def _read(self, site_days: Sequence[SiteDay]) -> Mapping[SiteDay, Mapping[int, int]]:
        """Return each site-day's replaced generations with the times at which they become superseded.

        The site-days no longer count as changed, unless they change again during the read.
        """
        with self._lock:
            self._changed -= set(site_days)
        try:
            answers = self._session.run_each("SELECT replaced FROM generations WHERE site = ? AND day = ?", site_days)
        except BaseException:
            with self._lock:
                self._changed |= set(site_days)
            raise
        found = {
            site_day: dict(rows[0].replaced or {}) if rows else {}
            for site_day, rows in zip(site_days, answers, strict=True)
        }
        with self._lock:
            for site_day, replaced in found.items():
                self._first.pop(site_day, None)
                if replaced:
                    self._first[site_day] = min(replaced.values())
        return found


def _bucket(site: str) -> int:
    return hash64(site) % _BUCKETS
