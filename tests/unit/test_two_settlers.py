"""Test two settlers that settle the same site-day.

No hit may be lost if the settler that began later finishes first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from hitmesh.model.errors import StaleGeneration
from hitmesh.model.generations import LedgerEntry
from hitmesh.model.logic import V0, V1
from hitmesh.model.positions import PartitionId, PartitionProgress, Position, Topic
from hitmesh.model.reprocessings import State, Work
from hitmesh.model.sites import SiteDay
from hitmesh.model.streams import ShadowState, Stream, StreamTable
from processor.reprocess.reprocessor import Reprocessor
from processor.settle.attempt import Attempt
from processor.settle.pace import SettlePace
from processor.settle.reached import ScanBounds, scan_bounds
from processor.settle.settler import Settler
from processor.settle.share import WholeShare
from tests.support.reprocessing import SMALL_PORTIONS, imbalance, plan, rebuilt, request, stored
from tests.support.small_mesh import SmallMesh, differences, expected_rows, settler_stores
from tests.unit.reprocessed import flags_of
from tests.unit.settling import SITE, TODAY, TOMORROW, a_hit, a_mesh, an_order, dirty, entry, taken_in


class OvertakenProgress:
    """A progress reader.

    When a settler has first read the progress of both topics, `overtake` lets another settler work.
    """

    def __init__(self, mesh: SmallMesh, overtake: Callable[[], object]) -> None:
        self._port, self._overtake = mesh.stores.progress, overtake
        self._is_overtaken = False

    def progress(self, topic: Topic) -> Mapping[PartitionId, PartitionProgress]:
        found = self._port.progress(topic)
        if topic is Topic.REJECTED and not self._is_overtaken:
            self._is_overtaken = True
            self._overtake()
        return found


def attempt_within(mesh: SmallMesh, bounds: ScanBounds) -> Attempt:
    return Attempt(settler_stores(mesh.stores), TODAY, bounds.hits, bounds.all)


def test_settler_with_older_bounds_does_not_replace_a_generation_that_was_read_further() -> None:
    mesh = a_mesh(a_hit(0))
    mesh.settle()
    mesh.send([a_hit(1)])
    mesh.stream()

    def overtake() -> None:
        mesh.send([a_hit(2)])
        mesh.stream()
        mesh.settle()

    progress: Any = OvertakenProgress(mesh, overtake)
    stores = replace(settler_stores(mesh.stores), progress=progress)
    overtaken = Settler(stores, mesh.clock, SettlePace(resettle_after_ms=0), marks=5)
    assert overtaken.run_once() == 0
    assert mesh.ledgers()[TODAY].accepted == 3
    mesh.settle()
    assert (imbalance(mesh), dirty(mesh)) == (0, [])
    assert differences(mesh.rows(), expected_rows(mesh.sent)) == []


def test_attempt_is_stale_only_if_a_partition_that_both_know_was_read_further() -> None:
    mesh = a_mesh(a_hit(0))
    mesh.settle()
    bounds = scan_bounds(mesh.stores.progress)
    assert attempt_within(mesh, bounds).settle() is not None
    without_hits = dict.fromkeys(bounds.all, 0)
    with pytest.raises(StaleGeneration, match="scan again"):
        attempt_within(mesh, ScanBounds(bounds.hits, without_hits)).settle()
    others = {PartitionId("another-log", 0): 0}
    assert attempt_within(mesh, ScanBounds(bounds.hits, others)).settle() is not None


class OvertakenGenerations:
    """A store of generations.

    After the first attempt has read, and before it begins a generation, another settler works.
    """

    def __init__(self, mesh: SmallMesh, overtake: Callable[[], object]) -> None:
        self._port, self._overtake = mesh.stores.generations, overtake
        self._is_overtaken = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._port, name)

    def begin(self, site_day: SiteDay) -> int:
        number = self._port.begin(site_day)
        if not self._is_overtaken:
            self._is_overtaken = True
            self._overtake()
        return number


def test_first_settlement_of_a_day_is_refused_if_the_day_before_was_published_since_its_carry_was_read() -> None:
    mesh = a_mesh(a_hit(1_435))
    mesh.settle()
    mesh.send([a_hit(1_445)])
    mesh.stream()

    def overtake() -> None:
        mesh.send([a_hit(1_430)])
        mesh.stream()
        only_today = SettlePace(resettle_after_ms=0, take_site_days=1)
        assert Settler(settler_stores(mesh.stores), mesh.clock, only_today, marks=6).run_once() == 1

    generations: Any = OvertakenGenerations(mesh, overtake)
    stores = replace(settler_stores(mesh.stores), generations=generations)
    overtaken = Settler(stores, mesh.clock, SettlePace(resettle_after_ms=0), marks=5)
    assert overtaken.run_once() == 0
    assert entry(mesh, TOMORROW) is None
    assert TOMORROW in dirty(mesh)
    mesh.settle()
    assert differences(mesh.rows(), expected_rows(mesh.sent)) == []


def test_first_settlement_of_a_day_is_computed_again_if_reports_began_to_read_another_stream() -> None:
    mesh = a_mesh(a_hit(0))
    mesh.heartbeat()
    mesh.stream()
    streams = mesh.stores.streams
    shadow = Stream(-1, first_day=TODAY.day, logic=V0.name, replaces=V1.name)
    assert streams.replace(StreamTable().started(shadow, mesh.clock.now()))
    mesh.stores.stream(-1, is_shadow=True).series.note_flushed(mesh.stores.series.flushed())

    def publish() -> None:
        assert streams.replace(streams.read().moved(ShadowState.PUBLISHED, mesh.clock.now()))

    generations: Any = OvertakenGenerations(mesh, publish)
    stores = replace(settler_stores(mesh.stores), generations=generations)
    settler = Settler(stores, mesh.clock, SettlePace(resettle_after_ms=0, retry_after_ms=0), marks=5, logic=V1)
    assert settler.run_once() == 0
    assert (entry(mesh), dirty(mesh)) == (None, [TODAY])
    mesh.clock.advance(1)
    assert settler.run_once() == 1
    settled = entry(mesh)
    assert settled is not None
    assert settled.logic_version == V0.number


class OvertakenLedger:
    """A store of generations. Just before a settler first reads a ledger entry, another settler works."""

    def __init__(self, mesh: SmallMesh, overtake: Callable[[], object]) -> None:
        self._port, self._overtake = mesh.stores.generations, overtake
        self._is_overtaken = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._port, name)

    def ledger(self, site: str, first_day: int, end_day: int) -> Mapping[int, LedgerEntry]:
        if not self._is_overtaken:
            self._is_overtaken = True
            self._overtake()
        return self._port.ledger(site, first_day, end_day)


def test_day_that_another_settler_publishes_during_its_recomputation_is_recomputed_again() -> None:
    mesh = a_mesh(a_hit(0))
    mesh.settle()
    plan(mesh, [SITE])
    request(mesh, Work.RECOMPUTE)

    def overtake() -> None:
        mesh.send([a_hit(1)])
        mesh.stream()
        mesh.settle()

    generations: Any = OvertakenLedger(mesh, overtake)
    stores = replace(settler_stores(mesh.stores), generations=generations)
    reprocessor = Reprocessor(stores, mesh.stores.reprocessings, mesh.clock, SMALL_PORTIONS, marks=5)
    while stored(mesh).state is State.RUNNING:
        reprocessor.run_once()
    assert (stored(mesh).state, stored(mesh).error) == (State.DIFF_READY, "")
    assert [(each.before.ledger.accepted, each.after.ledger.accepted) for each in rebuilt(mesh)] == [(2, 2)]


class EndingShare(WholeShare):
    """A settler's share of sites. The lease ends after a number of checks."""

    def __init__(self, looks: int) -> None:
        self._looks = looks

    def holds(self, site: str) -> bool:
        self._looks -= 1
        return self._looks >= 0


