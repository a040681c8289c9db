"""Test when a site-day is settled, and which dirty marks a settlement clears."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import polars as pl
import pytest
import structlog

from hitmesh.adapters.memory.metrics import MemoryMetricStore
from hitmesh.model.days import date_text
from hitmesh.model.generations import SETTLEMENT_LOG, STREAM_GENERATION, DirtyMark, GenerationEntry
from hitmesh.model.logic import CURRENT
from hitmesh.model.plan import KEEP_REPLACED_DAYS
from hitmesh.model.positions import PartitionId, PartitionProgress, Position, Topic
from hitmesh.model.records import RawRecord
from hitmesh.model.rows.rollup_rows import RowSource
from hitmesh.model.sites import SiteDay
from hitmesh.model.stream_values import FoldedRows
from hitmesh.model.zones import DAY_MS
from processor.settle.pace import SettlePace
from processor.settle.settler import Settler
from tests.support.small_mesh import SmallMesh, differences, expected_rows, settler_stores
from tests.support.stream_builders import signed
from tests.unit.settling import (
    DAY,
    LAST_DAY,
    MIDNIGHT,
    MINUTE,
    NOON,
    OTHER,
    SITE,
    TODAY,
    TOMORROW,
    YESTERDAY,
    a_hit,
    a_mesh,
    an_order,
    dirty,
    entry,
    taken_in,
)


def test_settled_day_is_published_with_the_positions_it_was_read_through() -> None:
    mesh = taken_in(a_hit(0))
    assert mesh.settler.run_once() == 1
    published = entry(mesh)
    assert published is not None
    assert (published.sequence, published.logic_version, published.published_at) == (1, CURRENT.number, NOON)
    # The partition of refusals has no record. The partitions of hits have heartbeats.
    assert sorted(published.read_through.values()) == [0, 1, 1, 2]
    assert not dirty(mesh)


def test_mark_of_a_record_that_is_not_committed_yet_is_not_cleared() -> None:
    mesh = taken_in(a_hit(0))
    (waiting,) = mesh.stores.dirty.take(1, LAST_DAY)
    ahead = Position(*waiting.marks[0].partition, 2)
    mesh.stores.dirty.mark([DirtyMark(TODAY, ahead, NOON), DirtyMark(TOMORROW, ahead, NOON)])
    assert mesh.settler.run_once() == 1
    assert [
        (dirty_day.site_day, dirty_day.marks[0].first_offset) for dirty_day in mesh.stores.dirty.take(9, LAST_DAY)
    ] == [
        (TODAY, 2),
        (TOMORROW, 2),
    ]
    assert entry(mesh, TOMORROW) is None


def test_day_without_hits_refusals_or_generation_is_only_cleared() -> None:
    mesh = taken_in(a_hit(0))
    mesh.stores.dirty.mark([DirtyMark(TOMORROW, Position(SETTLEMENT_LOG, 0, 5), NOON)])
    mesh.settler.run_once()
    assert entry(mesh, TOMORROW) is None
    assert not dirty(mesh)


def test_dirty_day_is_settled_again_no_sooner_than_the_configured_pace() -> None:
    mesh = taken_in(a_hit(0))
    settler = Settler(settler_stores(mesh.stores), mesh.clock, SettlePace(resettle_after_ms=2_000))
    assert settler.run_once() == 1
    mesh.send([a_hit(1)])
    mesh.runner.step(0.0)
    mesh.clock.advance(1_999)
    assert settler.run_once() == 0
    mesh.clock.advance(1)
    assert settler.run_once() == 1


def test_unchanged_carry_leaves_the_next_day_alone_and_a_changed_one_marks_it() -> None:
    mesh = a_mesh(a_hit(0), a_hit(1_500))
    mesh.settle()
    mesh.send([a_hit(1)])
    mesh.runner.step(0.0)
    mesh.settler.run_once()
    assert dirty(mesh) == []
    mesh.send([a_hit(1_435)])
    mesh.runner.step(0.0)
    mesh.settler.run_once()
    assert dirty(mesh) == [TOMORROW]


def test_live_hits_leave_the_day_before_alone_unless_they_continue_its_visits() -> None:
    mesh = a_mesh(a_hit(-5))
    mesh.settle()
    before = entry(mesh, YESTERDAY)
    mesh.send([a_hit(1, visitor="another")])
    mesh.settle()
    assert entry(mesh, YESTERDAY) == before
    mesh.send([a_hit(2)])
    mesh.runner.step(0.0)
    mesh.settler.run_once()
    assert dirty(mesh) == [YESTERDAY]


def test_replaced_rows_are_removed_six_minutes_after_the_time_for_which_they_are_kept() -> None:
    mesh = a_mesh(a_hit(0))
    mesh.settle()
    mesh.send([a_hit(1)])
    mesh.settle()
    assert list(mesh.stores.generations.superseded(2 * NOON)) == [(TODAY, 1)]
    mesh.clock.advance(KEEP_REPLACED_DAYS * DAY_MS)
    mesh.settler.run_once()
    assert list(mesh.stores.generations.superseded(2 * NOON)) == [(TODAY, 1)]
    mesh.clock.advance(360_000)
    mesh.settler.run_once()
    assert list(mesh.stores.generations.superseded(2 * NOON)) == []


def test_overtaken_settlement_leaves_the_day_dirty_and_succeeds_the_next_time() -> None:
    mesh = taken_in(a_hit(0))
    generations = mesh.stores.generations

    class Overtaken:
        """A store of generations in which a rival publishes between the scan and the settler's first publication."""

        def __init__(self) -> None:
            self.raced = False

        def __getattr__(self, name: str) -> Any:
            return getattr(generations, name)

        def publish(self, site_day: SiteDay, generation: int, **rest: Any) -> GenerationEntry:
            if not self.raced:
                self.raced = True
                generations.publish(site_day, generations.begin(site_day), **rest)
            return generations.publish(site_day, generation, **rest)

    racing = Overtaken()
    settler = Settler(
        replace(settler_stores(mesh.stores), generations=racing), mesh.clock, SettlePace(resettle_after_ms=0)
    )
    assert settler.run_once() == 0
    assert dirty(mesh) == [TODAY]
    assert settler.run_once() == 1
    assert mesh.ledgers()[TODAY].accepted == 1


