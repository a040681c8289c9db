"""Test that a processor hands its partitions over: the next owner begins with the state at the committed positions.

The state is 90 minutes old or older, and its periodic snapshot is from long before the hand-over.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from hitmesh.adapters.memory.log_reader import MemoryLogReader
from hitmesh.adapters.memory.outbox import MemoryOutbox
from hitmesh.model.erasures import ErasureMark, visitor_digest
from hitmesh.model.errors import PartitionsMoved, Unavailable
from hitmesh.model.logic import CURRENT
from hitmesh.model.positions import PartitionId, Topic
from processor.building import stream_stores
from processor.erase.purge import partitions_with
from processor.erase.visitors import ErasedVisitors
from processor.stream.handing_over import State, hand_over_within
from processor.stream.live.limits import PRODUCTION
from processor.stream.live.refusals import RefusalsState
from processor.stream.live.state import LiveState
from processor.stream.pace import StreamPace
from processor.stream.runner import Runner
from processor.stream.stores import StreamStores
from tests.reference.hits import RefHit
from tests.support.erasing import key_of
from tests.support.small_mesh import PARTITIONS, Rows, SmallMesh

SITE = "merchants/m/sites/s"
MINUTE = 60_000
NOON = 20_000 * 86_400_000 + 720 * MINUTE
HITS = 12


class GroupReader(MemoryLogReader):
    """A reader in a consumer group that takes the partitions away when `moves` is set."""

    moves = threading.Event()
    _hand_over: Callable[[], None]

    def before_moves(self, hand_over: Callable[[], None]) -> None:
        self._hand_over = hand_over

    def poll(self, max_hits: int, timeout_s: float) -> Any:
        if self.moves.is_set():
            self._hand_over()
            raise PartitionsMoved("the group has changed", retry_after_s=0)
        return super().poll(max_hits, timeout_s)


@pytest.fixture
def moves(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    event = threading.Event()
    monkeypatch.setattr(GroupReader, "moves", event)
    return event


def in_group(mesh: SmallMesh) -> StreamStores:
    log: Any = mesh.stores.log
    return replace(stream_stores(mesh.stores), log_reader=lambda topic: GroupReader(log, topic, "processor"))


def an_aged_mesh(home: Path, stores: Callable[[SmallMesh], StreamStores]) -> SmallMesh:
    """Return a mesh that has streamed a hit every nine minutes, and saved a snapshot after the second hit."""
    mesh = SmallMesh(NOON, sites=[SITE])
    mesh.runner.close()
    mesh.runner = Runner(stores(mesh), mesh.clock, StreamPace(snapshot_ms=1_000 * MINUTE), home=home)
    for number in range(HITS):
        send(mesh, number)
        mesh.stream()
        if number == 1:
            mesh.runner.snapshot()
        mesh.clock.advance(9 * MINUTE)
    return mesh


def send(mesh: SmallMesh, number: int) -> None:
    mesh.send([RefHit(SITE, f"v{number % 3}", f"hit-{number}", mesh.clock.now(), page_path=f"/{number}")])


def rows_after(mesh: SmallMesh, runner: Runner) -> Rows:
    """Return all rows after the runner has counted three further hits, a copy, and a hit that is out of order.

    The copy and the hit that is out of order need the ids and the kept hits.
    """
    mesh.runner = runner
    for number in (HITS, HITS + 1, HITS + 2, HITS - 2):
        send(mesh, number)
    earlier = mesh.clock.now() - 40 * MINUTE
    mesh.send([RefHit(SITE, "v1", "out-of-order", earlier, page_path="/earlier")])
    mesh.stream()
    return mesh.rows()


def snapshots_at(mesh: SmallMesh) -> list[int]:
    """Return the offset of each partition's snapshot."""
    log, states = mesh.stores.log.log_id(Topic.HITS), mesh.stores.states
    found = (states.load(PartitionId(log, number), CURRENT.number) for number in range(PARTITIONS))
    return [-1 if each is None else each[0].position.next_offset for each in found]