@pytest.mark.parametrize("looks", range(4))
def test_settler_whose_lease_ends_leaves_the_day_dirty_and_another_settler_continues(looks: int) -> None:
    mesh = a_mesh(an_order(5, "o"), a_hit(1_445))
    mesh.settle()
    mesh.send([an_order(3, "o", "w"), a_hit(1_450)])
    mesh.stream()
    share = EndingShare(looks)
    ending = Settler(settler_stores(mesh.stores), mesh.clock, SettlePace(resettle_after_ms=0), marks=5, share=share)
    assert ending.run_once() == looks // 2
    assert (TODAY in dirty(mesh)) is (looks < 2)
    mesh.settle()
    assert (imbalance(mesh), dirty(mesh)) == (0, [])
    assert differences(mesh.rows(), expected_rows(mesh.sent)) == []


def test_flags_that_are_set_after_another_publication_are_decided_again() -> None:
    mesh = a_mesh(an_order(5, "o", hit_id="same"), an_order(1_500, "o"))
    mesh.settle()
    mesh.send([an_order(3, "o", "w"), an_order(5.5, "o", hit_id="same")])
    mesh.stream()
    set_duplicates = mesh.stores.claims.set_duplicates

    def late(site: str, verdicts: Mapping[tuple[Position, int], bool]) -> None:
        mesh.stores.claims.set_duplicates = set_duplicates  # type: ignore[method-assign]  # only once
        mesh.settle()
        set_duplicates(site, verdicts)

    mesh.stores.claims.set_duplicates = late  # type: ignore[method-assign]  # another settler works before the write
    overtaken = Settler(settler_stores(mesh.stores), mesh.clock, SettlePace(resettle_after_ms=0), marks=5)
    overtaken.run_once()
    assert TODAY in dirty(mesh)
    mesh.settle()
    assert (imbalance(mesh), dirty(mesh)) == (0, [])
    assert differences(mesh.rows(), expected_rows(mesh.sent)) == []


