"""Test when the shadow stream becomes the live stream.

Several processes share the partitions, and no hits arrive.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace

from hitmesh.adapters.factory import Stores, open_stores
from hitmesh.model.positions import PartitionId, PartitionProgress, Topic
from hitmesh.model.streams import CAUGHT_UP_MS, ShadowState, Stream, StreamTable
from hitmesh.ports import Streams, StreamStore
from processor.shadow.adoption import adopt, is_due
from processor.stream.stores import HasStreams
from tests.support.clock import ManualClock
from tests.support.opened import NOON

STREAM = Stream(-1, first_day=NOON // 86_400_000, logic="v1", replaces="v0")
ADOPTING = StreamTable().started(STREAM, NOON).moved(ShadowState.ADOPTING, NOON)


class TwoPartitions:
    """A mesh with two partitions: the live stream is at offset 3 in `mine` and at offset 5 in `other`."""

    def __init__(self, shadow_at: tuple[int, int] = (3, 5), shadow_time: int = NOON) -> None:
        self.clock = ManualClock(NOON)
        self.stores: Stores = open_stores("memory:", self.clock, partitions={Topic.HITS: 2, Topic.REJECTED: 1})
        self.mine, self.other = sorted(self.stores.progress.progress(Topic.HITS))
        (self.refusals,) = self.stores.progress.progress(Topic.REJECTED)
        self.reach(0, (3, 5), NOON)
        self.reach(-1, shadow_at, shadow_time)
        self.change(StreamTable().started(STREAM, NOON))
        self.change(ADOPTING)

    @property
    def table(self) -> StreamTable:
        return self.stores.streams.read()

    @property
    def stopped(self) -> dict[PartitionId, int]:
        """The positions at which another process has stopped the live stream."""
        return {self.other: 5, self.refusals: 0}

    def change(self, table: StreamTable) -> None:
        assert self.stores.streams.replace(table)

    def reach(self, generation: int, at: tuple[int, int], log_time: int) -> None:
        outbox = self.stores.stream(generation, is_shadow=generation < 0).outbox
        reached = {self.mine: PartitionProgress(at[0], log_time), self.other: PartitionProgress(at[1], log_time)}
        outbox.transaction(outbox.take_over(), [], reached)


@dataclass(frozen=True)
class NotIngested:
    """The stores of a mesh. In the partition `late`, reports cannot read all rows of the shadow stream yet."""

    stores: Stores
    late: PartitionId

    @property
    def streams(self) -> Streams:
        return self.stores.streams

    def stream(self, generation: int, *, is_shadow: bool) -> StreamStore:
        store = self.stores.stream(generation, is_shadow=is_shadow)
        found = {**store.progress.progress(Topic.HITS), self.late: PartitionProgress(4, NOON)}
        return replace(store, ingested_through=lambda: found)


def adopted(mesh: TwoPartitions, stores: HasStreams | None = None, wait_s: float = 0.3) -> bool:
    """Stop this process's live stream in the partition `mine`. Return whether the shadow stream is adopted."""
    live, standing = mesh.table.live, {mesh.mine: 3}
    return adopt(stores or mesh.stores, live, lambda: standing, mesh.clock, threading.Event(), wait_s=wait_s)


def test_the_shadow_is_adopted_once_all_processes_stand_still() -> None:
    mesh = TwoPartitions()
    assert not adopted(mesh), "the other partition may go on"
    assert mesh.table.live.generation == 0
    mesh.change(mesh.table.stopped(mesh.stopped))
    assert adopted(mesh, wait_s=9.0)
    assert (mesh.table.live.generation, mesh.table.shadow) == (-1, None)


def test_the_shadow_is_not_adopted_before_reports_can_read_all_its_rows() -> None:
    mesh = TwoPartitions()
    mesh.change(mesh.table.stopped(mesh.stopped))
    assert not adopted(mesh, NotIngested(mesh.stores, mesh.other))
    assert mesh.table.live.generation == 0


def test_a_process_that_ends_does_not_wait_for_the_shadow() -> None:
    mesh, beats, stop = TwoPartitions((3, 4)), list[int](), threading.Event()
    stop.set()

    def standing() -> dict[PartitionId, int]:
        beats.append(1)
        return {mesh.mine: 3}

    assert not adopt(mesh.stores, mesh.table.live, standing, mesh.clock, stop, wait_s=0.3)
    assert len(beats) == 2, "one to store its position, and one to find the shadow behind"


def test_the_live_stream_goes_on_until_the_shadow_is_close() -> None:
    far, near = (TwoPartitions((3, 4), NOON - CAUGHT_UP_MS - late_ms) for late_ms in (1, 0))
    assert not is_due(far.stores, far.table)
    assert is_due(near.stores, near.table)
    near.change(near.table.moved(ShadowState.PUBLISHED, NOON))
    assert not is_due(near.stores, near.table)
