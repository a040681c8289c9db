"""DirtyDays and Generations."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from hitmesh.adapters.factory import Stores
from hitmesh.adapters.shared.marks import whole_sites
from hitmesh.model.errors import StaleGeneration
from hitmesh.model.generations import (
    SETTLEMENT_LOG,
    STREAM_GENERATION,
    DirtyMark,
    DirtySiteDay,
    Drift,
    GenerationEntry,
    LedgerEntry,
    MarkRange,
)
from hitmesh.model.positions import PartitionId, Position
from hitmesh.model.site_buckets import EVERY_BUCKET, site_bucket
from hitmesh.model.sites import SiteDay
from tests.support.opened import Opener

SHOP = "merchants/m/sites/shop"
MONDAY = SiteDay(SHOP, 20_000)
TUESDAY = SiteDay(SHOP, 20_001)
NEVER = 30_000  # the tests in this file use only earlier days
P0 = PartitionId("hits.1", 0)
LEDGER = LedgerEntry(10, 7, 2, 1, 2**64 - 1, 2**63)


def a_mark(site_day: SiteDay, offset: int, partition: int = 0, log: str = "hits.1") -> DirtyMark:
    return DirtyMark(site_day, Position(log, partition, offset), 1_000 + offset)


class TestDirtyDays:
    def test_marks_come_back_with_what_they_count(self, opener: Opener) -> None:
        marks = [
            replace(a_mark(TUESDAY, 1), hits=3, sum64=2**64 - 1, xor64=2**63),
            replace(a_mark(MONDAY, 9), hits=2**40),
            a_mark(MONDAY, 2),
            replace(a_mark(MONDAY, 1, partition=1), hits=7),
        ]
        opener().dirty.mark([*marks, a_mark(SiteDay("other", 1), 1)])
        opener().dirty.mark([replace(mark, hits=99) for mark in marks])
        assert list(opener().dirty.marks(SHOP)) == sorted(marks, key=lambda mark: (mark.site_day, mark.position))
        opener().dirty.clear(opener().dirty.take(1, NEVER)[0])
        assert list(opener().dirty.marks(SHOP)) == [marks[0]]

    def test_day_that_is_awaited_is_taken_once_it_has_closed(self, opener: Opener) -> None:
        opener().dirty.await_close([TUESDAY, MONDAY])
        opener().dirty.await_close([MONDAY, SiteDay("other", 1)])
        assert list(opener().dirty.awaited(SHOP)) == [20_000, 20_001]
        assert list(opener().dirty.pending(SHOP)) == []
        assert list(opener().dirty.take(10, 1)) == []
        dirty = opener().dirty
        assert list(dirty.take(10, 20_001)) == [DirtySiteDay(MONDAY, ()), DirtySiteDay(SiteDay("other", 1), ())]
        dirty.clear(DirtySiteDay(MONDAY, ()))
        dirty.clear(DirtySiteDay(MONDAY, ()))
        assert list(dirty.awaited(SHOP)) == [20_001]
        assert [dirty_day.site_day for dirty_day in dirty.take(10, NEVER)] == [TUESDAY, SiteDay("other", 1)]

    def test_marks_of_days_that_are_not_closed_are_not_taken(self, stores: Stores) -> None:
        stores.dirty.mark([a_mark(MONDAY, 1), a_mark(TUESDAY, 1)])
        assert [dirty_day.site_day for dirty_day in stores.dirty.take(10, 20_001)] == [MONDAY]
        assert [dirty_day.site_day for dirty_day in stores.dirty.pending(SHOP)] == [MONDAY, TUESDAY]

    def test_marked_and_awaited_days_come_together_and_no_site_is_cut(self, stores: Stores) -> None:
        stores.dirty.await_close([SiteDay(site, day) for site in ("s1", "s3") for day in (1, 3)])
        stores.dirty.mark([a_mark(SiteDay(site, day), 5) for site in ("s1", "s2") for day in (2, 3)])
        taken = stores.dirty.take(4, NEVER)
        assert [(dirty_day.site_day, len(dirty_day.marks)) for dirty_day in taken] == [
            (SiteDay("s1", 1), 0),
            (SiteDay("s1", 2), 1),
            (SiteDay("s1", 3), 1),
        ]
        assert len(stores.dirty.take(5, NEVER)) == 5
        assert [dirty_day.site_day.site for dirty_day in stores.dirty.take(6, NEVER)] == ["s1"] * 3 + ["s2"] * 2

    def test_only_site_days_of_the_given_buckets_are_taken(self, stores: Stores) -> None:
        sites = [f"merchants/m/sites/s{number:02}" for number in range(12)]
        marked, awaited = [SiteDay(site, 1) for site in sites[::2]], [SiteDay(site, 2) for site in sites[::3]]
        stores.dirty.mark([a_mark(site_day, 5) for site_day in marked])
        stores.dirty.await_close(awaited)
        for buckets in (frozenset({site_bucket(sites[0])}), frozenset(map(site_bucket, sites[3:9])), EVERY_BUCKET):
            chosen = sorted(site_day for site_day in marked + awaited if site_bucket(site_day.site) in buckets)
            for limit in (1, 3, 99):
                taken = stores.dirty.take(limit, NEVER, buckets)
                assert [dirty_day.site_day for dirty_day in taken] == list(whole_sites(chosen, limit))
        assert list(stores.dirty.take(9, NEVER, frozenset())) == []

    def test_clearing_a_marked_day_ends_its_waiting_but_keeps_later_marks(self, stores: Stores) -> None:
        stores.dirty.await_close([MONDAY])
        stores.dirty.mark([a_mark(MONDAY, 1)])
        (taken,) = stores.dirty.take(1, NEVER)
        stores.dirty.mark([a_mark(MONDAY, 2)])
        stores.dirty.clear(taken)
        assert list(stores.dirty.awaited(SHOP)) == []
        assert list(stores.dirty.take(1, NEVER)) == [DirtySiteDay(MONDAY, (MarkRange(P0, 2, 2, 1_002),))]

    def test_marks_of_a_partition_become_one_range(self, opener: Opener) -> None:
        opener().dirty.mark([a_mark(MONDAY, 5), a_mark(MONDAY, 3), a_mark(MONDAY, 9), a_mark(MONDAY, 4, 1)])
        expected = DirtySiteDay(MONDAY, (MarkRange(P0, 3, 9, 1_003), MarkRange(PartitionId("hits.1", 1), 4, 4, 1_004)))
        assert list(opener().dirty.take(10, NEVER)) == [expected]
        assert list(opener().dirty.pending(SHOP)) == [expected]

    def test_taking_leaves_days_dirty_until_cleared(self, stores: Stores) -> None:
        stores.dirty.mark([a_mark(MONDAY, 1)])
        (taken,) = stores.dirty.take(10, NEVER)
        assert list(stores.dirty.take(10, NEVER)) == [taken]
        stores.dirty.clear(taken)
        stores.dirty.clear(taken)
        assert list(stores.dirty.take(10, NEVER)) == []

    def test_marking_twice_is_marking_once(self, stores: Stores) -> None:
        stores.dirty.mark([a_mark(MONDAY, 1), a_mark(MONDAY, 1)])
        stores.dirty.mark([a_mark(MONDAY, 1)])
        (taken,) = stores.dirty.take(10, NEVER)
        stores.dirty.clear(taken)
        assert list(stores.dirty.pending(SHOP)) == []

    def test_clear_keeps_marks_that_came_later(self, stores: Stores) -> None:
        stores.dirty.mark([a_mark(MONDAY, 1), a_mark(MONDAY, 2)])
        (taken,) = stores.dirty.take(10, NEVER)
        stores.dirty.mark([a_mark(MONDAY, 6), a_mark(MONDAY, 8), a_mark(MONDAY, 1, 2), a_mark(TUESDAY, 1)])
        stores.dirty.clear(taken)
        assert list(stores.dirty.take(10, NEVER)) == [
            DirtySiteDay(MONDAY, (MarkRange(P0, 6, 8, 1_006), MarkRange(PartitionId("hits.1", 2), 1, 1, 1_001))),
            DirtySiteDay(TUESDAY, (MarkRange(P0, 1, 1, 1_001),)),
        ]

    def test_marks_of_settlement_itself_stand_beside_those_of_the_log(self, stores: Stores) -> None:
        sparse = 2**41
        stores.dirty.mark([a_mark(MONDAY, 1), a_mark(MONDAY, 7, log=SETTLEMENT_LOG)])
        stores.dirty.mark([a_mark(MONDAY, sparse, log=SETTLEMENT_LOG)])
        (taken,) = stores.dirty.take(10, NEVER)
        assert [marks.partition.log for marks in taken.marks] == ["hits.1", SETTLEMENT_LOG]
        assert taken.marks[1].last_offset == sparse
        stores.dirty.clear(taken)
        assert list(stores.dirty.take(10, NEVER)) == []

    def test_days_come_by_site_and_day_and_no_site_is_cut(self, stores: Stores) -> None:
        days = [SiteDay(site, day) for site in ("s1", "s2", "s3") for day in (3, 1, 2)]
        stores.dirty.mark([a_mark(day, 1) for day in days])
        assert [dirty_day.site_day for dirty_day in stores.dirty.take(100, NEVER)] == sorted(days)
        assert {dirty_day.site_day.site for dirty_day in stores.dirty.take(7, NEVER)} == {"s1", "s2"}
        assert [dirty_day.site_day for dirty_day in stores.dirty.take(6, NEVER)] == sorted(days)[:6]

    def test_site_with_more_dirty_days_than_the_limit_is_taken_in_parts(self, stores: Stores) -> None:
        stores.dirty.mark([a_mark(SiteDay("s1", day), 1) for day in range(5)])
        assert [dirty_day.site_day.day for dirty_day in stores.dirty.take(2, NEVER)] == [0, 1]

    def test_pending_is_of_one_site(self, stores: Stores) -> None:
        stores.dirty.mark([a_mark(MONDAY, 1), a_mark(SiteDay("other", 1), 1)])
        assert [dirty_day.site_day for dirty_day in stores.dirty.pending(SHOP)] == [MONDAY]


def publish(
    stores: Stores,
    site_day: SiteDay,
    seen: int,
    *,
    carry: bytes = b"",
    now: int = 100,
    generation: int = 0,
    drift: Drift | None = None,
    keep_until: int = 0,
    seen_site: int | None = None,
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
        drift=drift,
        keep_until=keep_until,
        seen_site_sequence=seen_site,
    )


NO_DRIFT = Drift(confirmed=True, rows_differ=False, sketch_provisional=False, measures={})
DRIFT = Drift(
    confirmed=False,
    rows_differ=True,
    sketch_provisional=True,
    measures={"hits": -(2**40), "visits": 3},
    row_measures={"tax": -7},
)


class TestGenerations:
    def test_day_that_was_never_settled_has_no_generation_carry_or_ledger(self, stores: Stores) -> None:
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

    def test_publication_is_stale_if_any_day_of_the_site_was_published_since(self, opener: Opener) -> None:
        monday = publish(opener(), MONDAY, 0, seen_site=0)
        with pytest.raises(StaleGeneration, match="scan again"):
            publish(opener(), TUESDAY, 0, seen_site=0)
        assert set(opener().generations.current(SHOP, 0, 30_000)) == {20_000}
        publish(opener(), SiteDay("other", 20_001), 0, seen_site=0)
        tuesday = publish(opener(), TUESDAY, 0, seen_site=monday.sequence)
        assert publish(opener(), MONDAY, monday.sequence, seen_site=tuesday.sequence).sequence > tuesday.sequence

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

    def test_confirmed_stream_is_read_as_its_own_generation(self, opener: Opener) -> None:
        entry = publish(opener(), MONDAY, 0, carry=b"c", drift=NO_DRIFT)
        assert entry.generation == STREAM_GENERATION
        generations = opener().generations
        assert dict(generations.current(SHOP, 20_000, 20_001)) == {20_000: entry}
        assert generations.carry(MONDAY) == b"c"
        assert dict(generations.ledger(SHOP, 20_000, 20_001)) == {20_000: LEDGER}
        assert list(generations.superseded(1_000)) == []

    def test_stream_that_differs_is_superseded_by_the_first_settlement(self, stores: Stores) -> None:
        abandoned = stores.generations.begin(MONDAY)
        entry = publish(stores, MONDAY, 0, now=100, drift=DRIFT)
        assert entry.generation > abandoned > STREAM_GENERATION
        expected = [(MONDAY, STREAM_GENERATION), (MONDAY, abandoned)]
        assert list(stores.generations.superseded(101)) == expected
        for superseded in expected:
            stores.generations.forget(*superseded)
        assert list(stores.generations.superseded(101)) == []
        assert stores.generations.current(SHOP, 20_000, 20_001)[20_000] == entry

    def test_later_settlement_supersedes_the_one_before_it_only(self, stores: Stores) -> None:
        first = publish(stores, MONDAY, 0, now=100, drift=DRIFT)
        publish(stores, MONDAY, first.sequence, now=200, drift=DRIFT)
        assert list(stores.generations.superseded(201)) == [
            (MONDAY, STREAM_GENERATION),
            (MONDAY, first.generation),
        ]

    def test_day_of_history_alone_supersedes_nothing(self, stores: Stores) -> None:
        publish(stores, MONDAY, 0, drift=None)
        assert list(stores.generations.superseded(1_000)) == []
        assert dict(stores.generations.drifts(None, 0, NEVER)) == {}

    def test_confirmed_stream_is_superseded_when_history_comes(self, stores: Stores) -> None:
        confirmed = publish(stores, MONDAY, 0, now=100, drift=NO_DRIFT)
        entry = publish(stores, MONDAY, confirmed.sequence, now=200)
        assert list(stores.generations.superseded(201)) == [(MONDAY, STREAM_GENERATION)]
        stores.generations.forget(MONDAY, STREAM_GENERATION)
        assert stores.generations.current(SHOP, 20_000, 20_001)[20_000] == entry

    def test_stream_confirmed_again_stays(self, stores: Stores) -> None:
        first = publish(stores, MONDAY, 0, carry=b"1", drift=NO_DRIFT)
        second = publish(stores, MONDAY, first.sequence, carry=b"2", drift=NO_DRIFT)
        assert second.generation == STREAM_GENERATION
        assert second.sequence > first.sequence
        assert list(stores.generations.superseded(1_000)) == []
        assert stores.generations.carry(MONDAY) == b"2"

    def test_stream_whose_rows_were_superseded_cannot_be_confirmed(self, stores: Stores) -> None:
        entry = publish(stores, MONDAY, 0, drift=DRIFT)
        with pytest.raises(ValueError, match="cannot be confirmed"):
            publish(stores, MONDAY, entry.sequence, drift=NO_DRIFT)
        assert stores.generations.current(SHOP, 20_000, 20_001)[20_000] == entry

    def test_first_drift_stays_whatever_is_published_and_forgotten_later(self, opener: Opener) -> None:
        stores = opener()
        first = publish(stores, MONDAY, 0, drift=DRIFT)
        publish(stores, MONDAY, first.sequence, drift=replace(DRIFT, measures={}))
        publish(stores, TUESDAY, 0, drift=NO_DRIFT)
        publish(stores, SiteDay("other", 20_000), 0, drift=NO_DRIFT)
        for superseded in stores.generations.superseded(1_000):
            stores.generations.forget(*superseded)
        generations = opener().generations
        assert dict(generations.drifts(SHOP, 20_000, 20_002)) == {MONDAY: DRIFT, TUESDAY: NO_DRIFT}
        assert set(generations.drifts(None, 20_000, 20_001)) == {MONDAY, SiteDay("other", 20_000)}

    def test_stale_publication_leaves_no_drift(self, stores: Stores) -> None:
        first = publish(stores, MONDAY, 0)
        with pytest.raises(StaleGeneration):
            publish(stores, MONDAY, first.sequence - 1, drift=DRIFT)
        assert dict(stores.generations.drifts(SHOP, 0, NEVER)) == {}
        assert list(stores.generations.superseded(1_000)) == []
