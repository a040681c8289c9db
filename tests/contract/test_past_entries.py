"""Test the port Generations: past entries, the limit of kept generations, and abandoned and retired generations."""

from __future__ import annotations

import pytest

from hitmesh.adapters.factory import Stores
from hitmesh.model.errors import StaleGeneration
from hitmesh.model.generations import STREAM_GENERATION, GenerationEntry
from hitmesh.model.history import MAX_KEPT_GENERATIONS, PastEntry, RetiredGeneration
from hitmesh.model.sites import SiteDay
from tests.contract.test_restored_generations import KEPT, replaced_once, restore, superseded, version_of
from tests.contract.test_settling import DRIFT, MONDAY, NO_DRIFT, SHOP, TUESDAY, publish
from tests.support.opened import Opener


def past(entry: GenerationEntry, kept_until: int | None) -> PastEntry:
    return PastEntry(entry.sequence, entry.generation, entry.logic_version, entry.published_at, kept_until)


def history(stores: Stores, site_day: SiteDay = MONDAY) -> list[PastEntry]:
    site, day = site_day
    return list(stores.generations.history(site, day, day + 1).get(day, ()))


def retired(stores: Stores, site: str | None = SHOP, page: int = 1) -> list[RetiredGeneration]:
    """Return all retired generations, read in pages of the given number of site-days."""
    found: list[RetiredGeneration] = []
    while following := stores.generations.retired(site, found[-1].site_day if found else None, page):
        found += following
    return found