def test_the_next_processor_replays_nothing_after_a_stop(tmp_path: Path) -> None:
    undisturbed = an_aged_mesh(tmp_path / "0", lambda mesh: stream_stores(mesh.stores))
    expected = rows_after(undisturbed, undisturbed.runner)
    mesh = an_aged_mesh(tmp_path / "1", lambda mesh: stream_stores(mesh.stores))
    stop = threading.Event()
    stop.set()
    mesh.runner.run(stop)  # as after SIGTERM
    mesh.runner.close()
    taken_over = Runner(stream_stores(mesh.stores), mesh.clock, home=tmp_path / "2")
    assert taken_over.recovered == (0, 0)
    assert rows_after(mesh, taken_over) == expected


def test_kept_hits_beyond_the_limit_are_read_from_the_log(tmp_path: Path) -> None:
    mesh = an_aged_mesh(tmp_path / "1", lambda mesh: stream_stores(mesh.stores))
    kept = sum(len(state.kept) for state in mesh.runner.states)
    few = replace(PRODUCTION, handed_hits=kept - 1)
    runner = Runner(stream_stores(mesh.stores), mesh.clock, home=tmp_path / "2", limits=few)
    runner.hand_over()
    assert Runner(stream_stores(mesh.stores), mesh.clock, home=tmp_path / "3").recovered == (kept, 0)


def test_hits_of_a_visitor_who_was_erased_after_the_hand_over_are_left_out(tmp_path: Path) -> None:
    mesh = an_aged_mesh(tmp_path / "1", lambda mesh: stream_stores(mesh.stores))
    mesh.runner.hand_over()
    now = mesh.clock.now()
    secret = mesh.stores.directory.mesh_secret()
    mark = ErasureMark(SITE, visitor_digest(secret, SITE, key_of("v1")), now, now, "e")
    assert partitions_with(by_partition(mesh.runner), ErasedVisitors(secret, [mark]))
    mesh.stores.erasures.put([mark])
    taken_over = Runner(stream_stores(mesh.stores), mesh.clock, home=tmp_path / "2")
    assert taken_over.recovered == (0, 0)
    assert not partitions_with(by_partition(taken_over), ErasedVisitors(secret, [mark]))
    assert sum(len(state.kept) for state in taken_over.states) == HITS - HITS // 3


def by_partition(runner: Runner) -> dict[PartitionId, LiveState]:
    return {state.partition: state for state in runner.states}


def test_without_a_hand_over_the_next_processor_replays_the_hits_since_the_last_snapshot(tmp_path: Path) -> None:
    mesh = an_aged_mesh(tmp_path / "1", lambda mesh: stream_stores(mesh.stores))
    kept, replayed = Runner(stream_stores(mesh.stores), mesh.clock, home=tmp_path / "2").recovered
    assert (kept, replayed) == (2, HITS - 2)


def test_the_next_owner_of_moved_partitions_replays_nothing(tmp_path: Path, moves: threading.Event) -> None:
    undisturbed = an_aged_mesh(tmp_path / "0", in_group)
    expected = rows_after(undisturbed, undisturbed.runner)
    mesh = an_aged_mesh(tmp_path / "1", in_group)
    moves.set()
    with pytest.raises(PartitionsMoved):
        mesh.runner.step(0.0)
    moves.clear()
    taken_over = Runner(in_group(mesh), mesh.clock, home=tmp_path / "2")
    assert taken_over.recovered == (0, 0)
    assert rows_after(mesh, taken_over) == expected


def test_a_state_that_may_be_ahead_of_the_committed_position_is_not_handed_over(
    tmp_path: Path, moves: threading.Event
) -> None:
    mesh = an_aged_mesh(tmp_path / "1", in_group)
    before = snapshots_at(mesh)
    failing = replace(in_group(mesh), outbox=Refusing(mesh.stores.outbox, "transaction"))
    runner = Runner(failing, mesh.clock, home=tmp_path / "2")
    send(mesh, HITS)
    with pytest.raises(Unavailable):
        runner.step(0.0)
    runner.hand_over()
    assert snapshots_at(mesh) == before