def test_site_day_that_cannot_be_read_waits_and_the_others_go_on() -> None:
    mesh = taken_in(a_hit(0), a_hit(3_000))
    broken = RawRecord(Position("old-log", 0, 0), NOON, 1, MIDNIGHT, MIDNIGHT, b"rot", 1, frozenset({TODAY}))
    mesh.stores.raw.put([broken])
    mesh.stores.series.note_flushed({PartitionId("old-log", 0): PartitionProgress(1, NOON)})
    progress = mesh.stores.progress

    class WithOldLog:
        """A progress reader that also lists the partition of an older log."""

        def progress(self, topic: Topic) -> Mapping[PartitionId, PartitionProgress]:
            return {**progress.progress(topic), PartitionId("old-log", 0): PartitionProgress(1, NOON)}

    settler = Settler(replace(settler_stores(mesh.stores), progress=WithOldLog()), mesh.clock)
    assert settler.run_once() == 1
    assert dirty(mesh) == [TODAY]
    assert entry(mesh, SiteDay(SITE, DAY + 2)) is not None


@pytest.mark.parametrize(
    ("source", "changed"),
    [
        (RowSource.TRAFFIC, {"hits": 1}),
        (RowSource.TRAFFIC, {"hits": -1}),
        (RowSource.TRAFFIC, {"hits": 1, "excluded": True}),
        (RowSource.TRAFFIC, {"gross_revenue": -5}),
        (RowSource.VISITS, {"visits": 1, "bounces": 1}),
    ],
)
def test_day_whose_rows_were_lost_or_doubled_in_the_metric_store_is_not_confirmed(
    source: RowSource, changed: dict[str, int]
) -> None:
    mesh = SmallMesh(MIDNIGHT + 3 * MINUTE, sites=[SITE])
    mesh.send([a_hit(0), a_hit(1), an_order(2, "o")])
    mesh.stream()
    nothing = {row_source: signed(row_source) for row_source in RowSource}
    row = {"site": SITE, "day": DAY, "excluded": False, "cell": MIDNIGHT} | changed
    rows = {**nothing, source: signed(source, row)}
    store = mesh.stores.metrics
    assert isinstance(store, MemoryMetricStore)
    partition = PartitionId(mesh.stores.log.log_id(Topic.HITS), 0)
    store.rows.add([FoldedRows(partition, rows[RowSource.TRAFFIC], rows[RowSource.VISITS])])
    mesh.settle()
    published, drift = entry(mesh), mesh.stores.generations.drifts(SITE, DAY, DAY + 1)[TODAY]
    assert published is not None
    assert published.generation != STREAM_GENERATION
    measures = {name: value for name, value in changed.items() if name != "excluded"}
    assert (drift.confirmed, drift.measures, drift.row_measures) == (False, {}, measures)
    assert not differences(mesh.rows(), expected_rows(mesh.sent))


def test_day_is_confirmed_once_the_metric_store_has_all_of_its_rows() -> None:
    mesh = SmallMesh(MIDNIGHT + 3 * MINUTE, sites=[SITE])
    mesh.send([a_hit(0), a_hit(1)])
    mesh.stream()
    behind = BehindAtFirst(mesh.stores.metrics)
    ports = settler_stores(mesh.stores)
    mesh.settler = Settler(replace(ports, metrics=behind), mesh.clock, SettlePace(resettle_after_ms=0))  # type: ignore[arg-type]  # has every method of the port
    mesh.settle()
    published = entry(mesh)
    assert published is not None
    assert (published.generation, behind.left) == (STREAM_GENERATION, 0)