def test_day_that_was_settled_before_the_flags_that_it_depends_on_is_settled_again() -> None:
    copied = [a_hit(5, hit_id="same"), an_order(5.5, "p", hit_id="same"), an_order(1_500, "p")]
    # Today's hit and tomorrow's hit both have order o; today's hit wins.
    mesh = taken_in(*copied, an_order(6, "o"), an_order(1_510, "o"))
    set_duplicates = mesh.stores.claims.set_duplicates

    def late(site: str, verdicts: Mapping[tuple[Position, int], bool]) -> None:
        mesh.stores.claims.set_duplicates = set_duplicates  # type: ignore[method-assign]  # only once
        mesh.settle()
        set_duplicates(site, verdicts)

    mesh.stores.claims.set_duplicates = late  # type: ignore[method-assign]  # another settler works before the write
    overtaken = Settler(settler_stores(mesh.stores), mesh.clock, SettlePace(resettle_after_ms=0), marks=5)
    overtaken.run_once()
    assert dirty(mesh) == [TODAY, TOMORROW]
    mesh.settle()
    assert (imbalance(mesh), dirty(mesh)) == (0, [])
    assert differences(mesh.rows(), expected_rows(mesh.sent)) == []


class Died(BaseException):
    """The simulated end of the process.

    The class derives from BaseException, so that no `except Exception` catches the error.
    """


INTENT_MS = 3_600_000


def a_settler(mesh: SmallMesh, marks: int) -> Settler:
    return Settler(settler_stores(mesh.stores), mesh.clock, SettlePace(resettle_after_ms=0), marks=marks)


def test_flags_of_a_settler_that_stood_still_and_died_are_set_again() -> None:
    mesh = a_mesh(an_order(5, "o", hit_id="same"), an_order(1_500, "o"))
    mesh.settle()
    mesh.send([an_order(3, "o", "w"), an_order(5.5, "o", hit_id="same")])
    mesh.stream()
    set_duplicates = mesh.stores.claims.set_duplicates
    another = a_settler(mesh, 6)

    def too_late(site: str, verdicts: Mapping[tuple[Position, int], bool]) -> None:
        mesh.stores.claims.set_duplicates = set_duplicates  # type: ignore[method-assign]  # only once
        for _ in range(3):
            mesh.clock.advance(1)
            another.run_once()
        set_duplicates(site, {claim: not flag for claim, flag in verdicts.items()})
        raise Died

    mesh.stores.claims.set_duplicates = too_late  # type: ignore[method-assign]  # stands still before the write
    with pytest.raises(Died):
        a_settler(mesh, 5).run_once()
    assert flags_of(mesh, "o") == [False, False, False, False], "older flags than the last settlement's"
    another.run_once()
    assert dirty(mesh) == [TODAY], "the intent stays, because the process may still be standing"
    mesh.clock.advance(INTENT_MS + 1)
    for _ in range(3):
        another.run_once()
    assert flags_of(mesh, "o") == [False, False, False, True]
    assert (imbalance(mesh), dirty(mesh)) == (0, [])
    assert differences(mesh.rows(), expected_rows(mesh.sent)) == []


def test_settler_without_a_stop_leaves_no_intent_and_waits_for_none_of_its_own() -> None:
    mesh = a_mesh(an_order(5, "o", hit_id="same"), an_order(5.5, "o", hit_id="same"))
    mesh.stream()
    mesh.close_days()
    mesh.stream()
    settler, set_duplicates = a_settler(mesh, 5), mesh.stores.claims.set_duplicates

    def fails(site: str, verdicts: Mapping[tuple[Position, int], bool]) -> None:
        mesh.stores.claims.set_duplicates = set_duplicates  # type: ignore[method-assign]  # only once
        raise Died

    mesh.stores.claims.set_duplicates = fails  # type: ignore[method-assign]  # the same process tries again
    with pytest.raises(Died):
        settler.run_once()
    assert dirty(mesh) == [TODAY]
    mesh.clock.advance(1)
    settler.run_once()
    assert (flags_of(mesh, "o"), dirty(mesh)) == ([False, True], [])