def test_a_store_that_is_away_does_not_stop_a_hand_over(tmp_path: Path, moves: threading.Event) -> None:
    mesh = an_aged_mesh(tmp_path / "1", in_group)
    before = snapshots_at(mesh)
    failing = replace(in_group(mesh), states=Refusing(mesh.stores.states, "save_chunks"))
    runner = Runner(failing, mesh.clock, home=tmp_path / "2")
    moves.set()
    with pytest.raises(PartitionsMoved):
        runner.step(0.0)
    assert snapshots_at(mesh) == before


def test_a_state_that_has_not_changed_is_not_saved_again(tmp_path: Path) -> None:
    mesh = an_aged_mesh(tmp_path / "1", lambda mesh: stream_stores(mesh.stores))
    counting = Counting(mesh.stores.states, "save_manifest")
    runner = Runner(replace(stream_stores(mesh.stores), states=counting), mesh.clock, home=tmp_path / "2")
    runner.hand_over()
    saved = counting.calls
    assert saved > 0
    runner.hand_over()
    assert counting.calls == saved
    mesh.runner = runner
    send(mesh, HITS)
    mesh.stream()
    runner.hand_over()
    assert counting.calls == saved + 1


class NodeOutbox:
    """The outbox of a process beside others: the numbers are common to all processes, but each has its own fence."""

    numbers = itertools.count(100)

    def __init__(self, mesh: SmallMesh) -> None:
        outbox: Any = mesh.stores.outbox
        self._own = MemoryOutbox(outbox._log, outbox._rows, outbox._group)
        self._mesh = mesh

    def take_over(self) -> int:
        self._own_number = self._own.take_over()
        self.number = next(self.numbers)
        return self.number

    def resolve(self, writer: int) -> None:
        assert writer == self.number

    def transaction(self, writer: int, rows: Any, positions: Any) -> None:
        assert writer == self.number
        self._own.transaction(self._own_number, rows, positions)

    def committed(self) -> Any:
        return self._own.committed()


class Away(GroupReader):
    """A reader that is removed from its group when `moves` is set."""

    def poll(self, max_hits: int, timeout_s: float) -> Any:
        if self.moves.is_set():
            raise Unavailable("removed", retry_after_s=0)
        return super().poll(max_hits, timeout_s)


def a_node(mesh: SmallMesh, home: Path, reader: type[GroupReader] = GroupReader, **ports: Any) -> Runner:
    """Return the runner of a further process in the consumer group."""
    log: Any = mesh.stores.log
    stores = replace(
        stream_stores(mesh.stores),
        log_reader=lambda topic: reader(log, topic, "processor"),
        outbox=NodeOutbox(mesh),
        **ports,
    )
    return Runner(stores, mesh.clock, StreamPace(snapshot_ms=1_000 * MINUTE), home=home)


def streamed_by(runner: Runner, mesh: SmallMesh, number: int) -> None:
    mesh.runner = runner
    send(mesh, number)
    mesh.stream()


def test_the_older_process_saves_and_hands_over_partitions_that_it_takes_from_a_younger_one(
    tmp_path: Path, moves: threading.Event
) -> None:
    mesh = SmallMesh(NOON, sites=[SITE])
    mesh.runner.close()
    older = a_node(mesh, tmp_path / "1", Away)
    streamed_by(older, mesh, 0)
    younger = a_node(mesh, tmp_path / "2")
    for number in (1, 2, 3):
        streamed_by(younger, mesh, number)
    younger.hand_over()
    moves.set()
    with pytest.raises(Unavailable):
        older.step(0.0)
    moves.clear()
    streamed_by(older, mesh, 4)
    assert older.recovered == (0, 0)
    older.snapshot()
    reached = [state.next_offset for state in older.states]
    assert snapshots_at(mesh) == reached
    streamed_by(older, mesh, 5)
    older.hand_over()
    third = a_node(mesh, tmp_path / "3")
    assert third.recovered == (0, 0)
    assert sum(snapshots_at(mesh)) > sum(reached)


