"""Reprocessings."""

from __future__ import annotations

import random
import threading
from dataclasses import replace

import pytest

from hitmesh.adapters.factory import Stores
from hitmesh.model.change_reasons import ChangeReasons
from hitmesh.model.errors import AlreadyExists
from hitmesh.model.generations import STREAM_GENERATION, LedgerEntry
from hitmesh.model.plan import Kind
from hitmesh.model.positions import PartitionId, Position
from hitmesh.model.reprocessings import Change, GenerationVersion, Rebuilt, Reprocessing, State, Work
from hitmesh.model.sites import SiteDay
from tests.support.opened import NOON, Opener

SHOP = "merchants/m/sites/shop"
PLANNED = Reprocessing("r1", Kind.LOGIC, "v0", (SHOP,), 20_000, 20_003, NOON, NOON, site_days=3, hits=2**40)
RUNNING = replace(PLANNED, state=State.RUNNING, work=Work.RECOMPUTE, updated_at=NOON + 5, done=1, version=2)
LEDGER = LedgerEntry(10, 7, 2, 1, 2**64 - 1, 2**63)


def a_rebuilt(site: str = SHOP, day: int = 20_000, *, sequence: int = 7, carry: bytes = b"carry") -> Rebuilt:
    before = GenerationVersion(STREAM_GENERATION, 2, {PartitionId("hits.1", 0): 2**40}, LEDGER, b"")
    after = GenerationVersion(3, 0, {}, LedgerEntry(0, 0, 0, 0, 0, 0), carry)
    return Rebuilt(
        SiteDay(site, day),
        before,
        after,
        sequence,
        {(Position("hits.1", 3, 2**40), 7): True, (Position("hits.1", 3, 9), 0): False},
        {"gross_revenue": Change(-(10**30), 2**64), "visits": Change(5_272, 4_518)},
        frozenset({day - 1, day + 40}),
        ChangeReasons(merged_visits=2**40, joined_hits=-1),
    )


