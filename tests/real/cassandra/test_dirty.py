"""Test the queues of dirty days on Cassandra, with different clocks and with deleted rows that scans must skip."""

from __future__ import annotations

import time

from hitmesh.adapters.cassandra.dirty import CassandraDirtyDays
from hitmesh.adapters.cassandra.session import CassandraSession
from hitmesh.model.generations import SETTLEMENT_LOG, DirtyMark, DirtySiteDay
from hitmesh.model.keys import hash64
from hitmesh.model.positions import Position
from hitmesh.model.sites import SiteDay

NEVER = 10**6
AHEAD_US = 300_000_000


def a_mark(site: str, offset: int, *, log: str = "hits.1", partition: int = 0) -> DirtyMark:
    return DirtyMark(SiteDay(site, 7), Position(log, partition, offset), 1_000, 1, 1, 1)


def of_site(taken: object, site: str) -> list[DirtySiteDay]:
    assert isinstance(taken, list)
    return [dirty_day for dirty_day in taken if dirty_day.site_day.site == site]


def ahead(session: CassandraSession, site: str) -> None:
    """Give a site's rows the write timestamps of a process whose clock is five minutes ahead."""
    now_us = time.time_ns() // 1_000 + AHEAD_US
    bucket = hash64(site) % 32
    session.run(
        """INSERT INTO dirty_marks (bucket, site, day, log, partition, offset, log_time, hits, sum64, xor64)
        VALUES (?, ?, 7, 'hits.1', 0, 5, 1000, 1, 1, 1) USING TIMESTAMP ?""",
        (bucket, site, now_us),
    )
    session.run(
        "INSERT INTO awaited_site_days (bucket, site, day) VALUES (?, ?, 7) USING TIMESTAMP ?", (bucket, site, now_us)
    )


def test_marks_written_with_a_clock_ahead_are_cleared(session: CassandraSession) -> None:
    dirty = CassandraDirtyDays(session)
    ahead(session, "ahead")
    (taken,) = of_site(dirty.take(10_000, NEVER), "ahead")
    dirty.clear(taken)
    again = CassandraDirtyDays(session)
    assert not of_site(again.take(10_000, NEVER), "ahead")
    assert (again.awaited("ahead"), again.pending("ahead")) == ([], [])


def test_marks_that_come_after_a_clock_that_was_ahead_was_cleared_are_seen(session: CassandraSession) -> None:
    dirty = CassandraDirtyDays(session)
    ahead(session, "later")
    (taken,) = of_site(dirty.take(10_000, NEVER), "later")
    dirty.mark([a_mark("later", 6)])
    dirty.clear(taken)
    dirty.mark([a_mark("later", 7)])
    (seen,) = of_site(CassandraDirtyDays(session).take(10_000, NEVER), "later")
    assert [(mark.first_offset, mark.last_offset) for mark in seen.marks] == [(6, 7)]


def test_two_settlers_whose_clocks_differ_lose_no_mark_of_each_other(session: CassandraSession) -> None:
    """A mark that a settler writes has a time as its offset, so each settler writes to a separate partition."""
    fast, slow = CassandraDirtyDays(session), CassandraDirtyDays(session)
    fast.mark([a_mark("two", offset, log=SETTLEMENT_LOG, partition=1) for offset in (1_000, 9_000)])
    (taken,) = of_site(fast.take(10_000, NEVER), "two")
    slow.mark([a_mark("two", 5_000, log=SETTLEMENT_LOG, partition=2)])
    fast.clear(taken)
    (left,) = of_site(CassandraDirtyDays(session).take(10_000, NEVER), "two")
    assert [(mark.partition.partition, mark.first_offset) for mark in left.marks] == [(2, 5_000)]


def test_rows_that_are_gone_cost_only_looks_from_the_start(session: CassandraSession) -> None:
    dirty = CassandraDirtyDays(session, long_s=0.0, share=10**6)
    bucket = hash64("gone-0") % 32
    sites = [site for number in range(3_000) if hash64(site := f"gone-{number:05d}") % 32 == bucket]
    dirty.mark([a_mark(site, 1) for site in sites])

    def gone(dirty: CassandraDirtyDays) -> list[DirtySiteDay]:
        return [dirty_day for dirty_day in dirty.take(1_000, NEVER) if dirty_day.site_day.site in sites]

    for taken in gone(dirty)[:-1]:
        dirty.clear(taken)

    (left,) = gone(dirty)
    assert gone(dirty) == [left]
    dirty.clear(left)
    assert gone(dirty) == []


def test_awaited_day_that_an_older_version_stored_is_found(session: CassandraSession) -> None:
    ahead(session, "older")
    session.run(
        "DELETE FROM dirty_marks USING TIMESTAMP ? WHERE bucket = ? AND site = ?",
        (time.time_ns() // 1_000 + 2 * AHEAD_US, hash64("older") % 32, "older"),
    )
    dirty = CassandraDirtyDays(session, audit_every_s=0)
    found = [entry for _ in range(32) for entry in of_site(dirty.take(10_000, NEVER), "older")]
    assert found[0] == DirtySiteDay(SiteDay("older", 7), ())
    dirty.clear(found[0])
    assert not [entry for _ in range(32) for entry in of_site(dirty.take(10_000, NEVER), "older")]


def test_awaited_days_are_listed_by_day_and_in_order_of_sites(session: CassandraSession) -> None:
    dirty = CassandraDirtyDays(session)
    sites = [f"many-{number:03d}" for number in range(200)]
    dirty.await_close([SiteDay(site, day) for site in sites for day in (500_000, 500_001, 600_000)])
    listed = [entry.site_day for entry in dirty.take(150, 500_002) if entry.site_day.day >= 500_000]
    assert listed == sorted(listed)
    assert len(listed) == len(set(listed)) > 0
    for entry in dirty.take(10_000, 500_002):
        dirty.clear(entry)
    assert not [entry for entry in dirty.take(10_000, 500_002) if entry.site_day.day >= 500_000]
    assert list(dirty.awaited(sites[0])) == [600_000]
