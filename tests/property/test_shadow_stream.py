"""The shadow stream must equal the reference before publication, after publication, and as the live stream."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from hypothesis import event, given

from control.__main__ import bookkeeping_of
from control.rpc.shadow.requests import new_stream
from hitmesh.model.errors import CommitInDoubt, PartitionsMoved
from hitmesh.model.logic import V0, V1, logic_named
from hitmesh.model.positions import PartitionId
from hitmesh.model.streams import ShadowState, Stream, StreamTable
from processor.building import stream_stores
from processor.shadow.adoption import adopt, goes_on, is_due
from processor.shadow.cleaning import remove_gone
from processor.shadow.stores import begin_at_start, live_stores, shadow_stores
from processor.stream.live.limits import Limits
from processor.stream.runner import Runner
from processor.stream.stores import StreamStores
from tests.generate.arrivals import Arrival, in_slices
from tests.property.test_stream_properties import (
    ANY_MS,
    BEAT_MS,
    LIMITS,
    ON_TIME_MS,
    SEEDS,
    SITES,
    SLICE_MS,
    START,
    a_fuse,
    stream_hits,
    with_delays,
)
from tests.property.test_stream_properties import Stream as Mesh
from tests.reference.hits import RefHit
from tests.reference.streamed import stream as expected_of
from tests.reference.visits import V1 as SITE_POLICY
from tests.reference.visits import RefPolicy
from tests.support.examples import examples
from tests.support.live_faults import Killed, fused
from tests.support.live_mesh import SMALLEST
from tests.support.live_rows import ledger_faults, waiting_by_day
from tests.support.small_mesh import Rows, folded_rows, policy_under

DAY_MS = 86_400_000
MAX_STEPS = 1_000


class TwoStreams(Mesh):
    """A mesh whose live stream runs logic v0 and whose shadow stream runs v1."""

    shadow: Runner | None = None

    @property
    def table(self) -> StreamTable:
        return self.stores.streams.read()

    def live_stores(self) -> StreamStores:
        store = self.stores.stream(self.table.live.generation, is_shadow=False)
        return live_stores(self.table.live, stream_stores(self.stores), store, self.stores.streams)

    def beside(self) -> StreamStores:
        shadow = self.table.shadow
        assert shadow is not None
        store = self.stores.stream(shadow.stream.generation, is_shadow=True)
        return shadow_stores(
            shadow.stream, stream_stores(self.stores), store, self.stores.streams, self.stores.progress
        )

    def change(self, table: StreamTable) -> None:
        assert self.stores.streams.replace(table)

    def start(self) -> Stream:
        """Start the shadow stream in the same steps as the control service and the processor."""
        books = bookkeeping_of(self.stores)
        self.change(self.table.started(new_stream(books, self.table, V1), self.clock.now()))
        self.change(self.table.replacing(V0.name))
        shadow = self.table.shadow
        assert shadow is not None
        return shadow.stream

    def new_shadow(self, stores: StreamStores | None = None) -> Runner:
        """Return a new runner for the shadow stream, as if another process ran it."""
        shadow = self.table.shadow
        assert shadow is not None
        begin_at_start(shadow.stream, self.stores.stream(shadow.stream.generation, is_shadow=True))
        home = Path(self._files.name) / "shadow"
        self.shadow = Runner(stores or self.beside(), self.clock, home=home, limits=self.limits, logic=V1)
        return self.shadow

    def follow(self) -> None:
        """Let the shadow stream process all records in the log."""
        shadow = self.shadow or self.new_shadow()
        while shadow.step(0.0):
            pass
        shadow.flush()

    def follow_and_fail(self, dice: Random) -> str:
        """Let the shadow stream process the log until a write fails. Return the failed write, or "" if none failed."""
        fuse = a_fuse(dice)
        with suppress(Killed, CommitInDoubt):
            shadow = self.new_shadow(fused(self.beside(), fuse))
            while shadow.step(0.0):
                pass
            shadow.flush()
            shadow.snapshot()
        self.shadow = None  # the failing runner is dropped, so the next use creates a new runner
        return fuse.blown

    def take_over(self) -> None:
        """Let the shadow stream take over as the live stream."""
        self.change(self.table.moved(ShadowState.ADOPTING, self.clock.now()))
        self.runner.snapshot()
        standing = self.runner.standing()
        self.runner.close()
        self.follow()
        assert adopt(self.stores, self.table.live, lambda: standing, self.clock, threading.Event(), wait_s=1.0)
        self.logic = logic_named(self.table.live_logic(V0.name))
        self.runner = self.a_runner(self.live_stores())

    def a_live_runner(self) -> None:
        """Replace the runner of the live stream, as if another process ran it."""
        self.runner = self.a_runner(self.live_stores())


def expected(mesh: TwoStreams, site: str, policy: RefPolicy, limits: Limits, first_day: int = 0) -> Rows:
    found = expected_of(mesh.logged[site], mesh.clock.now(), policy, limits.texts_per_hour, limits.kept_of_visitor)
    return {key: row for key, row in folded_rows(found.entries).items() if key[3] // DAY_MS >= first_day}


def of_days(rows: Rows, first_day: int) -> Rows:
    return {key: row for key, row in rows.items() if key[3] // DAY_MS >= first_day}


def check_both(mesh: TwoStreams, stream: Stream) -> None:
    """Check that each stream has the same rows as if its logic had run from the start. The ledger must balance."""
    mesh.idle(beat_ms=BEAT_MS)
    mesh.runner.flush()
    mesh.follow()
    for site in SITES:
        live = mesh.seen(site, stream=0)
        assert live.differences_from(expected(mesh, site, policy_under(V0), mesh.limits)) == []
        shadow = mesh.seen(site, stream=stream.generation)
        from_first_day = replace(shadow, rows=of_days(shadow.rows, stream.first_day))
        assert from_first_day.differences_from(expected(mesh, site, SITE_POLICY, mesh.limits, stream.first_day)) == []
        for day in {hit.event_time // DAY_MS for hit in mesh.logged[site]}:
            assert visits_in_series(mesh, site, day, 0) == visits_in_rows(live.rows, day)
            if day >= stream.first_day:
                assert visits_in_series(mesh, site, day, stream.generation) == visits_in_rows(from_first_day.rows, day)
    check_ledger(mesh)


def check_ledger(mesh: TwoStreams) -> None:
    entries = mesh.stores.ledger.read(None)
    assert ledger_faults(entries) == []
    for site in SITES:
        waiting = expected_of(
            mesh.logged[site], mesh.clock.now(), SITE_POLICY, mesh.limits.texts_per_hour, mesh.limits.kept_of_visitor
        ).waiting
        assert waiting_by_day(entries, site) == Counter(hit.event_time // DAY_MS for hit in waiting)


def visits_in_series(mesh: TwoStreams, site: str, day: int, generation: int) -> int:
    return int(mesh.stores.series.read(site, day, day + 1, generation)["visits"].sum())


def visits_in_rows(rows: Rows, day: int) -> int:
    return sum(row.get("visits", 0) for key, row in rows.items() if key[1] and key[3] // DAY_MS == day)


def half(sent: Sequence[Arrival]) -> tuple[Sequence[Arrival], Sequence[Arrival]]:
    return sent[: len(sent) // 2], sent[len(sent) // 2 :]


@pytest.mark.timeout(300)
@examples(3)
@given(stream_hits(), SEEDS, LIMITS)
def test_a_shadow_has_the_rows_of_a_stream_that_ran_its_logic_all_along(
    hits: list[RefHit], seed: int, limits: Limits
) -> None:
    dice = Random(seed)
    with TwoStreams(limits=limits, logic=V0) as mesh:
        before, after = half(with_delays(hits, dice, ANY_MS))
        mesh.feed(before, dice)
        mesh.idle(beat_ms=BEAT_MS)
        mesh.runner.flush()
        stream = mesh.start()
        for part in in_slices(after, dice.randint(1, 20), SLICE_MS):
            mesh.arrive(part)
            if dice.random() < 0.5:
                mesh.step()
            if dice.random() < 0.5:
                mesh.follow()
        check_both(mesh, stream)


@pytest.mark.timeout(300)
@examples(2)
@given(stream_hits(), SEEDS)
def test_a_shadow_that_is_killed_at_any_write_goes_on(hits: list[RefHit], seed: int) -> None:
    dice = Random(seed)
    with TwoStreams(limits=SMALLEST, logic=V0) as mesh:
        before, after = half(with_delays(hits, dice, ON_TIME_MS))
        mesh.feed(before, dice)
        stream = mesh.start()
        for part in in_slices(after, dice.randint(1, 20), SLICE_MS):
            mesh.arrive(part)
            mesh.step()
            event(mesh.follow_and_fail(dice) or "nowhere")
        check_both(mesh, stream)


@pytest.mark.timeout(300)
@examples(2)
@given(stream_hits(unique_ids=True), SEEDS)
def test_the_live_stream_continues_as_the_published_shadow(hits: list[RefHit], seed: int) -> None:
    dice = Random(seed)
    with TwoStreams(url="embedded:HOME/data", limits=SMALLEST, logic=V0) as mesh:
        before, after = half(with_delays(hits, dice, ON_TIME_MS))
        mesh.feed(before, dice)
        stream = mesh.start()
        mesh.follow()
        mesh.change(mesh.table.moved(ShadowState.PUBLISHED, mesh.clock.now()))
        middle, rest = half(after)
        for part in in_slices(middle, dice.randint(1, 20), SLICE_MS):
            mesh.arrive(part)
            mesh.step()
        mesh.take_over()
        for part in in_slices(rest, dice.randint(1, 20), SLICE_MS):
            mesh.arrive(part)
            if dice.random() < 0.3:
                mesh.a_live_runner()
            mesh.step()
        mesh.idle(beat_ms=BEAT_MS)
        mesh.runner.flush()
        assert (mesh.table.live.generation, mesh.table.shadow) == (stream.generation, None)
        mesh.clock.advance(1)
        assert remove_gone(mesh.stores, mesh.clock.now()) == 1
        assert mesh.table.gone == ()
        for site in SITES:
            assert mesh.seen(site).differences_from(expected(mesh, site, SITE_POLICY, mesh.limits)) == []
            assert of_days(mesh.seen(site, stream=0).rows, stream.first_day) == {}
        check_ledger(mesh)


@pytest.mark.timeout(120)
def test_an_adoption_that_is_interrupted_changes_nothing() -> None:
    first, second, third = (views(visitor, minute) for visitor, minute in (("a", 0), ("b", 40), ("c", 80)))
    with TwoStreams(limits=SMALLEST, logic=V0) as mesh:
        mesh.arrive(first)
        mesh.step()
        stream = mesh.start()
        mesh.follow()
        mesh.change(mesh.table.moved(ShadowState.ADOPTING, mesh.clock.now()))
        mesh.arrive(second)
        mesh.step()
        live = mesh.table.live
        assert not adopt(mesh.stores, live, mesh.runner.standing, mesh.clock, threading.Event(), wait_s=0.1)
        assert mesh.table.shadow is not None
        assert mesh.table.shadow.stopped == mesh.runner.standing()
        mesh.a_live_runner()  # a process that starts after a crash
        assert mesh.table.shadow.stopped == {}, "the live stream goes on, so no position is a stop"
        assert mesh.table.live.generation == 0
        mesh.arrive(third)
        mesh.step()
        check_both(mesh, stream)
        mesh.take_over()
        assert mesh.table.live.generation == stream.generation
        for site in SITES:
            assert mesh.seen(site).differences_from(expected(mesh, site, SITE_POLICY, mesh.limits)) == []


@pytest.mark.parametrize("begins_at", [1, 2, 3], ids=["before it is stored", "once stored", "at the end"])
def test_no_adoption_ends_when_another_process_has_begun_with_partitions(begins_at: int) -> None:
    with TwoStreams(limits=SMALLEST, logic=V0) as mesh:
        ready_to_be_adopted(mesh)
        streams, live, standing = mesh.stores.streams, mesh.table.live, mesh.runner.standing()
        calls: list[bool] = []

        def another_begins() -> Mapping[PartitionId, int] | None:
            calls.append(goes_on(streams, live) if len(calls) + 1 == begins_at else False)
            return standing if len(calls) <= begins_at else None

        is_adopted = adopt(mesh.stores, live, another_begins, mesh.clock, threading.Event(), wait_s=1.0)
        assert (is_adopted, mesh.table.live.generation) == ((True, -1) if begins_at == 3 else (False, 0))
        if not is_adopted:
            assert True in calls
            assert mesh.table.shadow is not None
            assert mesh.table.shadow.stopped == {}


def test_an_earlier_live_stream_does_not_begin_again() -> None:
    with TwoStreams(limits=SMALLEST, logic=V0) as mesh:
        ready_to_be_adopted(mesh)
        earlier = mesh.live_stores()
        mesh.take_over()
        with pytest.raises(PartitionsMoved):
            mesh.a_runner(earlier)
        assert not goes_on(mesh.stores.streams, Stream(0))


def test_a_process_that_must_wait_stands_still_once_another_does() -> None:
    with TwoStreams(limits=SMALLEST, logic=V0) as mesh:
        ready_to_be_adopted(mesh)
        assert is_due(mesh.stores, mesh.table)
        assert not is_due(mesh.stores, mesh.table, may_begin=False)
        mesh.change(mesh.table.stopped(mesh.runner.standing() or {}))
        assert is_due(mesh.stores, mesh.table, may_begin=False)


def ready_to_be_adopted(mesh: TwoStreams) -> None:
    """Start a shadow stream, let it catch up, and ask for its adoption."""
    mesh.arrive(views("a", 0))
    mesh.step()
    mesh.start()
    mesh.follow()
    mesh.change(mesh.table.moved(ShadowState.ADOPTING, mesh.clock.now()))


def views(visitor: str, minute: int) -> list[Arrival]:
    """Return page views 10 minutes apart.

    Under v0, each page view is a visit. Under v1, all page views are one visit.
    """
    times = [START + (minute + 10 * number) * 60_000 for number in range(4)]
    hits = [RefHit(SITES[0], visitor, f"{visitor}-{time}", time, page_path="/") for time in times]
    return [Arrival(hit.event_time, hit) for hit in hits]