class TestReprocessings:
    def test_created_reprocessing_is_seen_by_another_process(self, opener: Opener) -> None:
        failed = replace(RUNNING, id="r2", kind=Kind.REPAIR, state=State.FAILED, error="no disk; ü", sites=("a", "b"))
        opener().reprocessings.create(PLANNED)
        opener().reprocessings.create(failed)
        assert opener().reprocessings.get("r1") == PLANNED
        assert opener().reprocessings.get("r2") == failed
        assert opener().reprocessings.get("r3") is None

    def test_id_can_be_taken_once(self, stores: Stores) -> None:
        stores.reprocessings.create(PLANNED)
        for again in (PLANNED, replace(PLANNED, hits=1)):
            with pytest.raises(AlreadyExists, match="id r1 exists"):
                stores.reprocessings.create(again)
        assert stores.reprocessings.get("r1") == PLANNED

    def test_all_come_newest_first(self, opener: Opener) -> None:
        assert list(opener().reprocessings.all()) == []
        made = [replace(PLANNED, id=id_, created_at=at) for id_, at in (("b", 5), ("c", 9), ("a", 5), ("d", 1))]
        for reprocessing in made:
            opener().reprocessings.create(reprocessing)
        assert [reprocessing.id for reprocessing in opener().reprocessings.all()] == ["c", "b", "a", "d"]
        assert set(opener().reprocessings.all()) == set(made)

    def test_reprocessing_of_very_many_sites_comes_back(self, opener: Opener) -> None:
        names = (f"merchants/{random.Random(number).randbytes(8).hex()}/sites/shop" for number in range(20_000))
        large = replace(PLANNED, sites=tuple(names))
        opener().reprocessings.create(large)
        assert list(opener().reprocessings.all()) == [large]

    def test_replacement_is_seen_by_another_process(self, opener: Opener) -> None:
        opener().reprocessings.create(PLANNED)
        assert opener().reprocessings.replace(RUNNING)
        assert opener().reprocessings.get("r1") == RUNNING
        done = replace(RUNNING, state=State.DIFF_READY, work=None, done=3, version=3)
        assert opener().reprocessings.replace(done)
        assert list(opener().reprocessings.all()) == [done]

    def test_repeated_replacement_succeeds_and_changes_nothing(self, opener: Opener) -> None:
        opener().reprocessings.create(PLANNED)
        for _ in range(3):
            assert opener().reprocessings.replace(RUNNING)
        assert opener().reprocessings.get("r1") == RUNNING

    @pytest.mark.parametrize("version", [1, 2, 4])
    def test_replacement_of_another_version_fails_and_changes_nothing(self, stores: Stores, version: int) -> None:
        stores.reprocessings.create(PLANNED)
        assert stores.reprocessings.replace(RUNNING)
        assert not stores.reprocessings.replace(replace(PLANNED, state=State.EXPIRED, version=version))
        assert stores.reprocessings.get("r1") == RUNNING

    def test_reprocessing_that_does_not_exist_is_not_replaced(self, stores: Stores) -> None:
        assert not stores.reprocessings.replace(RUNNING)
        assert stores.reprocessings.get("r1") is None

    def test_of_two_replacements_of_a_version_exactly_one_succeeds(self, opener: Opener) -> None:
        both = [opener(), opener()]
        both[0].reprocessings.create(PLANNED)
        outcomes: list[tuple[bool, int]] = []
        start = threading.Barrier(2)

        def race(stores: Stores, done: int) -> None:
            start.wait()
            outcomes.append((stores.reprocessings.replace(replace(RUNNING, done=done)), done))

        threads = [threading.Thread(target=race, args=(stores, done)) for done, stores in enumerate(both)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        ((_, done),) = [outcome for outcome in outcomes if outcome[0]]
        assert both[0].reprocessings.get("r1") == replace(RUNNING, done=done)

    def test_removed_reprocessing_leaves_nothing_and_others_stay(self, opener: Opener) -> None:
        for id_ in ("r1", "r2"):
            opener().reprocessings.create(replace(PLANNED, id=id_))
            opener().reprocessings.put(id_, [a_rebuilt(day=day) for day in range(20_000, 20_600)])
        for _ in range(2):
            opener().reprocessings.remove("r1")
        opener().reprocessings.remove("r3")
        assert [reprocessing.id for reprocessing in opener().reprocessings.all()] == ["r2"]
        assert opener().reprocessings.get("r1") is None
        assert list(opener().reprocessings.rebuilt("r1")) == []
        assert not opener().reprocessings.replace(RUNNING)
        assert len(opener().reprocessings.rebuilt("r2")) == 600


class TestRebuilt:
    def test_recomputed_site_days_are_seen_by_another_process(self, opener: Opener) -> None:
        made = [a_rebuilt(day=20_001), a_rebuilt()]
        opener().reprocessings.put("r1", made)
        opener().reprocessings.put("r2", [])
        assert list(opener().reprocessings.rebuilt("r1")) == [made[1], made[0]]
        assert list(opener().reprocessings.rebuilt("r2")) == []

    def test_pages_follow_each_other_by_site_and_day(self, stores: Stores) -> None:
        sites = ("merchants/a-b/sites/x", "merchants/a/sites/y", "merchants/a/sites/yy")
        made = [a_rebuilt(site, day) for site in sites for day in (3, 20_000, 20_001)]
        stores.reprocessings.put("r1", random.Random(1).sample(made, len(made)))
        stores.reprocessings.put("r2", [a_rebuilt(day=1)])
        for limit in (1, 2, 4, 9, 1_000):
            pages, after = [], None
            while page := stores.reprocessings.rebuilt("r1", after, limit):
                assert len(page) <= limit
                after = page[-1].site_day
                pages.append(page)
            assert [rebuilt for page in pages for rebuilt in page] == made
            assert len(pages) == -(-len(made) // limit)
        assert list(stores.reprocessings.rebuilt("r1", SiteDay(sites[0], 500), 1)) == [made[1]]
        assert list(stores.reprocessings.rebuilt("r1", SiteDay("z", 0))) == []

    def test_site_day_that_is_put_again_is_replaced(self, opener: Opener) -> None:
        opener().reprocessings.put("r1", [a_rebuilt(), a_rebuilt(day=20_001)])
        for sequence in (8, 9):
            opener().reprocessings.put("r1", [a_rebuilt(sequence=sequence), a_rebuilt(day=20_002)])
        assert [(rebuilt.site_day.day, rebuilt.sequence) for rebuilt in opener().reprocessings.rebuilt("r1")] == [
            (20_000, 9),
            (20_001, 7),
            (20_002, 7),
        ]

    def test_large_carries_come_back_whole_and_can_be_replaced_by_small_ones(self, opener: Opener) -> None:
        large = a_rebuilt(carry=random.Random(2).randbytes(1_700_000))
        large = replace(large, before=replace(large.before, carry=random.Random(3).randbytes(900_001)))
        for rebuilt in (large, a_rebuilt(), large, a_rebuilt(carry=b"")):
            opener().reprocessings.put("r1", [rebuilt, a_rebuilt(day=20_001)])
            assert list(opener().reprocessings.rebuilt("r1")) == [rebuilt, a_rebuilt(day=20_001)]