class BehindAtFirst:
    """A metric store whose first answer is that nothing is ingested.

    The settler may read the store's sums only after a second call has returned the ingested positions.
    """

    def __init__(self, store: Any) -> None:
        self._store, self.left = store, 2

    def ingested_through(self) -> Mapping[PartitionId, PartitionProgress]:
        through = self._store.ingested_through()
        self.left -= 1
        return dict.fromkeys(through, PartitionProgress(0, 0)) if self.left else through

    def stream_sums(self, site_days: Any, generation: int) -> Any:
        assert not self.left
        return self._store.stream_sums(site_days, generation)


class Panic(pl.exceptions.PanicException):
    """A simulated panic of Polars."""


class BrokenFor:
    """A port with a method that fails for one site."""

    def __init__(self, port: Any, method: str, site: str, error: Callable[[], BaseException]) -> None:
        self._port, self._method, self.site, self._error = port, method, site, error
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        return self._called if name == self._method else getattr(self._port, name)

    def _called(self, *arguments: Any, **named: Any) -> Any:
        first = arguments[0]
        sites = set(first["site"]) if isinstance(first, pl.DataFrame) else {getattr(first, "site", first)}
        if self.site in sites:
            self.calls += 1
            raise self._error()
        return getattr(self._port, self._method)(*arguments, **named)


@pytest.mark.parametrize("error", [ValueError, KeyError, Panic, RecursionError])
@pytest.mark.parametrize(
    ("port", "method"),
    [("rejected", "counts"), ("sink", "write"), ("generations", "publish"), ("series", "put_settled")],
)
def test_site_day_that_fails_in_any_way_is_set_aside_and_the_others_are_settled(
    port: str, method: str, error: Callable[[], BaseException]
) -> None:
    mesh = SmallMesh(NOON, sites=[SITE, OTHER])
    mesh.send([a_hit(0), replace(a_hit(0), site=OTHER), replace(a_hit(1_500), site=OTHER)])
    mesh.heartbeat()
    mesh.stream()
    stores = settler_stores(mesh.stores)
    broken = BrokenFor(getattr(stores, port), method, SITE, error)
    ports: dict[str, Any] = {port: broken}
    pace = SettlePace(retry_after_ms=1_000, max_retry_after_ms=4_000, resettle_after_ms=0)
    settler = Settler(replace(stores, **ports), mesh.clock, pace)
    settler.run_once()
    assert dirty(mesh) == [TODAY]
    assert entry(mesh, SiteDay(OTHER, DAY)) is not None
    assert entry(mesh, SiteDay(OTHER, DAY + 1)) is not None
    tried: list[int] = []
    for second in range(1, 20):
        before = broken.calls
        mesh.clock.advance(1_000)
        settler.run_once()
        tried += [second] * (broken.calls > before)
    assert tried == [1, 3, 7, 11, 15, 19]  # the delay doubles after each failure, but is at most 4 s
    mesh.clock.advance(4_000)
    broken.site = ""
    assert settler.run_once() == 1
    assert not dirty(mesh)


def test_site_that_is_never_finished_does_not_keep_others_waiting() -> None:
    mesh = taken_in(a_hit(0), replace(a_hit(0), site="merchants/m/sites/z"))

    class SlowClock:
        """A clock that advances by a second at every read."""

        def now(self) -> int:
            mesh.clock.advance(1_000)
            return mesh.clock.now()

    settler = Settler(settler_stores(mesh.stores), SlowClock(), SettlePace(resettle_after_ms=0, pass_ms=1_500))
    done: list[list[str]] = []
    for _ in range(2):
        settler.run_once()
        mesh.send([a_hit(len(done) + 1)])
        mesh.runner.step(0.0)
        done.append([site_day.site for site_day in mesh.ledgers()])
    assert done[-1] == [SITE, "merchants/m/sites/z"]


def test_stopped_settler_ends_its_loop() -> None:
    mesh = taken_in(a_hit(0))
    stop = threading.Event()
    settler = Settler(settler_stores(mesh.stores), mesh.clock, stop=stop)
    stop.set()
    settler.run()
    assert dirty(mesh) == [TODAY]


def test_line_about_a_settled_day_names_site_and_date() -> None:
    mesh = taken_in(a_hit(0))
    with structlog.testing.capture_logs() as logged:
        assert mesh.settler.run_once() == 1
    (line,) = (line for line in logged if line["event"] == "settled")
    assert (line["site"], line["date"]) == (SITE, date_text(DAY))
