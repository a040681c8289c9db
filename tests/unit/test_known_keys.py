"""Test that guessed keys cause a bounded number of look-ups in the store. Guessed keys never lock out a valid key."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Protocol, cast

import pytest

from collector.gate import Gate
from collector.grants import resolve
from collector.refusal_budget import KEYLESS, RefusalBudget
from hitmesh.adapters.cassandra.directory import CassandraSiteDirectory
from hitmesh.adapters.cassandra.directory_changes import DirectoryChanges
from hitmesh.adapters.cassandra.session import CassandraSession
from hitmesh.adapters.embedded.directory import EmbeddedSiteDirectory
from hitmesh.adapters.embedded.schema import DIRECTORY_SCHEMA
from hitmesh.adapters.embedded.sqlite import Database
from hitmesh.adapters.shared.directory_rules import secret_digest
from hitmesh.adapters.shared.known_keys import KnownKeys
from hitmesh.model.errors import KeyNotLookedUp, RetryError, Unavailable
from hitmesh.model.sites import IngestKey, KeyKind, Site
from hitmesh.ports import SiteDirectory
from tests.support.clock import ManualClock
from tests.support.waiting import eventually

KEY = IngestKey("k", "merchants/m", KeyKind.SERVER, "merchants/m/sites/s")
SITE = Site("merchants/m/sites/s", "UTC", "EUR", secret=b"secret of a test")


class CountingStore:
    """A store of keys by digest, which counts its look-ups."""

    def __init__(self) -> None:
        self.keys: dict[bytes, IngestKey] = {}
        self.calls = 0

    def __call__(self, digest: bytes) -> IngestKey | None:
        self.calls += 1
        return self.keys.get(digest)


class SetClock(ManualClock):
    def to(self, now: int) -> None:
        self._now = now


class TestKnownKeys:
    def setup_method(self) -> None:
        self.clock, self.store = SetClock(0), CountingStore()
        self.known = KnownKeys(self.clock, 3)

    def of(self, digest: bytes) -> IngestKey | None:
        return self.known.of(digest, lambda: self.store(digest))

    def spend(self) -> None:
        for number in range(3):
            assert self.of(b"unknown %d" % number) is None
        with pytest.raises(KeyNotLookedUp, match="the limit is 3 look-ups of unknown keys per second"):
            self.of(b"one too many")

    def test_no_more_unknown_keys_are_looked_up_in_a_second_than_the_limit(self) -> None:
        self.spend()
        assert self.store.calls == 3
        self.clock.advance(400)
        assert self.of(b"another") is None
        with pytest.raises(KeyNotLookedUp):
            self.of(b"and another")
        self.clock.advance(3_600_000)
        self.spend()
        assert self.store.calls == 7

    def test_a_clock_that_goes_back_gives_nothing_and_takes_nothing(self) -> None:
        self.clock.advance(10_000)
        self.spend()
        self.clock.to(0)
        with pytest.raises(KeyNotLookedUp):
            self.of(b"unknown")
        self.clock.advance(1_000)
        self.spend()

    def test_keys_that_exist_cost_nothing(self) -> None:
        self.store.keys = {b"%d" % number: KEY for number in range(50)}
        assert [self.of(digest) for digest in self.store.keys] == [KEY] * 50

    def test_a_key_that_was_seen_is_found_whatever_strangers_do(self) -> None:
        self.store.keys = {b"key": KEY}
        assert self.of(b"key") == KEY
        self.spend()
        assert self.of(b"key") == KEY
        self.known.forget()
        assert self.of(b"key") == KEY
        self.known.forget()
        self.known.forget()
        assert self.of(b"key") == KEY

    def test_keys_found_before_the_directory_changed_are_not_remembered(self) -> None:
        def changes(forget: Callable[[], None], found: IngestKey | None) -> IngestKey | None:
            forget()
            return found

        self.known = KnownKeys(self.clock, 3, max_unknown=9)
        assert self.known.of(b"revoked", lambda: changes(self.known.forget, KEY)) == KEY
        assert self.known.of(b"new", lambda: changes(self.known.forget_unknown, None)) is None
        self.store.keys = {b"new": KEY}
        assert (self.of(b"revoked"), self.of(b"new")) == (None, KEY)

    def test_only_the_keys_that_changed_are_looked_up_again_and_cost_nothing(self) -> None:
        keys = {b"%d" % number: IngestKey(f"{number}", "merchants/m", KeyKind.SERVER) for number in range(4)}
        self.store.keys = dict(keys)
        assert [self.of(digest) for digest in keys] == list(keys.values())
        self.spend()
        self.store.keys[b"2"], self.store.calls = KEY, 0
        self.known.forget_some(["merchants/m/ingestKeys/2", "merchants/m/ingestKeys/7", "merchants/m/sites/1"])
        assert [self.of(digest) for digest in keys] == [keys[b"0"], keys[b"1"], KEY, keys[b"3"]]
        assert self.store.calls == 1

    def test_key_that_changed_during_its_look_up_is_not_kept(self) -> None:
        def changes() -> IngestKey:
            self.known.forget_some(["merchants/m/ingestKeys/k"])
            return KEY

        assert self.known.of(b"revoked", changes) == KEY
        assert self.of(b"revoked") is None

    def test_keys_known_earlier_are_bounded(self) -> None:
        self.known = KnownKeys(self.clock, 3, max_kept=2)
        for name in (b"a", b"b", b"c"):
            self.store.keys[name] = KEY
            assert self.of(name) == KEY
            self.known.forget()
        self.spend()
        assert self.of(b"c") == KEY
        with pytest.raises(KeyNotLookedUp):
            self.of(b"a")

    def test_a_store_that_does_not_answer_spends_nothing(self) -> None:
        def silent() -> IngestKey | None:
            raise Unavailable("no answer")

        for _ in range(10):
            with pytest.raises(Unavailable):
                self.known.of(b"key", silent)
        self.spend()

    def test_unknown_secrets_are_remembered_when_configured(self) -> None:
        self.known = KnownKeys(self.clock, 3, max_unknown=1)
        for _ in range(9):
            assert self.of(b"a") is None
        assert self.store.calls == 1
        self.store.keys[b"a"] = KEY
        self.known.forget_unknown()
        assert self.of(b"a") == KEY


class ScriptedSession:
    """A Cassandra session that answers a directory's requests, with one key and a version that never changes."""

    def __init__(self) -> None:
        self.look_ups = 0

    def run(self, statement: str, values: tuple[object, ...] = (), *, serial: bool = False) -> list[Any]:
        if "directory_version" in statement or "directory_changes" in statement:
            return []
        if "FROM key_secrets" in statement:
            self.look_ups += 1
            return [SimpleNamespace(merchant=KEY.merchant, key_id="k")] if values == (secret_digest("known"),) else []
        if "FROM ingest_keys" in statement:
            columns = {name: getattr(KEY, name) for name in KEY.__dataclass_fields__}
            return [SimpleNamespace(**columns, secret_digest=None)]
        assert "FROM sites" in statement or "FROM quotas" in statement
        return []