def test_a_hand_over_that_a_later_writer_refuses_is_not_reported(
    tmp_path: Path, moves: threading.Event, capsys: pytest.CaptureFixture[str]
) -> None:
    mesh = SmallMesh(NOON, sites=[SITE])
    mesh.runner.close()
    older = a_node(mesh, tmp_path / "1")
    streamed_by(older, mesh, 0)
    a_node(mesh, tmp_path / "2").hand_over()
    capsys.readouterr()
    older.hand_over()
    assert "not_handed_over" in (logged := "".join(capsys.readouterr()))
    assert '"handed_over' not in logged
    assert " handed_over" not in logged


def test_a_hand_over_without_new_records_leaves_the_visible_snapshot_until_the_next_is_whole(tmp_path: Path) -> None:
    mesh = an_aged_mesh(tmp_path / "1", lambda mesh: stream_stores(mesh.stores))
    mesh.runner.snapshot()  # has no kept hits
    whole = snapshots_at(mesh)
    dying = Refusing(mesh.stores.states, "save_manifest")
    mesh.runner._saver._states = dying
    mesh.runner.hand_over()
    assert dying.calls == 1
    assert snapshots_at(mesh) == whole
    mesh.runner._saver._states = mesh.stores.states
    mesh.runner.hand_over()
    assert Runner(stream_stores(mesh.stores), mesh.clock, home=tmp_path / "2").recovered == (0, 0)


def test_an_error_that_nobody_expects_stops_no_hand_over_and_no_runner(tmp_path: Path, moves: threading.Event) -> None:
    mesh = an_aged_mesh(tmp_path / "1", in_group)
    failing = Refusing(mesh.stores.states, "save_chunks")
    failing.error = pl.exceptions.PanicException("a bug")
    runner = Runner(replace(in_group(mesh), states=failing), mesh.clock, home=tmp_path / "2")
    moves.set()
    with pytest.raises(PartitionsMoved):
        runner.step(0.0)
    assert failing.calls == 1


def test_the_state_is_uncertain_after_any_error_while_polling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mesh = an_aged_mesh(tmp_path / "1", in_group)
    monkeypatch.setattr(GroupReader, "poll", lambda *_: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        mesh.runner.step(0.0)
    assert mesh.runner.standing() is None


def test_a_hand_over_without_time_saves_nothing(tmp_path: Path) -> None:
    mesh = an_aged_mesh(tmp_path / "1", lambda mesh: stream_stores(mesh.stores))
    before = snapshots_at(mesh)
    runner = Runner(stream_stores(mesh.stores), mesh.clock, StreamPace(hand_over_s=0), home=tmp_path / "2")
    runner.hand_over()
    assert snapshots_at(mesh) == before


def test_kept_hits_are_left_out_after_the_time_and_states_after_twice_the_time() -> None:
    states = [RefusalsState(PartitionId("log", number)) for number in range(5)]
    saved: list[tuple[int, bool]] = []

    def save(state: State, with_kept: bool) -> bool:
        saved.append((state.partition.partition, with_kept))
        return state.partition.partition != 0

    times = iter([0.0, 9.9, 9.9, 10.0, 19.9, 20.0])
    done = hand_over_within(10.0, states, save, lambda: next(times))
    assert saved == [(0, True), (1, True), (2, False), (3, False)]
    assert [partition.partition for partition in done.handed] == [1, 2, 3]
    assert [partition.partition for partition in done.left_out] == [0, 4]


class Counting:
    """A store that counts the calls of a method."""

    def __init__(self, port: Any, method: str) -> None:
        self._port, self._method, self.calls = port, method, 0

    def __getattr__(self, name: str) -> Any:
        if name == self._method:
            self.calls += 1
            self.before()
        return getattr(self._port, name)

    def before(self) -> None:
        """Do nothing."""


class Refusing(Counting):
    """A store that refuses a method."""

    def before(self) -> None:
        raise self.error

    error: BaseException = Unavailable("the store is away", retry_after_s=0)
