"""Test that each process learns every changed name from Cassandra, or that everything may have changed."""

from __future__ import annotations

import threading
import uuid
from contextlib import closing

import pytest

from hitmesh.adapters.cassandra.directory import CHECK_INTERVAL_MS, CassandraSiteDirectory
from hitmesh.adapters.cassandra.directory_changes import DirectoryChanges
from hitmesh.adapters.cassandra.session import CassandraSession, Row, Values
from hitmesh.adapters.servers import Servers
from hitmesh.model.exclusion import SiteRules
from hitmesh.model.sites import IngestKey, KeyKind, Site
from tests.support.clock import ManualClock

RING = 3


@pytest.fixture
def emptied(session: CassandraSession) -> CassandraSession:
    session.change_schema("TRUNCATE directory_changes")
    session.change_schema("TRUNCATE directory_version")
    return session


def changes(session: CassandraSession) -> DirectoryChanges:
    return DirectoryChanges(session, ring=RING)


def test_a_process_learns_each_changed_name_once_and_nothing_without_a_change(emptied: CassandraSession) -> None:
    writer, reader = changes(emptied), changes(emptied)
    assert reader.changed() is None, "a process that just started keeps no entries"
    assert reader.changed() == ()
    for number in range(3 * RING):
        writer.note(f"merchants/m/sites/{number}")
        assert reader.changed() == [f"merchants/m/sites/{number}"]
        assert reader.changed() == ()


@pytest.mark.parametrize("missed", range(RING + 3))
def test_a_process_that_missed_more_changes_than_are_kept_reads_everything_again(
    emptied: CassandraSession, missed: int
) -> None:
    writer, reader = changes(emptied), changes(emptied)
    writer.note("merchants/m/sites/0")
    reader.changed()
    names = [f"merchants/m/sites/{number}" for number in range(missed)]
    for name in names:
        writer.note(name)
    found = reader.changed()
    assert found == (names if 0 < missed <= RING else () if not missed else None)
    writer.note("merchants/m/sites/next")
    assert reader.changed() == ["merchants/m/sites/next"]


def test_a_version_of_an_earlier_release_makes_everything_outdated(emptied: CassandraSession) -> None:
    reader, version = changes(emptied), uuid.uuid1()
    reader.changed()
    emptied.apply("UPDATE directory_version SET version = ? WHERE zero = 0 IF version != ?", (version, version))
    assert reader.changed() is None
    assert reader.changed() == ()


def test_versions_that_are_announced_in_another_order_lose_no_name(emptied: CassandraSession) -> None:
    reader = changes(emptied)
    reader.changed()
    first, second = uuid.uuid1(), uuid.uuid1()
    writer = changes(emptied)
    writer._append("merchants/m/sites/a", first)
    writer._append("merchants/m/sites/b", second)
    announce = "UPDATE directory_version SET version = ? WHERE zero = 0 IF version != ?"
    emptied.apply(announce, (second, second))
    assert reader.changed() == ["merchants/m/sites/a", "merchants/m/sites/b"]
    emptied.apply(announce, (first, first))
    assert reader.changed() == []


def test_writers_at_the_same_time_lose_no_name(emptied: CassandraSession) -> None:
    reader = DirectoryChanges(emptied)
    reader.changed()
    writers = [DirectoryChanges(emptied) for _ in range(4)]
    threads = [
        threading.Thread(target=lambda writer=writer, number=number: [writer.note(f"{number}-{i}") for i in range(5)])
        for number, writer in enumerate(writers)
    ]
    for thread in threads:
        thread.start()
    found: list[str] = []
    while any(thread.is_alive() for thread in threads):
        found += reader.changed() or ()
    found += reader.changed() or ()
    assert sorted(found) == sorted(f"{number}-{i}" for number in range(4) for i in range(5))


class CountingSession(CassandraSession):
    """A session that counts the look-ups of sites and keys."""

    look_ups = 0

    def run(self, cql: str, values: Values = (), *, serial: bool = False) -> list[Row]:
        self.look_ups += "FROM sites WHERE" in cql or "FROM key_secrets" in cql
        return super().run(cql, values, serial=serial)


def test_change_of_one_site_or_key_leaves_all_other_cache_entries_valid(
    emptied: CassandraSession, servers: Servers
) -> None:
    clock, writer = ManualClock(1_000), CassandraSiteDirectory(emptied, ManualClock(1_000))
    names = [f"merchants/cache/sites/{number}" for number in range(5)]
    for name in names:
        writer.create_site(Site(name, "UTC", "EUR", secret=b"s"))
        writer.create_key(IngestKey(name[-1], "merchants/cache", KeyKind.SERVER, name), f"secret {name}")
    with closing(CountingSession(servers)) as counting:
        reader = CassandraSiteDirectory(counting, clock)

        def look_ups() -> int:
            counting.look_ups = 0
            clock.advance(CHECK_INTERVAL_MS)
            for name in names:
                assert (reader.site(name), reader.key(f"secret {name}")) != (None, None)
            return counting.look_ups

        assert look_ups() == 2 * len(names)
        assert look_ups() == 0
        assert writer.change_rules(names[2], SiteRules(1, ()))
        assert look_ups() == 1
        writer.revoke_key("merchants/cache", "3", 2_000)
        assert look_ups() == 1
        revoked = reader.key(f"secret {names[3]}")
        assert revoked is not None
        assert revoked.revoked_at == 2_000