class ChangingSession(ScriptedSession):
    """A session whose store has noted changes of keys with these names."""

    def __init__(self) -> None:
        super().__init__()
        self.changes: list[str] = []

    def run(self, statement: str, values: tuple[object, ...] = (), *, serial: bool = False) -> list[Any]:
        last = len(self.changes)
        if "directory_version" in statement:
            return [SimpleNamespace(version=last)]
        if "SELECT last" in statement:
            return [SimpleNamespace(last=last)]
        if "directory_changes" in statement:
            return [SimpleNamespace(number=at, name=name, version=at) for at, name in enumerate(self.changes, 1)]
        return super().run(statement, values, serial=serial)


def test_a_change_of_a_key_drops_the_cached_key_of_a_directory_on_cassandra() -> None:
    session, clock = ChangingSession(), ManualClock(0)
    directory = CassandraSiteDirectory(cast(CassandraSession, session), clock)
    assert [directory.key("known"), directory.key("known")] == [KEY, KEY]
    assert session.look_ups == 1
    session.changes.append("merchants/m/ingestKeys/k")
    clock.advance(500)
    eventually(lambda: directory.key("known") == KEY and session.look_ups == 2, "the key is looked up again")


def test_entries_on_cassandra_are_read_again_after_some_minutes_even_without_an_announced_change() -> None:
    session, clock = ScriptedSession(), ManualClock(0)
    directory = CassandraSiteDirectory(cast(CassandraSession, session), clock, kept_for_ms=1_000)
    assert [directory.key("known"), directory.key("known")] == [KEY, KEY]
    clock.advance(999)
    assert directory.key("known") == KEY
    assert session.look_ups == 1
    clock.advance(501)
    eventually(lambda: directory.key("known") == KEY and session.look_ups == 2, "the key is looked up again")


