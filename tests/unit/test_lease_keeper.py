"""Test how a settler acquires, renews, releases and loses leases."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from hitmesh.adapters.memory.leases import MemoryLeases
from hitmesh.model.errors import Unavailable
from hitmesh.model.site_buckets import EVERY_BUCKET, SITE_BUCKETS, site_bucket
from processor.settle.lease_keeper import LeaseKeeper, LeasePace
from tests.support.clock import ManualClock

PACE = LeasePace(length_ms=1_000, much_site_days=4)
SITE = "merchants/m/sites/s"
HALF = SITE_BUCKETS // 2


class Settlers:
    """Lease keepers that share a store of leases.

    Each lease keeper belongs to a settler that has no work. The lease keeper of each settler first renews and acquires
    leases. Then the settler begins a pass.
    """

    def __init__(self) -> None:
        self.clock = ManualClock(1_000_000)
        self.leases = MemoryLeases(self.clock)

    def keeper(self, owner: str, now: Callable[[], float] | None = None) -> LeaseKeeper:
        return LeaseKeeper(self.leases, owner, PACE, now or self.clock.now)

    def turns(self, *keepers: LeaseKeeper, count: int = 1) -> None:
        for _ in range(count):
            self.clock.advance(PACE.turn_ms)
            for keeper in keepers:
                keeper.turn()
                keeper.begin()


def test_first_settler_has_every_bucket_and_a_second_gets_half() -> None:
    settlers = Settlers()
    first, second = settlers.keeper("a"), settlers.keeper("b")
    assert first.begin() == frozenset()
    settlers.turns(first)
    assert first.begin() == EVERY_BUCKET
    settlers.turns(first, second, count=3)
    assert (len(first.begin()), len(second.begin())) == (HALF, HALF)
    assert first.begin() | second.begin() == EVERY_BUCKET
    assert first.holds(SITE) is (site_bucket(SITE) in first.begin())


def test_bucket_is_left_only_when_the_pass_that_uses_the_bucket_has_ended() -> None:
    settlers = Settlers()
    first, second = settlers.keeper("a"), settlers.keeper("b")
    settlers.turns(first)
    for _ in range(5):
        settlers.clock.advance(PACE.turn_ms)
        second.turn()
        first.turn()
    assert (first.buckets(), second.buckets()) == (EVERY_BUCKET, frozenset())
    assert first.holds(SITE)
    assert len(first.begin()) == HALF
    settlers.turns(first, second)
    assert (len(first.buckets()), len(second.buckets())) == (HALF, HALF)


def test_sites_of_a_settler_that_died_are_taken_over_when_its_leases_end() -> None:
    settlers = Settlers()
    dead, other = settlers.keeper("a"), settlers.keeper("b")
    settlers.turns(dead, other, count=4)
    settlers.turns(other, count=2)
    assert len(other.begin()) == HALF
    settlers.turns(other, count=2)
    assert other.begin() == EVERY_BUCKET
    assert not dead.begin()
    assert not dead.holds(SITE)


def test_restarted_settler_continues_at_once_with_the_sites_of_its_earlier_process() -> None:
    settlers = Settlers()
    before, other = settlers.keeper("a"), settlers.keeper("b")
    settlers.turns(before, other, count=4)
    again = settlers.keeper("a")
    again.turn()
    assert again.begin() == before.buckets()


def test_stopped_settler_releases_its_leases() -> None:
    settlers = Settlers()
    stopped, other = settlers.keeper("a"), settlers.keeper("b")
    settlers.turns(stopped, other, count=4)
    stopped.close()
    other.turn()
    assert other.begin() == EVERY_BUCKET
    stopped.turn()
    assert stopped.begin() == frozenset()


def test_lease_that_nears_its_end_is_not_used_and_is_used_again_after_a_renewal() -> None:
    settlers = Settlers()
    keeper = settlers.keeper("a")
    keeper.turn()
    settlers.clock.advance(PACE.length_ms - PACE.margin_ms)
    assert (keeper.begin(), keeper.holds(SITE)) == (frozenset(), False)
    keeper.turn()
    assert (keeper.begin(), keeper.holds(SITE)) == (EVERY_BUCKET, True)


def test_settler_with_much_work_leaves_half_of_its_busy_buckets_to_an_idle_settler() -> None:
    settlers = Settlers()
    busy, idle = settlers.keeper("a"), settlers.keeper("b")
    settlers.turns(busy, idle, count=8)
    working = sorted(busy.begin())[:8]
    busy.note("settle", dict.fromkeys(working[:4], 3))
    busy.note("reprocess", dict.fromkeys(working[4:], 2))
    settlers.turns(busy, idle, count=2)
    assert len(idle.begin() & set(working)) == 4
    assert len(busy.begin() & set(working)) == 4
    settlers.turns(idle, busy, count=2)
    assert len(busy.begin() & set(working)) == 4, "buckets that were left have time to become busy elsewhere"


def test_settler_does_not_take_back_the_buckets_that_it_left_before_others_had_time() -> None:
    settlers = Settlers()
    busy, idle = settlers.keeper("a"), settlers.keeper("b")
    settlers.turns(busy, idle, count=8)
    working = sorted(busy.begin())[:8]
    busy.note("settle", dict.fromkeys(working, 3))
    idle.turn()
    settlers.turns(busy, count=3)
    assert len(busy.buckets() & set(working)) == 4
    idle.turn()
    assert len(idle.buckets() & set(working)) == 4


def test_work_in_the_buckets_of_others_is_no_load() -> None:
    settlers = Settlers()
    first, second = settlers.keeper("a"), settlers.keeper("b")
    settlers.turns(first, second, count=4)
    first.note("settle", {min(first.begin()): 2, min(second.begin()): 9})
    settlers.turns(first, second)
    slots = settlers.leases.held([f"settlers/{number}" for number in range(SITE_BUCKETS)])
    assert {lease.owner: lease.load for lease in slots} == {"a": 2, "b": 0}


def test_restarted_settler_needs_no_second_slot() -> None:
    settlers = Settlers()
    many = [settlers.keeper(f"s{number:02}") for number in range(SITE_BUCKETS)]
    settlers.turns(*many, count=8)
    again = settlers.keeper("s00")
    again.turn()
    assert again.begin() == many[0].begin() != frozenset()


def test_settlers_beyond_the_number_of_buckets_wait_for_a_slot() -> None:
    settlers = Settlers()
    many = [settlers.keeper(f"s{number:02}") for number in range(SITE_BUCKETS + 1)]
    settlers.turns(*many, count=8)
    assert [len(keeper.buckets()) for keeper in many] == [1] * SITE_BUCKETS + [0]
    many[0].close()
    settlers.turns(*many, count=6)
    assert len(many[-1].buckets()) == 1


def test_leases_run_out_while_the_store_is_unavailable_and_come_back_afterwards(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settlers, stop = Settlers(), threading.Event()
    keeper = settlers.keeper("a")
    keeper.turn()

    def unavailable(*_: Any) -> Any:
        stop.set()
        raise Unavailable("no answer; try again")

    monkeypatch.setattr(settlers.leases, "renew", unavailable)
    keeper.run(stop)
    assert keeper.begin() == EVERY_BUCKET
    settlers.clock.advance(PACE.length_ms)
    assert keeper.begin() == frozenset()
    monkeypatch.undo()
    keeper.run(stop)
    assert keeper.begin() == EVERY_BUCKET


def test_lease_is_not_used_in_the_last_fifth_of_its_length() -> None:
    settlers = Settlers()
    keeper = settlers.keeper("a")
    keeper.turn()
    settlers.clock.advance(799)
    assert keeper.holds(SITE)
    settlers.clock.advance(2)
    assert not keeper.holds(SITE)


@pytest.mark.parametrize("slow", ["acquire", "renew"])
def test_lease_counts_from_before_the_call_that_acquires_or_renews_it(
    monkeypatch: pytest.MonkeyPatch, slow: str
) -> None:
    settlers = Settlers()
    keeper, call = settlers.keeper("a"), getattr(settlers.leases, slow)
    if slow == "renew":
        keeper.turn()

    def late(*arguments: Any) -> Any:
        found = call(*arguments)
        settlers.clock.advance(400)  # the answer takes 400 ms
        return found

    monkeypatch.setattr(settlers.leases, slow, late)
    # The lease on the slot is acquired before the leases on buckets.
    begun = settlers.clock.now() + (400 if slow == "acquire" else 0)
    keeper.turn()
    settlers.clock.advance(begun + 799 - settlers.clock.now())
    assert keeper.holds(SITE)
    settlers.clock.advance(2)
    assert not keeper.holds(SITE)


@pytest.mark.parametrize("closed_in", [1, 2])
def test_leases_that_are_acquired_while_the_keeper_is_closed_are_released_at_once(
    monkeypatch: pytest.MonkeyPatch, closed_in: int
) -> None:
    settlers = Settlers()
    closed, other = settlers.keeper("a"), settlers.keeper("b")
    acquire, names = settlers.leases.acquire, list[str]()
    calls = 0

    def acquire_beside_close(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == closed_in:  # the first call acquires the slot, and the second call the buckets
            closed.close()
        found = acquire(*arguments)
        names.extend(lease.name for lease in found)
        return found

    monkeypatch.setattr(settlers.leases, "acquire", acquire_beside_close)
    closed.turn()
    monkeypatch.undo()
    assert names
    assert settlers.leases.held(names) == []
    other.turn()
    assert other.begin() == EVERY_BUCKET
