"""DirtyDays, Generations and OrderClaims."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from hitmesh.adapters.factory import Stores
from hitmesh.errors import StaleGeneration
from hitmesh.ports import (
    SETTLEMENT_LOG,
    DirtyMark,
    DirtySiteDay,
    GenerationEntry,
    LedgerEntry,
    MarkRange,
    OrderClaim,
    PartitionId,
    Position,
    SiteDay,
)
from tests.contract.conftest import Opener

SHOP = "merchants/m/sites/shop"
MONDAY = SiteDay(SHOP, 20_000)
TUESDAY = SiteDay(SHOP, 20_001)
P0 = PartitionId("hits.1", 0)
LEDGER = LedgerEntry(10, 7, 2, 1, 2**64 - 1, 2**63)


def a_mark(site_day: SiteDay, offset: int, partition: int = 0, log: str = "hits.1") -> DirtyMark:
    return DirtyMark(site_day, Position(log, partition, offset), 1_000 + offset)


class TestDirtyDays:
    def test_marks_of_a_partition_become_one_range(self, opener: Opener) -> None:
        opener().dirty.mark([a_mark(MONDAY, 5), a_mark(MONDAY, 3), a_mark(MONDAY, 9), a_mark(MONDAY, 4, 1)])
        expected = DirtySiteDay(MONDAY, (MarkRange(P0, 3, 9, 1_003), MarkRange(PartitionId("hits.1", 1), 4, 4, 1_004)))
        assert list(opener().dirty.take(10)) == [expected]
        assert list(opener().dirty.pending(SHOP)) == [expected]

    def test_taking_leaves_days_dirty_until_cleared(self, stores: Stores) -> None:
        stores.dirty.mark([a_mark(MONDAY, 1)])
        (taken,) = stores.dirty.take(10)
        assert list(stores.dirty.take(10)) == [taken]
        stores.dirty.clear(taken)
        stores.dirty.clear(taken)
        assert list(stores.dirty.take(10)) == []

    def test_marking_twice_is_marking_once(self, stores: Stores) -> None:
        stores.dirty.mark([a_mark(MONDAY, 1), a_mark(MONDAY, 1)])
        stores.dirty.mark([a_mark(MONDAY, 1)])
        (taken,) = stores.dirty.take(10)
        stores.dirty.clear(taken)
        assert list(stores.dirty.pending(SHOP)) == []

    def test_clear_keeps_marks_that_came_later(self, stores: Stores) -> None:
        stores.dirty.mark([a_mark(MONDAY, 1), a_mark(MONDAY, 2)])
        (taken,) = stores.dirty.take(10)
        stores.dirty.mark([a_mark(MONDAY, 6), a_mark(MONDAY, 8), a_mark(MONDAY, 1, 2), a_mark(TUESDAY, 1)])
        stores.dirty.clear(taken)
        assert list(stores.dirty.take(10)) == [
            DirtySiteDay(MONDAY, (MarkRange(P0, 6, 8, 1_006), MarkRange(PartitionId("hits.1", 2), 1, 1, 1_001))),
            DirtySiteDay(TUESDAY, (MarkRange(P0, 1, 1, 1_001),)),
        ]

    def test_marks_of_settlement_itself_stand_beside_those_of_the_log(self, stores: Stores) -> None:
        sparse = 2**41
        stores.dirty.mark([a_mark(MONDAY, 1), a_mark(MONDAY, 7, log=SETTLEMENT_LOG)])
        stores.dirty.mark([a_mark(MONDAY, sparse, log=SETTLEMENT_LOG)])
        (taken,) = stores.dirty.take(10)
        assert [marks.partition.log for marks in taken.marks] == ["hits.1", SETTLEMENT_LOG]
        assert taken.marks[1].last_offset == sparse
        stores.dirty.clear(taken)
        assert list(stores.dirty.take(10)) == []

    def test_days_come_by_site_and_day_and_no_site_is_cut(self, stores: Stores) -> None:
        days = [SiteDay(site, day) for site in ("s1", "s2", "s3") for day in (3, 1, 2)]
        stores.dirty.mark([a_mark(day, 1) for day in days])
        assert [one.site_day for one in stores.dirty.take(100)] == sorted(days)
        assert {one.site_day.site for one in stores.dirty.take(7)} == {"s1", "s2"}
        assert [one.site_day for one in stores.dirty.take(6)] == sorted(days)[:6]

    def test_site_with_more_days_than_asked_for_comes_in_parts(self, stores: Stores) -> None:
        stores.dirty.mark([a_mark(SiteDay("s1", day), 1) for day in range(5)])
        assert [one.site_day.day for one in stores.dirty.take(2)] == [0, 1]

    def test_pending_is_of_one_site(self, stores: Stores) -> None:
        stores.dirty.mark([a_mark(MONDAY, 1), a_mark(SiteDay("other", 1), 1)])
        assert [one.site_day for one in stores.dirty.pending(SHOP)] == [MONDAY]


def publish(
    stores: Stores, site_day: SiteDay, seen: int, *, carry: bytes = b"", now: int = 100, generation: int = 0
) -> GenerationEntry:
    return stores.generations.publish(
        site_day,
        generation or stores.generations.begin(site_day),
        logic_version=1,
        read_through={P0: 7, PartitionId("hits.2", 3): 1},
        seen_sequence=seen,
        ledger=LEDGER,
        carry=carry,
        now=now,
    )


class TestGenerations:
    def test_nothing_is_known_of_a_day_that_was_never_settled(self, stores: Stores) -> None:
        assert dict(stores.generations.current(SHOP, 0, 30_000)) == {}
        assert stores.generations.carry(MONDAY) is None
        assert dict(stores.generations.ledger(SHOP, 0, 30_000)) == {}
        assert stores.generations.sequence(SHOP) == 0

    def test_begin_never_returns_a_number_twice(self, opener: Opener) -> None:
        numbers = [opener().generations.begin(MONDAY) for _ in range(5)]
        assert len(set(numbers)) == 5

    def test_published_generation_is_current_with_ledger_and_carry(self, opener: Opener) -> None:
        entry = publish(opener(), MONDAY, 0, carry=b"\x00carry")
        generations = opener().generations
        assert dict(generations.current(SHOP, 20_000, 20_001)) == {20_000: entry}
        assert entry.read_through == {P0: 7, PartitionId("hits.2", 3): 1}
        assert entry.published_at == 100
        assert generations.carry(MONDAY) == b"\x00carry"
        assert dict(generations.ledger(SHOP, 20_000, 20_001)) == {20_000: LEDGER}

    def test_empty_carry_is_not_a_missing_one(self, stores: Stores) -> None:
        publish(stores, MONDAY, 0)
        assert stores.generations.carry(MONDAY) == b""

    def test_current_is_half_open_and_of_one_site(self, stores: Stores) -> None:
        publish(stores, MONDAY, 0)
        publish(stores, TUESDAY, 0)
        publish(stores, SiteDay("other", 20_000), 0)
        assert set(stores.generations.current(SHOP, 20_000, 20_001)) == {20_000}
        assert set(stores.generations.current(SHOP, 0, 30_000)) == {20_000, 20_001}

    def test_newer_publication_wins_and_raises_the_sites_sequence(self, stores: Stores) -> None:
        first = publish(stores, MONDAY, 0, carry=b"1")
        tuesday = publish(stores, TUESDAY, 0)
        second = publish(stores, MONDAY, first.sequence, carry=b"2")
        assert first.sequence < tuesday.sequence < second.sequence == stores.generations.sequence(SHOP)
        assert stores.generations.current(SHOP, 20_000, 20_001)[20_000] == second
        assert stores.generations.carry(MONDAY) == b"2"

    def test_publication_that_saw_an_older_entry_is_stale_and_writes_nothing(self, stores: Stores) -> None:
        first = publish(stores, MONDAY, 0, carry=b"1")
        with pytest.raises(StaleGeneration):
            publish(stores, MONDAY, 0, carry=b"2")
        with pytest.raises(StaleGeneration):
            publish(stores, TUESDAY, first.sequence)
        assert stores.generations.current(SHOP, 20_000, 20_001)[20_000] == first
        assert stores.generations.carry(MONDAY) == b"1"

    def test_attempt_older_than_the_current_generation_is_stale(self, stores: Stores) -> None:
        old = stores.generations.begin(MONDAY)
        entry = publish(stores, MONDAY, 0)
        with pytest.raises(StaleGeneration):
            publish(stores, MONDAY, entry.sequence, generation=old)

    def test_of_two_publishers_that_saw_the_same_entry_exactly_one_wins(self, opener: Opener) -> None:
        both = [opener(), opener()]
        attempts = [(stores, stores.generations.begin(MONDAY)) for stores in both]
        outcomes: list[bool] = []
        start = threading.Barrier(2)

        def race(stores: Stores, generation: int) -> None:
            start.wait()
            try:
                publish(stores, MONDAY, 0, generation=generation)
            except StaleGeneration:
                outcomes.append(False)
            else:
                outcomes.append(True)

        threads = [threading.Thread(target=race, args=attempt) for attempt in attempts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(outcomes) == [False, True]
        assert len(both[0].generations.current(SHOP, 20_000, 20_001)) == 1

    def test_superseded_are_those_whose_successor_is_old_enough(self, stores: Stores) -> None:
        abandoned = stores.generations.begin(MONDAY)
        first = publish(stores, MONDAY, 0, now=100)
        second = publish(stores, MONDAY, first.sequence, now=200)
        assert list(stores.generations.superseded(200)) == [(MONDAY, abandoned)]
        assert list(stores.generations.superseded(201)) == [(MONDAY, abandoned), (MONDAY, first.generation)]
        for site_day, generation in stores.generations.superseded(201):
            stores.generations.forget(site_day, generation)
            stores.generations.forget(site_day, generation)
        assert list(stores.generations.superseded(1_000)) == []
        assert stores.generations.current(SHOP, 20_000, 20_001)[20_000] == second

    def test_current_generation_and_one_in_the_making_are_never_forgotten(self, stores: Stores) -> None:
        entry = publish(stores, MONDAY, 0, carry=b"kept")
        making = stores.generations.begin(MONDAY)
        stores.generations.forget(MONDAY, entry.generation)
        stores.generations.forget(MONDAY, making)
        assert stores.generations.carry(MONDAY) == b"kept"
        assert publish(stores, MONDAY, entry.sequence, generation=making).generation == making

    def test_forgotten_number_is_not_given_out_again(self, stores: Stores) -> None:
        first = publish(stores, MONDAY, 0)
        second = publish(stores, MONDAY, first.sequence)
        stores.generations.forget(MONDAY, first.generation)
        assert stores.generations.begin(MONDAY) > second.generation


def a_claim(order_id: str, offset: int, row: int = 0, log_time: int = 0, site: str = SHOP) -> OrderClaim:
    position = Position("hits.1", 0, offset)
    return OrderClaim(site, order_id, log_time or offset, position, row, 2**64 - 1, 2**63, "h'1\\", 20_000, False)


class TestOrderClaims:
    def test_claim_comes_back_as_it_was_made(self, opener: Opener) -> None:
        claim = replace(a_claim("o'\"\\\nü", 1, 2), excluded=True, duplicate=True)
        opener().claims.claim([claim])
        assert list(opener().claims.of(SHOP, ["o'\"\\\nü"])) == [claim]

    def test_claims_come_in_log_order(self, stores: Stores) -> None:
        late, second, first = a_claim("a", 1, 0, 9), a_claim("a", 3, 1, 5), a_claim("b", 3, 0, 5)
        stores.claims.claim([late, second, first])
        assert list(stores.claims.of(SHOP, ["a", "b"])) == [first, second, late]

    def test_claims_of_other_orders_and_sites_stay_out(self, stores: Stores) -> None:
        stores.claims.claim([a_claim("a", 1), a_claim("b", 2), a_claim("a", 3, site="other")])
        assert [claim.position.offset for claim in stores.claims.of(SHOP, ["a", "none"])] == [1]
        assert list(stores.claims.of(SHOP, [])) == []

    def test_claiming_twice_is_claiming_once_and_keeps_the_verdict(self, stores: Stores) -> None:
        stores.claims.claim([a_claim("a", 1), a_claim("a", 2)])
        stores.claims.set_duplicates(SHOP, {(Position("hits.1", 0, 2), 0): True})
        stores.claims.claim([a_claim("a", 1), a_claim("a", 2)])
        assert [claim.duplicate for claim in stores.claims.of(SHOP, ["a"])] == [False, True]

    def test_verdict_can_be_taken_back(self, stores: Stores) -> None:
        stores.claims.claim([a_claim("a", 1)])
        key = (Position("hits.1", 0, 1), 0)
        stores.claims.set_duplicates(SHOP, {key: True, (Position("hits.9", 0, 1), 0): True})
        stores.claims.set_duplicates(SHOP, {key: False})
        assert [claim.duplicate for claim in stores.claims.of(SHOP, ["a"])] == [False]

    def test_many_orders_are_asked_for_at_once(self, stores: Stores) -> None:
        ids = [f"order-{number}" for number in range(3_000)]
        stores.claims.claim([a_claim(order_id, number) for number, order_id in enumerate(ids)])
        assert len(stores.claims.of(SHOP, ids)) == 3_000