class OvertakenSession(ScriptedSession):
    """A session in which another change always comes first."""

    def apply_batch(self, statements: object) -> bool:
        return False


def test_change_that_others_always_overtake_is_refused_after_the_last_attempt() -> None:
    session = cast(CassandraSession, OvertakenSession())
    with pytest.raises(RetryError, match="at every attempt to announce the change other changes came first"):
        DirectoryChanges(session, attempts=2).note("merchants/m/sites/s")


class MakeDirectory(Protocol):
    def __call__(self, clock: ManualClock, tmp_path: Path) -> SiteDirectory: ...


def embedded(clock: ManualClock, tmp_path: Path) -> SiteDirectory:
    directory = EmbeddedSiteDirectory(Database(tmp_path / "directory.db", DIRECTORY_SCHEMA), clock, unknown_keys_s=3)
    directory.create_site(SITE)
    directory.create_key(KEY, "known")
    return directory


def cassandra(clock: ManualClock, tmp_path: Path) -> SiteDirectory:
    return CassandraSiteDirectory(cast(CassandraSession, ScriptedSession()), clock, unknown_keys_s=3)


@pytest.fixture(params=[embedded, cassandra], ids=lambda make: make.__name__)
def directory(request: pytest.FixtureRequest, tmp_path: Path) -> SiteDirectory:
    make: Callable[[ManualClock, Path], SiteDirectory] = request.param
    return make(ManualClock(0), tmp_path)


def test_every_directory_bounds_unknown_keys_and_finds_known_ones(directory: SiteDirectory) -> None:
    known = directory.key("known")
    assert known is not None
    assert known.key_id == "k"
    assert [directory.key(f"unknown {number}") for number in range(3)] == [None] * 3
    with pytest.raises(KeyNotLookedUp):
        directory.key("one too many")
    assert directory.key("known") == known


def test_a_sender_whose_key_was_not_looked_up_may_send_again_and_is_charged_like_one_without_a_key(
    tmp_path: Path,
) -> None:
    clock, budget = ManualClock(0), RefusalBudget(1_000.0, lambda: 0.0)
    directory = embedded(clock, tmp_path)
    gate = Gate(directory, budget, clock)
    assert gate.is_known("known")
    senders = [(key, "") for key in ("known", "a", "b", "c", "d")]
    refused = {key: answer for (key, _), answer in resolve(senders, directory, 0).items()}
    assert [getattr(refused[key], "reason", None) for key in refused] == [None, *["UNKNOWN_KEY"] * 3, "QUOTA"]
    assert [getattr(refused[key], "retry", None) for key in refused] == [None, False, False, False, True]
    for ask in (gate.is_known, lambda key: gate.require(key, "", "")):
        before_s = budget.wait_s(KEYLESS)
        with pytest.raises(KeyNotLookedUp):
            ask("d")
        assert budget.wait_s(KEYLESS) > before_s
    with pytest.raises(Exception, match="too many hits of this sender were refused"):
        gate.check("d", "1.2.3.4")
    gate.check("known", "1.2.3.4")
