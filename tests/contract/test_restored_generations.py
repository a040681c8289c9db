"""Test the port Generations: replaced generations are kept, and can become current again."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

import pytest

from hitmesh.adapters.factory import Stores
from hitmesh.model.errors import StaleGeneration
from hitmesh.model.generations import STREAM_GENERATION, GenerationEntry, LedgerEntry
from hitmesh.model.positions import PartitionId
from hitmesh.model.reprocessings import GenerationVersion
from hitmesh.model.sites import SiteDay
from tests.contract.test_settling import DRIFT, LEDGER, MONDAY, NEVER, NO_DRIFT, P0, SHOP, TUESDAY, publish
from tests.support.opened import Opener

KEPT = 10_000
OLD = LedgerEntry(4, 2**40, 0, 1, 2**64 - 2, 2**63 + 1)


def version_of(generation: int, carry: bytes = b"old") -> GenerationVersion:
    """Return an entry that differs in every field from the entries that `publish` in this file creates."""
    return GenerationVersion(generation, 0, {PartitionId("hits.3", 1): 5, P0: 6}, OLD, carry)


def restore(
    stores: Stores, version: GenerationVersion, seen: int, *, now: int = 300, keep_until: int = KEPT
) -> GenerationEntry:
    return stores.generations.restore(MONDAY, version, seen_sequence=seen, now=now, keep_until=keep_until)


def replaced_once(stores: Stores) -> tuple[GenerationEntry, GenerationEntry]:
    """Publish two generations of Monday, and return the replaced entry and the current entry."""
    first = publish(stores, MONDAY, 0, carry=b"1", now=100)
    return first, publish(stores, MONDAY, first.sequence, carry=b"2", now=200, keep_until=KEPT)


def superseded(stores: Stores, before: int = 10**9) -> dict[int, int]:
    """Return, for each superseded generation of Monday, the time at which it was superseded."""
    numbers = [generation for site_day, generation in stores.generations.superseded(before) if site_day == MONDAY]
    times = (100, 200, 300, 400, KEPT, KEPT + 1)
    return {
        number: next(at for at in times if (MONDAY, number) in stores.generations.superseded(at + 1))
        for number in numbers
    }


class TestKeptGenerations:
    def test_replaced_generation_is_superseded_from_the_time_until_which_it_is_kept(self, stores: Stores) -> None:
        first, _ = replaced_once(stores)
        assert list(stores.generations.superseded(KEPT)) == []
        assert list(stores.generations.superseded(KEPT + 1)) == [(MONDAY, first.generation)]

    def test_older_attempts_and_earlier_generations_are_not_kept_longer(self, stores: Stores) -> None:
        first = publish(stores, MONDAY, 0, now=100)
        abandoned = stores.generations.begin(MONDAY)
        second = publish(stores, MONDAY, first.sequence, now=200)
        publish(stores, MONDAY, second.sequence, now=300, keep_until=KEPT)
        assert superseded(stores) == {first.generation: 200, abandoned: 200, second.generation: KEPT}

    def test_time_before_the_publication_changes_nothing(self, stores: Stores) -> None:
        first = publish(stores, MONDAY, 0, now=100)
        publish(stores, MONDAY, first.sequence, now=200, keep_until=100)
        assert superseded(stores) == {first.generation: 200}

    def test_rows_of_the_stream_are_kept_like_a_generation(self, stores: Stores) -> None:
        publish(stores, MONDAY, 0, now=100, drift=DRIFT, keep_until=KEPT)
        assert superseded(stores) == {STREAM_GENERATION: KEPT}


class TestRestoredGenerations:
    def test_restored_generation_is_current_with_everything_of_its_version(self, opener: Opener) -> None:
        first, second = replaced_once(opener())
        version = version_of(first.generation, b"\x00carry" * 100)
        entry = restore(opener(), version, second.sequence)
        assert entry == GenerationEntry(first.generation, second.sequence + 1, 0, dict(version.read_through), 300)
        generations = opener().generations
        assert dict(generations.current(SHOP, 20_000, 20_001)) == {20_000: entry}
        assert dict(generations.ledger(SHOP, 20_000, 20_001)) == {20_000: OLD}
        assert generations.carry(MONDAY) == version.carry
        assert generations.sequence(SHOP) == entry.sequence
        assert superseded(opener()) == {second.generation: KEPT}

    def test_sequence_of_the_site_counts_on_after_a_restore(self, stores: Stores) -> None:
        first, second = replaced_once(stores)
        tuesday = publish(stores, TUESDAY, 0)
        entry = restore(stores, version_of(first.generation), second.sequence)
        assert entry.sequence > tuesday.sequence
        third = publish(stores, MONDAY, entry.sequence, carry=b"3", now=400)
        assert third.sequence > entry.sequence
        assert third.generation > second.generation
        assert superseded(stores) == {first.generation: 400, second.generation: KEPT}
        assert stores.generations.carry(MONDAY) == b"3"

    def test_attempt_that_began_before_a_restore_can_be_published_after_it(self, stores: Stores) -> None:
        first, second = replaced_once(stores)
        waiting = stores.generations.begin(MONDAY)
        entry = restore(stores, version_of(first.generation), second.sequence)
        with pytest.raises(StaleGeneration):
            publish(stores, MONDAY, second.sequence, generation=waiting)
        assert publish(stores, MONDAY, entry.sequence, generation=waiting).generation == waiting

    @pytest.mark.parametrize("seen", [0, 1, 3])
    def test_restore_that_saw_another_entry_is_stale_and_writes_nothing(self, stores: Stores, seen: int) -> None:
        first, second = replaced_once(stores)
        with pytest.raises(StaleGeneration, match=f"sequence {second.sequence} was published after sequence {seen}"):
            restore(stores, version_of(first.generation), seen)
        assert stores.generations.current(SHOP, 20_000, 20_001)[20_000] == second
        assert stores.generations.carry(MONDAY) == b"2"
        assert superseded(stores) == {first.generation: KEPT}

    def test_generation_that_is_gone_cannot_be_restored(self, stores: Stores) -> None:
        first, second = replaced_once(stores)
        stores.generations.forget(MONDAY, first.generation)
        expected = f"generation {first.generation} is no longer kept, the current generation is {second.generation}"
        with pytest.raises(StaleGeneration, match=expected):
            restore(stores, version_of(first.generation), second.sequence)
        assert stores.generations.current(SHOP, 20_000, 20_001)[20_000] == second

    def test_generation_is_restored_until_the_end_of_its_time_and_not_later(self, stores: Stores) -> None:
        first, second = replaced_once(stores)
        with pytest.raises(StaleGeneration, match="no longer kept"):
            restore(stores, version_of(first.generation), second.sequence, now=KEPT + 1)
        assert restore(stores, version_of(first.generation), second.sequence, now=KEPT).generation == first.generation

    def test_only_superseded_generations_can_be_restored(self, stores: Stores) -> None:
        _, second = replaced_once(stores)
        waiting = stores.generations.begin(MONDAY)
        for number in (second.generation, waiting, 999, STREAM_GENERATION):
            with pytest.raises(StaleGeneration, match=f"generation {number} is no longer kept"):
                restore(stores, version_of(number), second.sequence)
        with pytest.raises(StaleGeneration, match="the current generation is None"):
            stores.generations.restore(TUESDAY, version_of(1), seen_sequence=0, now=0, keep_until=0)

    def test_repeated_restore_returns_the_entry_of_the_first(self, opener: Opener) -> None:
        first, second = replaced_once(opener())
        version = version_of(first.generation)
        entry = restore(opener(), version, second.sequence)
        assert restore(opener(), version, second.sequence, now=400, keep_until=KEPT + 1) == entry
        assert superseded(opener()) == {second.generation: KEPT}
        assert opener().generations.carry(MONDAY) == version.carry

    def test_repeated_restore_is_stale_when_a_later_entry_differs(self, stores: Stores) -> None:
        first, second = replaced_once(stores)
        version = version_of(first.generation)
        entry = restore(stores, version, second.sequence)
        with pytest.raises(StaleGeneration):
            restore(stores, replace(version, carry=b"other"), second.sequence)
        with pytest.raises(StaleGeneration):
            restore(stores, replace(version, ledger=LEDGER), second.sequence)
        publish(stores, MONDAY, entry.sequence, carry=b"3")
        with pytest.raises(StaleGeneration):
            restore(stores, version, second.sequence)
        assert stores.generations.carry(MONDAY) == b"3"

    def test_confirmed_stream_can_be_restored_and_confirmed_again(self, stores: Stores) -> None:
        confirmed = publish(stores, MONDAY, 0, carry=b"stream", now=100, drift=NO_DRIFT)
        second = publish(stores, MONDAY, confirmed.sequence, carry=b"2", now=200, keep_until=KEPT)
        version = GenerationVersion(STREAM_GENERATION, 1, confirmed.read_through, LEDGER, b"stream")
        entry = restore(stores, version, second.sequence)
        assert entry.generation == STREAM_GENERATION
        assert stores.generations.current(SHOP, 20_000, 20_001)[20_000] == entry
        assert stores.generations.carry(MONDAY) == b"stream"
        assert superseded(stores) == {second.generation: KEPT}
        again = publish(stores, MONDAY, entry.sequence, carry=b"again", now=400, drift=NO_DRIFT)
        assert again.generation == STREAM_GENERATION
        assert stores.generations.carry(MONDAY) == b"again"
        assert superseded(stores) == {second.generation: KEPT}

    def test_stream_that_never_had_an_entry_can_be_restored(self, stores: Stores) -> None:
        first = publish(stores, MONDAY, 0, drift=DRIFT, keep_until=KEPT)
        entry = restore(stores, version_of(STREAM_GENERATION), first.sequence)
        assert stores.generations.current(SHOP, 20_000, 20_001)[20_000] == entry
        assert superseded(stores) == {first.generation: KEPT}
        assert dict(stores.generations.drifts(SHOP, 0, NEVER)) == {MONDAY: DRIFT}

    def test_restored_generation_is_not_forgotten(self, opener: Opener) -> None:
        first, second = replaced_once(opener())
        gone = opener().generations.superseded(KEPT + 1)
        entry = restore(opener(), version_of(first.generation), second.sequence)
        for site_day, generation in gone:
            opener().generations.forget(site_day, generation)
        assert opener().generations.current(SHOP, 20_000, 20_001)[20_000] == entry
        assert opener().generations.carry(MONDAY) == b"old"
        assert opener().generations.sequence(SHOP) == entry.sequence

    def test_carry_survives_restores_in_both_directions_and_every_forgotten_generation(self, stores: Stores) -> None:
        first, entry = replaced_once(stores)
        generations = (first.generation, entry.generation)
        for turn in range(4):
            carry = f"turn {turn}".encode()
            entry = restore(stores, version_of(generations[turn % 2], carry), entry.sequence)
            assert stores.generations.carry(MONDAY) == carry
            assert superseded(stores) == {generations[1 - turn % 2]: KEPT}
        stores.generations.forget(MONDAY, generations[0])
        for number in range(20):
            stores.generations.forget(MONDAY, number)
        assert stores.generations.carry(MONDAY) == b"turn 3"
        assert stores.generations.current(SHOP, 20_000, 20_001)[20_000] == entry
        assert list(stores.generations.superseded(10**9)) == []

    def test_drifts_and_other_days_are_as_before_a_restore(self, stores: Stores) -> None:
        first = publish(stores, MONDAY, 0, drift=DRIFT)
        other = publish(stores, SiteDay("other", 20_000), 0, carry=b"other", drift=NO_DRIFT)
        second = publish(stores, MONDAY, first.sequence, drift=replace(DRIFT, measures={}), keep_until=KEPT)
        restore(stores, version_of(first.generation), second.sequence)
        drifts = {MONDAY: DRIFT, SiteDay("other", 20_000): NO_DRIFT}
        assert dict(stores.generations.drifts(None, 0, NEVER)) == drifts
        assert dict(stores.generations.current("other", 0, NEVER)) == {20_000: other}
        assert stores.generations.carry(SiteDay("other", 20_000)) == b"other"

    def test_of_a_restore_and_a_publication_that_saw_the_same_entry_exactly_one_wins(self, opener: Opener) -> None:
        both = [opener(), opener()]
        first, second = replaced_once(both[0])
        attempt = both[1].generations.begin(MONDAY)
        calls: list[Callable[[], GenerationEntry]] = [
            lambda: restore(both[0], version_of(first.generation), second.sequence),
            lambda: publish(both[1], MONDAY, second.sequence, carry=b"new", generation=attempt),
        ]
        won: list[GenerationEntry] = []
        start = threading.Barrier(2)

        def race(call: Callable[[], GenerationEntry]) -> None:
            start.wait()
            try:
                won.append(call())
            except StaleGeneration:
                return

        threads = [threading.Thread(target=race, args=(call,)) for call in calls]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        (entry,) = won
        assert both[0].generations.current(SHOP, 20_000, 20_001)[20_000] == entry
        expected = b"new" if entry.generation == attempt else b"old"
        assert both[0].generations.carry(MONDAY) == expected
