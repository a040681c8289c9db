"""Test how Cassandra stores generations: unknown outcomes of writes, stored carries, and cached reads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from itertools import count

import pytest

from hitmesh.adapters.cassandra.generations import CassandraGenerations
from hitmesh.adapters.cassandra.replaced import ReplacedSiteDays
from hitmesh.adapters.cassandra.session import PAGE_ROWS, CassandraSession, Row, Values
from hitmesh.adapters.servers import Servers
from hitmesh.model.errors import Unavailable
from hitmesh.model.generations import GenerationEntry, LedgerEntry
from hitmesh.model.reprocessings import GenerationVersion
from hitmesh.model.sites import SiteDay

LEDGER = LedgerEntry(1, 1, 0, 0, 2**64 - 1, 2**63)
LARGE = bytes(range(256)) * 5_000  # three pieces
KEPT = 10_000


class DoubtfulSession(CassandraSession):
    """A session whose connection breaks right after Cassandra has applied a conditional batch."""

    batches_until_silence = 0
    is_silent = False

    def apply_batch(self, statements: Sequence[tuple[str, Values]]) -> bool:
        applied = super().apply_batch(statements)
        self.batches_until_silence -= 1
        if self.batches_until_silence == 0:
            self.is_silent = True
            raise Unavailable("no answer")
        return applied

    def stream(
        self, cql: str, values: Values = (), *, page_rows: int = PAGE_ROWS, serial: bool = False
    ) -> Iterator[Row]:
        if self.is_silent:
            raise Unavailable("no answer")
        return super().stream(cql, values, page_rows=page_rows, serial=serial)


@pytest.fixture
def doubtful(servers: Servers) -> Iterator[DoubtfulSession]:
    with closing(DoubtfulSession(servers)) as opened:
        yield opened


def publish(generations: CassandraGenerations, site_day: SiteDay, seen: int, carry: bytes) -> GenerationEntry:
    return generations.publish(
        site_day,
        generations.begin(site_day),
        logic_version=2,
        read_through={},
        seen_sequence=seen,
        ledger=LEDGER,
        carry=carry,
        now=100,
        keep_until=KEPT,
    )


def carries_of(session: CassandraSession, site: str) -> set[int]:
    """Return the numbers of the attempts that have stored a carry for a site."""
    rows = session.run("SELECT site, attempt, chunk FROM carries")
    return {row.attempt for row in rows if row.site == site}


class WatchedSession(CassandraSession):
    """A session that remembers the site-days whose rows `run_each` read last."""

    def run_each(self, cql: str, rows: Iterable[Values], *, serial: bool = False) -> list[list[Row]]:
        keys = list(rows)
        self.read = {tuple(key) for key in keys if "FROM generations" in cql}
        return super().run_each(cql, keys, serial=serial)


def test_kept_generations_are_read_again_only_when_due_or_changed_or_after_a_while(
    session: CassandraSession, servers: Servers
) -> None:
    days, ticks = [SiteDay("watched", day) for day in range(5)], count()
    elsewhere = CassandraGenerations(session)
    for day in days[:3]:
        publish(elsewhere, day, publish(elsewhere, day, 0, b"1").sequence, b"2")
    with closing(WatchedSession(servers)) as watched:
        replaced = ReplacedSiteDays(watched, long_s=0.5, share=20, clock=lambda: float(next(ticks)))

        def superseded(before: int) -> list[SiteDay]:
            watched.read = set()
            return [day for day, _ in replaced.superseded(before) if day.site == "watched"]

        assert superseded(KEPT) == []
        assert set(days[:3]) <= watched.read
        publish(elsewhere, days[3], publish(elsewhere, days[3], 0, b"1").sequence, b"2")
        assert superseded(KEPT) == []
        assert not watched.read.intersection(days)
        assert superseded(KEPT + 1) == days[:3]
        replaced.look_again(days[3])
        assert superseded(KEPT + 1) == days[:4]
        publish(elsewhere, days[4], publish(elsewhere, days[4], 0, b"1").sequence, b"2")
        assert superseded(KEPT + 1) == days[:4]
        while next(ticks) < 30:
            continue
        assert superseded(KEPT + 1) == days


def test_a_page_reads_only_as_many_site_days_as_it_needs_and_the_next_page_goes_on(
    session: CassandraSession, servers: Servers
) -> None:
    days, ticks = [SiteDay("a-paged", day) for day in range(4)], count()
    elsewhere = CassandraGenerations(session)
    for day in days:
        publish(elsewhere, day, publish(elsewhere, day, 0, b"1").sequence, b"2")
    with closing(WatchedSession(servers)) as watched:
        replaced = ReplacedSiteDays(watched, long_s=0.5, share=20, clock=lambda: float(next(ticks)))
        start = (SiteDay("a-paged", -1), 0)
        assert replaced.superseded(KEPT + 1, None, 1) != []
        found = [start]
        for _ in days:
            found += replaced.superseded(KEPT + 1, found[-1], 1)
            assert watched.read == {found[-1][0]}
        assert [day for day, _ in found[1:]] == days
        publish(elsewhere, days[3], elsewhere.sequence("a-paged"), b"3")
        assert found[-1] in replaced.superseded(KEPT + 1, found[-2], 1)


def test_a_number_is_not_returned_again_after_the_keyspace_was_restored_from_a_backup(
    session: CassandraSession,
) -> None:
    site_day = SiteDay("restored", 1)
    before = CassandraGenerations(session, lambda: 1_000.9)
    assert [before.begin(site_day) for _ in range(2)] == [1_000, 1_001]
    session.run(
        "DELETE FROM generations WHERE site = ? AND day = ?", site_day
    )  # a backup from before the first attempt
    after = CassandraGenerations(session, lambda: 1_060.0)
    assert [after.begin(site_day) for _ in range(2)] == [1_060, 1_061]
    behind = CassandraGenerations(session, lambda: 0.0)
    assert behind.begin(site_day) == 1_062, "a clock that was set back gives no number twice"


def test_publication_that_supersedes_nothing_leaves_nothing_to_look_at(session: CassandraSession) -> None:
    generations, day = CassandraGenerations(session), SiteDay("first", 7)
    publish(generations, day, 0, b"1")
    rows = session.run("SELECT site FROM replaced_site_days")
    assert "first" not in [row.site for row in rows]


def test_site_day_has_only_the_carry_of_its_current_entry_after_every_restore(session: CassandraSession) -> None:
    generations, day = CassandraGenerations(session), SiteDay("restored", 7)
    first = publish(generations, day, 0, LARGE)
    entry = publish(generations, day, first.sequence, b"2")
    numbers = [first.generation, entry.generation]
    for turn, carry in enumerate((LARGE, b"small", b"", LARGE)):
        version = GenerationVersion(numbers[turn % 2], 0, {}, LEDGER, carry)
        entry = generations.restore(day, version, seen_sequence=entry.sequence, now=200, keep_until=KEPT)
        assert generations.carry(day) == carry
        assert len(carries_of(session, "restored")) == (1 if carry else 0)
    for superseded in generations.superseded(KEPT + 1):
        generations.forget(*superseded)
    assert generations.carry(day) == LARGE


@pytest.mark.parametrize("lost", [1, 2])
def test_restore_whose_outcome_is_unknown_can_be_repeated(doubtful: DoubtfulSession, lost: int) -> None:
    site, generations = f"doubtful-{lost}", CassandraGenerations(doubtful)
    day = SiteDay(site, 7)
    first = publish(generations, day, 0, b"1")
    second = publish(generations, day, first.sequence, b"2")
    version = GenerationVersion(first.generation, 0, {}, LEDGER, LARGE)
    doubtful.batches_until_silence = lost
    with pytest.raises(Unavailable):
        generations.restore(day, version, seen_sequence=second.sequence, now=200, keep_until=KEPT)
    doubtful.is_silent = False
    entry = generations.restore(day, version, seen_sequence=second.sequence, now=300, keep_until=KEPT)
    assert (entry.generation, entry.sequence) == (first.generation, second.sequence + 1)
    assert entry.published_at == (300 if lost == 1 else 200)
    assert dict(generations.current(site, 7, 8)) == {7: entry}
    assert generations.carry(day) == LARGE
    assert [number for _, number in generations.superseded(KEPT + 1)].count(first.generation) == 0


def test_carry_of_a_restore_that_was_interrupted_is_deleted_after_the_next_publication(
    doubtful: DoubtfulSession,
) -> None:
    generations, day = CassandraGenerations(doubtful), SiteDay("interrupted", 7)
    first = publish(generations, day, 0, b"1")
    second = publish(generations, day, first.sequence, b"2")
    version = GenerationVersion(first.generation, 0, {}, LEDGER, LARGE)
    doubtful.batches_until_silence = 2
    with pytest.raises(Unavailable):
        generations.restore(day, version, seen_sequence=second.sequence, now=200, keep_until=KEPT)
    doubtful.is_silent = False
    third = publish(generations, day, second.sequence + 1, b"3")
    for superseded in generations.superseded(KEPT + 1):
        if superseded[0] == day:
            generations.forget(*superseded)
    assert carries_of(doubtful, "interrupted") == {third.generation}
