"""Test raw hits that are sorted by site once and then settled as many site-days.

Each site-day must get exactly the hits that a separate read of the site-day returns.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from random import Random

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hitmesh.adapters.memory.raw import MemoryRawStore
from hitmesh.model.exclusion import NO_RULES, RuleKind
from hitmesh.model.generations import SETTLEMENT_LOG, DirtyMark, DirtySiteDay, MarkRange
from hitmesh.model.positions import PartitionId, Position
from hitmesh.model.records import RawRecord
from hitmesh.model.rows.columns import pack_record
from hitmesh.model.rule_changes import with_rule
from hitmesh.model.site_buckets import EVERY_BUCKET
from hitmesh.model.sites import SiteDay
from hitmesh.model.zones import DAY_MS
from processor.rules.day_rules import DayRules
from processor.settle.deciding import AS_STORED, Deciding
from processor.settle.memory import DEFAULT_MEMORY
from processor.settle.pace import SettlePace
from processor.settle.reached import ScanBounds
from processor.settle.resorting import Resorting
from processor.settle.settler import Settler
from processor.settle.site_window import Window, read_window
from processor.settle.sorted_hits import SortedHits
from tests.reference.hits import RefHit
from tests.support.clock import ManualClock
from tests.support.examples import examples
from tests.support.small_mesh import SmallMesh, differences, expected_rows, hit_rows, settler_stores
from tests.unit.settling import DAY, NOON, a_hit

SITES = [f"merchants/m/sites/s{number:03d}" for number in range(6)]
ALL = {PartitionId("log", 0): 10**6}
BOUNDS = ScanBounds(ALL, ALL)


def a_record(offset: int, hits: list[RefHit]) -> RawRecord:
    times = [hit.event_time for hit in hits]
    site_days = frozenset(SiteDay(hit.site, hit.event_time // DAY_MS) for hit in hits)
    value = pack_record(hit_rows(hits))
    return RawRecord(Position("log", 0, offset), offset, len(hits), min(times), max(times), value, 1, site_days)


def hits_of(sites: Collection[str], dice: Random, count: int) -> list[RefHit]:
    minutes = [dice.randint(-2_000, 3_500) for _ in range(count)]
    return [
        replace(a_hit(minute, dice.choice("ab")), site=dice.choice(sorted(sites)), hit_id=f"hit-{number}")
        for number, minute in enumerate(minutes)
    ]


def a_store(hits: list[RefHit], of_record: int) -> CountedRaw:
    raw = CountedRaw()
    raw.put([a_record(start, hits[start : start + of_record]) for start in range(0, len(hits), of_record)])
    return raw


class CountedRaw(MemoryRawStore):
    """A raw store that counts the records that its scans yield."""

    def __init__(self) -> None:
        super().__init__()
        self.yielded = 0

    def scan_sites(
        self,
        sites: Collection[str],
        first_day: int,
        end_day: int,
        before: Mapping[PartitionId, int] | None = None,
    ) -> Iterator[RawRecord]:
        for record in super().scan_sites(sites, first_day, end_day, before):
            self.yielded += 1
            yield record


@given(st.integers(0, 2**16), st.integers(-1_500, 0), st.integers(1, 3_000))
@examples(15)
def test_window_of_sorted_hits_is_the_window_that_a_site_day_reads(seed: int, back: int, minutes: int) -> None:
    dice = Random(seed)
    raw = a_store(hits_of(SITES, dice, 60), dice.randint(1, 60))
    bounds = ScanBounds({PartitionId("log", 0): dice.randint(0, 250)}, {})
    hits = SortedHits(raw, SITES, range(DAY, DAY + 1), bounds, DEFAULT_MEMORY, sites_of_group=dice.randint(1, 7))
    start, end = DAY * DAY_MS + back * 60_000, DAY * DAY_MS + minutes * 60_000
    for site in SITES:
        read = read_window(raw.scan(site, DAY - 2, DAY + 4, bounds.hits), site, start, end)
        sorted_ = hits.window(site, start, end, AS_STORED)
        assert isinstance(read, Window)
        assert sorted_ is not None
        assert placed(sorted_) == placed(read)
    hits.close()


def placed(window: Window) -> list[dict[str, object]]:
    """Return the rows of a window with their positions."""
    rows = window.rows.rows(named=True)
    return [{**row, "record": window.positions[row["record"]]} for row in rows]


def test_record_is_read_once_for_all_of_its_sites() -> None:
    hits = [replace(hit, event_time=DAY * DAY_MS + index) for index, hit in enumerate(hits_of(SITES, Random(0), 400))]
    raw = a_store(hits, 100)
    SortedHits(raw, SITES, range(DAY, DAY + 1), BOUNDS, DEFAULT_MEMORY).close()
    assert raw.yielded == 4


def test_sites_with_too_many_hits_for_the_memory_read_their_records() -> None:
    raw = a_store(hits_of(SITES[:1], Random(0), 30) + hits_of(SITES[3:], Random(1), 5), 100)
    memory = replace(DEFAULT_MEMORY, range_hits=20)
    hits = SortedHits(raw, SITES, range(DAY, DAY + 1), BOUNDS, memory, sites_of_group=2)
    start, end = (DAY - 1) * DAY_MS, (DAY + 1) * DAY_MS
    assert hits.window(SITES[0], start, end, AS_STORED) is None
    assert hits.window(SITES[-1], start, end, AS_STORED) is not None


def test_time_outside_the_sorted_days_is_read_from_records() -> None:
    hits = SortedHits(MemoryRawStore(), SITES, range(DAY, DAY + 1), BOUNDS, DEFAULT_MEMORY)
    assert hits.window(SITES[0], DAY * DAY_MS, (DAY + 1) * DAY_MS, AS_STORED) is not None
    assert hits.window(SITES[0], DAY * DAY_MS, (DAY + 4) * DAY_MS, AS_STORED) is None
    assert hits.window(SITES[0], (DAY - 3) * DAY_MS, DAY * DAY_MS, AS_STORED) is None


def test_hits_that_rules_decide_anew_are_read_from_records() -> None:
    hits = SortedHits(MemoryRawStore(), SITES, range(DAY, DAY + 1), BOUNDS, DEFAULT_MEMORY)
    rules = DayRules(with_rule(NO_RULES, RuleKind.USER_AGENT, "^probe", now=0), {DAY: 1})
    assert hits.window(SITES[0], DAY * DAY_MS, (DAY + 1) * DAY_MS, Deciding(rules)) is None


class TestResorting:
    """Test which site-days are settled from sorted hits."""

    def setup_method(self) -> None:
        self.mesh = SmallMesh(NOON)
        dirty = self.mesh.stores.dirty
        dirty.mark([DirtyMark(SiteDay(site, DAY), Position("log", 0, 5), NOON) for site in SITES])
        dirty.mark([DirtyMark(SiteDay(SITES[0], DAY + 5), Position("log", 0, 5), NOON)])
        self.clock = ManualClock(NOON)
        pace = SettlePace(sort_site_days=len(SITES), sorted_ms=1_000)
        self.resorting = Resorting(self.mesh.stores.raw, dirty, self.clock, pace, DEFAULT_MEMORY)

    def prepare(self, bounds: ScanBounds = BOUNDS) -> dict[SiteDay, DirtySiteDay]:
        taken = self.mesh.stores.dirty.take(1_000, DAY + 9)
        self.resorting.prepare(taken, bounds, DAY + 9, EVERY_BUCKET)
        return {entry.site_day: entry for entry in taken}

    def test_site_with_days_apart_is_settled_directly_and_others_from_sorted_hits(self) -> None:
        taken = self.prepare()
        chosen = {site_day for site_day, entry in taken.items() if self.resorting.of(entry)}
        assert chosen == {SiteDay(site, DAY) for site in SITES[1:]}

    def test_few_site_days_are_settled_directly(self) -> None:
        taken = self.mesh.stores.dirty.take(1_000, DAY + 9)[:5]
        self.resorting.prepare(taken, BOUNDS, DAY + 9, EVERY_BUCKET)
        assert not any(self.resorting.of(entry) for entry in taken)

    def test_mark_by_settlement_and_mark_after_the_bounds_are_settled_directly(self) -> None:
        taken = self.prepare()
        at = SiteDay(SITES[1], DAY)
        by_settlement = MarkRange(PartitionId(SETTLEMENT_LOG, 0), 1, 1, NOON)
        later = MarkRange(PartitionId("log", 0), ALL[PartitionId("log", 0)], 10**7, NOON)
        assert self.resorting.of(DirtySiteDay(SiteDay(SITES[2], DAY), (later,))) is None
        assert self.resorting.of(DirtySiteDay(SiteDay(SITES[3], DAY), (*taken[at].marks, later))) is not None
        assert self.resorting.of(DirtySiteDay(at, (*taken[at].marks, by_settlement))) is None

    def test_site_that_was_settled_directly_stays_so_for_the_rest_of_the_pass(self) -> None:
        taken = self.prepare()
        entry = taken[SiteDay(SITES[1], DAY)]
        assert self.resorting.of(replace(entry, site_day=SiteDay(SITES[1], DAY + 3))) is None
        assert self.resorting.of(entry) is None
        self.prepare()
        assert self.resorting.of(entry) is not None

    def test_hits_are_sorted_again_after_their_time(self) -> None:
        entry = self.prepare()[SiteDay(SITES[1], DAY)]
        first = self.resorting.of(entry)
        self.clock.advance(999)
        self.prepare()
        assert self.resorting.of(entry) is first
        self.clock.advance(1)
        self.prepare()
        assert self.resorting.of(entry) not in (first, None)

    def test_hits_are_sorted_again_for_other_days(self) -> None:
        for entry in self.prepare().values():
            self.mesh.stores.dirty.clear(entry)
        later = [DirtyMark(SiteDay(site, DAY + 7), Position("log", 0, 6), NOON) for site in SITES]
        self.mesh.stores.dirty.mark(later)
        assert all(self.resorting.of(entry) for entry in self.prepare().values())

    def test_mark_by_a_refusal_within_the_bounds_is_settled_from_sorted_hits(self) -> None:
        refusals = PartitionId("refusals", 0)
        taken = self.prepare(ScanBounds(ALL, {**ALL, refusals: 9}))
        entry = taken[SiteDay(SITES[1], DAY)]
        marks = {offset: (MarkRange(refusals, offset, offset, NOON),) for offset in (8, 9)}
        assert self.resorting.of(replace(entry, marks=marks[8])) is not None
        assert self.resorting.of(replace(entry, marks=marks[9])) is None


@pytest.mark.parametrize("store", ["memory:", "embedded:"])
def test_many_sites_are_settled_from_sorted_hits(store: str, tmp_path: Path) -> None:
    url = store if store == "memory:" else f"{store}{tmp_path}"
    mesh = SmallMesh(NOON, sites=SITES, url=url, sort_site_days=3)
    hits = hits_of(SITES[:4], Random(3), 60)
    for start in range(0, len(hits), 20):
        mesh.send(hits[start : start + 20], start % 3)
    mesh.settle()
    assert not differences(mesh.rows(), expected_rows(mesh.sent))
    mesh.stores.close()


def test_damaged_record_stops_only_its_own_site_days() -> None:
    hits = [replace(a_hit(number), site=site) for number, site in enumerate(SITES)]
    mesh = SmallMesh(NOON, sites=SITES)
    mesh.send(hits[:2])
    mesh.send(hits[2:])
    mesh.heartbeat()
    mesh.stream()
    raw = mesh.stores.raw
    first = next(iter(raw.scan(SITES[0], DAY, DAY + 1)))
    assert raw.replace(replace(first, value=b"damaged"))
    pace = SettlePace(resettle_after_ms=0, sort_site_days=3)
    settler = Settler(settler_stores(mesh.stores), mesh.clock, pace)
    assert settler.run_once() == len(SITES) - 2


@pytest.mark.parametrize("error", [pl.exceptions.PanicException("index out of bounds"), OSError(5, "I/O error")])
def test_sorting_that_fails_in_any_way_is_tried_again_after_a_pause(error: BaseException) -> None:
    tried = []

    class Damaged(MemoryRawStore):
        """A raw store that cannot read the records of many sites."""

        def scan_sites(
            self,
            sites: Collection[str],
            first_day: int,
            end_day: int,
            before: Mapping[PartitionId, int] | None = None,
        ) -> Iterator[RawRecord]:
            tried.append(clock.now())
            raise error

    mesh, clock = SmallMesh(NOON), ManualClock(NOON)
    mesh.stores.dirty.mark([DirtyMark(SiteDay(site, DAY), Position("log", 0, 5), NOON) for site in SITES])
    taken = mesh.stores.dirty.take(1_000, DAY + 9)
    pace = SettlePace(sort_site_days=len(SITES), retry_after_ms=1_000)
    resorting = Resorting(Damaged(), mesh.stores.dirty, clock, pace, DEFAULT_MEMORY)
    for ahead_ms in (0, 999, 1):
        clock.advance(ahead_ms)
        resorting.prepare(taken, BOUNDS, DAY + 9, EVERY_BUCKET)
        assert not any(map(resorting.of, taken))
    assert tried == [NOON, NOON + 1_000]


def test_time_for_sorting_does_not_end_the_pass() -> None:
    mesh = SmallMesh(NOON, sites=SITES)
    mesh.send([replace(a_hit(number), site=site) for number, site in enumerate(SITES)])
    mesh.heartbeat()
    mesh.stream()

    class SlowRaw(MemoryRawStore):
        """A raw store that needs an hour to read the records of many sites."""

        def scan_sites(
            self,
            sites: Collection[str],
            first_day: int,
            end_day: int,
            before: Mapping[PartitionId, int] | None = None,
        ) -> Iterator[RawRecord]:
            mesh.clock.advance(3_600_000)
            return super().scan_sites(sites, first_day, end_day, before)

    raw = SlowRaw()
    raw.put(list(mesh.stores.raw.scan_sites(SITES, DAY, DAY + 1)))
    stores = replace(settler_stores(mesh.stores), raw=raw)
    settler = Settler(stores, mesh.clock, SettlePace(resettle_after_ms=0, sort_site_days=3))
    assert settler.run_once() == len(SITES)