class TestHistory:
    def test_entries_stay_in_the_history_with_the_time_until_which_rows_are_kept(self, opener: Opener) -> None:
        first, second = replaced_once(opener())
        tuesday = publish(opener(), TUESDAY, 0, now=250, drift=NO_DRIFT)
        assert tuesday.generation == STREAM_GENERATION
        restored = restore(opener(), version_of(first.generation), second.sequence)
        found = opener().generations.history(SHOP, 20_000, 20_002)
        assert {day: list(entries) for day, entries in found.items()} == {
            20_000: [past(first, None), past(second, KEPT), past(restored, None)],
            20_001: [past(tuesday, None)],
        }
        assert dict(opener().generations.history(SHOP, 20_001, 20_001)) == {}
        assert dict(opener().generations.history("other", 0, 30_000)) == {}

    def test_forgotten_generation_stays_in_the_history_as_not_kept(self, stores: Stores) -> None:
        first, second = replaced_once(stores)
        stores.generations.forget(MONDAY, first.generation)
        assert history(stores) == [past(first, 0), past(second, None)]

    def test_history_has_the_newest_entries_only(self, stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
        for module in ("hitmesh.model.history", "hitmesh.adapters.embedded.generations"):
            monkeypatch.setattr(f"{module}.MAX_PAST_ENTRIES", 2)
        _, second = replaced_once(stores)
        third = publish(stores, MONDAY, second.sequence, now=300)
        assert history(stores) == [past(second, 300), past(third, None)]

    def test_the_generations_replaced_first_are_kept_no_longer_if_there_are_too_many(self, stores: Stores) -> None:
        sequence, numbers = 0, []
        for at in range(MAX_KEPT_GENERATIONS + 3):
            entry = publish(stores, MONDAY, sequence, now=100 + at, keep_until=KEPT + at)
            sequence = entry.sequence
            numbers.append(entry.generation)
        due = [generation for _, generation in stores.generations.superseded(KEPT)]
        assert due == numbers[:2]
        assert [entry.is_kept(KEPT) for entry in history(stores)] == [False] * 2 + [True] * (MAX_KEPT_GENERATIONS + 1)


class TestAbandonedAttempts:
    def test_abandoned_attempts_are_superseded_and_cannot_be_published(self, opener: Opener) -> None:
        entry = publish(opener(), MONDAY, 0, now=100)
        attempts = [opener().generations.begin(MONDAY), opener().generations.begin(MONDAY)]
        other = opener().generations.begin(TUESDAY)
        assert opener().generations.abandon(SHOP, 20_000, 20_001, now=200) == 2
        assert opener().generations.abandon(SHOP, 20_000, 20_001, now=300) == 0
        assert superseded(opener()) == dict.fromkeys(attempts, 200)
        with pytest.raises(StaleGeneration, match="is not pending"):
            publish(opener(), MONDAY, entry.sequence, generation=attempts[0])
        assert publish(opener(), TUESDAY, 0, generation=other).generation == other

    def test_abandoned_attempt_that_is_kept_can_be_restored(self, stores: Stores) -> None:
        entry = publish(stores, MONDAY, 0, now=100)
        attempt = stores.generations.begin(MONDAY)
        assert stores.generations.abandon(SHOP, 20_000, 20_001, now=200, keep_until=KEPT) == 1
        restored = restore(stores, version_of(attempt), entry.sequence)
        assert restored.generation == attempt
        assert superseded(stores) == {entry.generation: KEPT}


class TestSupersededGenerations:
    @pytest.mark.parametrize("limit", [1, 2, 100])
    def test_superseded_generations_come_by_pages_in_order_without_gaps(self, opener: Opener, limit: int) -> None:
        stores = opener()
        for day in (MONDAY, TUESDAY, SiteDay("other", 1)):
            stores.generations.begin(day)
            publish(stores, day, 0, now=150, drift=DRIFT)
        kept = publish(stores, TUESDAY, stores.generations.sequence(SHOP), now=400)
        whole = list(opener().generations.superseded(200))
        assert [(day, number) for day, number in whole if number == STREAM_GENERATION] == [
            (day, STREAM_GENERATION) for day in sorted((MONDAY, TUESDAY, SiteDay("other", 1)))
        ]
        assert len(whole) == 6
        assert (TUESDAY, kept.generation - 1) not in whole, "this generation became superseded later"
        found: list[tuple[SiteDay, int]] = []
        while page := opener().generations.superseded(200, found[-1] if found else None, limit):
            assert len(page) <= limit
            found += page
        assert found == whole == sorted(whole)

    def test_pages_continue_while_their_generations_are_forgotten(self, stores: Stores) -> None:
        for day in (MONDAY, TUESDAY):
            stores.generations.begin(day)
            publish(stores, day, 0, now=150, drift=DRIFT)
        whole = list(stores.generations.superseded(200))
        found: list[tuple[SiteDay, int]] = []
        last: tuple[SiteDay, int] | None = None
        while page := stores.generations.superseded(200, last, 1):
            stores.generations.forget(*page[0])
            found += page
            last = page[0]
        assert found == whole
        assert list(stores.generations.superseded(200)) == []


class TestRetiredGenerations:
    def test_retired_generations_come_by_pages_of_site_days(self, opener: Opener) -> None:
        first, _ = replaced_once(opener())
        publish(opener(), TUESDAY, 0, now=150, drift=DRIFT)
        publish(opener(), SiteDay("other", 1), 0, now=150, drift=DRIFT)
        attempt = opener().generations.begin(TUESDAY)
        opener().generations.abandon(SHOP, 20_001, 20_002, now=300)
        expected = [
            RetiredGeneration(MONDAY, first.generation, KEPT, replaced_at=200),
            RetiredGeneration(TUESDAY, STREAM_GENERATION, 150),
            RetiredGeneration(TUESDAY, attempt, 300),
        ]
        for page in (1, 2, 10):
            assert retired(opener(), page=page) == expected
        everywhere = [*expected, RetiredGeneration(SiteDay("other", 1), STREAM_GENERATION, 150)]
        assert sorted(retired(opener(), None), key=repr) == sorted(everywhere, key=repr)
        assert retired(opener(), "unknown") == []

    def test_generation_that_was_forgotten_or_restored_is_not_retired(self, stores: Stores) -> None:
        first, second = replaced_once(stores)
        restore(stores, version_of(first.generation), second.sequence)
        assert [each.generation for each in retired(stores)] == [second.generation]
        stores.generations.forget(MONDAY, second.generation)
        assert retired(stores) == []
