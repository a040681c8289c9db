"""Test the thread that runs a shadow stream beside the live stream.

The thread continues after errors. The thread ends streams that nobody needs, and removes their data.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import polars as pl
import pytest

from hitmesh.adapters.factory import Stores, open_stores
from hitmesh.model.errors import FatalError, Fenced, Unavailable
from hitmesh.model.generations import Drift, LedgerEntry
from hitmesh.model.positions import PartitionId, PartitionProgress, Topic
from hitmesh.model.sites import SiteDay
from hitmesh.model.streams import GoneStream, ShadowState, Stream, StreamTable
from processor.shadow.beside import Beside, BesidePace
from processor.shadow.cleaning import remove_gone
from processor.shadow.until import Until
from processor.stream.runner import Runner
from tests.support.clock import ManualClock
from tests.support.opened import NOON
from tests.support.stream_builders import a_partial, partials
from tests.unit.settling import DAY, MIDNIGHT, SITE, TODAY, TOMORROW, a_hit, taken_in

STREAM = Stream(-1, first_day=NOON // 86_400_000, starts={}, logic="v1", replaces="v0")
PACE = BesidePace(keep_gone_ms=0, keep_shadow_ms=10**9, retry_after_s=0.0, look_every_s=0.0)
STARTED = StreamTable().started(STREAM, NOON)


class Looking:
    """A runner that reads the stream table once, to decide whether to stop.

    Just before the runner reads the stream table, another process changes the table.
    """

    def __init__(self, change: Callable[[], object] = lambda: None) -> None:
        self._change = change
        self.must_stop: bool | None = None
        self.is_closed = False

    def run(self, stop: Until) -> None:
        self._change()
        self.must_stop = stop.is_set()

    def close(self) -> None:
        self.is_closed = True


def changed(stores: Stores, *tables: StreamTable) -> None:
    """Store the stream tables one after the other."""
    for table in tables:
        assert stores.streams.replace(table)


def looked(stores: Stores, clock: ManualClock, pace: BesidePace = PACE, *tables: StreamTable) -> Looking:
    """Run the shadow stream until it has checked whether it must stop.

    Another process stores the given stream tables just before the stream checks.
    """
    runner = Looking(lambda: changed(stores, *tables))
    Beside(stores, lambda _: cast("Runner", runner), "v0", clock, pace).run_once(threading.Event())
    assert runner.is_closed
    return runner


@pytest.mark.parametrize(
    "error",
    [pl.exceptions.PanicException("index out of bounds"), FatalError("?"), Unavailable("?"), OSError(28, "no space")],
)
def test_a_shadow_that_fails_begins_again(error: BaseException) -> None:
    clock, stop, begun = ManualClock(NOON), threading.Event(), []
    stores = open_stores("memory:", clock)
    changed(stores, STARTED)

    def fails(stream: Stream) -> Any:
        begun.append(stream.generation)
        if len(begun) == 3:
            stop.set()
        raise error

    Beside(stores, fails, "v0", clock, PACE).run(stop)
    assert begun == [-1, -1, -1]


def test_a_runner_ends_when_another_shadow_has_taken_its_place() -> None:
    clock = ManualClock(NOON)
    stores = open_stores("memory:", clock)
    changed(stores, STARTED)
    assert not looked(stores, clock).must_stop
    stopped = STARTED.ended(NOON)
    assert looked(stores, clock, PACE, stopped, stopped.started(replace(STREAM, generation=-2), NOON)).must_stop


def test_a_store_that_is_unavailable_does_not_end_the_runner() -> None:
    def unavailable() -> bool:
        raise Unavailable("no answer; try again")

    assert not Until(threading.Event(), unavailable, 0.0).is_set()


@pytest.mark.parametrize("state", [ShadowState.RUNNING, ShadowState.PUBLISHED])
def test_a_shadow_that_nobody_changes_is_stopped_or_adopted_after_its_time(state: ShadowState) -> None:
    clock, pace = ManualClock(NOON), replace(PACE, keep_shadow_ms=1_000)
    stores = open_stores("memory:", clock)
    clock.advance(5_000)  # a shadow stream is kept for a time that begins at the last change of its state
    changed(stores, STARTED, table := STARTED.moved(state, NOON + 5_000))
    clock.advance(1_000)
    looked(stores, clock, pace)
    assert stores.streams.read() == table
    clock.advance(1)
    looked(stores, clock, pace)
    found = stores.streams.read()
    if state is ShadowState.RUNNING:
        assert (found.shadow, found.gone) == (None, (GoneStream(-1, STREAM.first_day, NOON + 6_001),))
    else:
        assert found == table.moved(ShadowState.ADOPTING, NOON + 6_001)


def test_values_stay_for_their_time_after_the_last_answer_has_chosen_them() -> None:
    clock, pace = ManualClock(NOON), replace(PACE, keep_gone_ms=1_000)
    stores = open_stores("memory:", clock)
    changed(stores, STARTED, gone := STARTED.ended(NOON))
    beside = Beside(stores, lambda _: pytest.fail("there is no shadow"), "v0", clock, pace)
    clock.advance(1_000)
    beside.run_once(threading.Event())
    assert stores.streams.read() == gone
    clock.advance(1)
    beside.run_once(threading.Event())
    assert stores.streams.read().gone == ()


def test_positions_with_which_an_adopted_stream_followed_are_forgotten() -> None:
    clock = ManualClock(NOON)
    stores = open_stores("memory:", clock)
    at, *_ = stores.progress.progress(Topic.HITS)
    runner = Looking()
    beside = Beside(stores, lambda _: cast("Runner", runner), "v0", clock, PACE)
    beside.run_once(threading.Event())
    changed(stores, STARTED, adopting := STARTED.moved(ShadowState.ADOPTING, NOON))
    store = stores.stream(-1, is_shadow=True)
    store.outbox.transaction(store.outbox.take_over(), [], {at: PartitionProgress(3, NOON)})
    beside.run_once(threading.Event())
    assert reached(stores, at) == 3
    changed(stores, adopting.ended(NOON))
    beside.run_once(threading.Event())
    assert reached(stores, at) == 0


def reached(stores: Stores, at: PartitionId) -> int:
    return stores.stream(-1, is_shadow=True).progress.progress(Topic.HITS)[at].next_offset


def test_a_shadow_in_another_process_writes_nothing_after_the_removal_of_its_values() -> None:
    clock = ManualClock(NOON)
    stores = open_stores("memory:", clock)
    writer = stores.stream(-1, is_shadow=True).outbox.take_over()
    changed(stores, STARTED, STARTED.ended(NOON))
    assert remove_gone(stores, NOON + 1) == 1
    with pytest.raises(Fenced):
        stores.stream(-1, is_shadow=True).outbox.transaction(writer, [], {})


def test_rows_with_which_a_settlement_confirmed_a_day_stay_when_their_stream_is_removed() -> None:
    mesh = taken_in(a_hit(0), a_hit(1_500))
    stores = mesh.stores
    of_days = [
        a_partial(site=SITE, day=day, cell=MIDNIGHT + (day - DAY) * 86_400_000, hits=1, generation=-1)
        for day in (DAY, DAY + 1)
    ]
    stores.stream(-1, is_shadow=True).series.put_partials(partials(*of_days))
    stores.generations.publish(
        TODAY,
        stores.generations.begin(TODAY),
        logic_version=1,
        read_through={},
        seen_sequence=0,
        ledger=LedgerEntry(1, 1, 0, 0, 0, 0),
        carry=b"",
        now=NOON,
        drift=Drift(True, False, False, {}),
        streams=(-1, 0),
    )
    changed(stores, started := StreamTable().started(replace(STREAM, first_day=DAY), NOON), started.ended(NOON))
    assert remove_gone(stores, NOON + 1) == 1
    assert [hits(stores, site_day) for site_day in (TODAY, TOMORROW)] == [1, 0]


def hits(stores: Stores, site_day: SiteDay) -> int:
    return int(stores.series.read(site_day.site, site_day.day, site_day.day + 1, -1)["hits"].sum())
