"""The shadow stream becomes the live stream, without a restart.

This happens at positions that both streams have reached (architecture A9).

The order of effects is defined only here:

1. each process stops its live runner, and stores the positions at which its partitions stand still;
2. the shadow follows up to these positions, and no further, because it never reads ahead of the live stream;
3. once all partitions stand still and the shadow has reached them, a conditional write makes the shadow the live
   stream (`StreamTable.ended`);
4. each process starts its live runner again, with the shadow's stores and the processor's consumer group.

A crash before 3 leaves the earlier live stream in force. A live runner that begins with partitions, after a start or
because partitions moved, first replaces the table without stored positions (`goes_on`): then every process that stands
still, and may have had these partitions, tries again later, and its conditional writes fail. If the table already has
another live stream, the runner ends. So no runner commits a record after 3 for the earlier live stream.

After 3, each start takes the shadow's stores. The processor's committed positions continue, so raw records, marks,
claims and the ledger have no gap and nothing twice. A shadow runner that still runs applies no record after 3, because
it looks at the table after it has read the live stream's progress (`processor.shadow.stores`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Final

from hitmesh.model.positions import PartitionId, PartitionProgress, Topic
from hitmesh.model.streams import CAUGHT_UP_MS, Progress, ShadowState, Stream, StreamTable, lag_ms
from hitmesh.ports import Clock, Streams
from hitmesh.runtime.logs import logger
from processor.stream.stores import HasStreams

WAIT_S: Final = 30.0
"""The maximum time for which the live stream stands still."""
_LOOK_EVERY_S: Final = 0.1


Standing = Callable[[], Mapping[PartitionId, int] | None]
"""Sends heartbeats and returns the committed offsets of a runner that stands still.

Returns None if partitions may have moved.
"""


def is_adopting(table: StreamTable) -> bool:
    """Return whether the live stream must continue as the shadow stream."""
    return table.shadow is not None and table.shadow.state is ShadowState.ADOPTING


def is_due(stores: HasStreams, table: StreamTable, *, may_begin: bool = True) -> bool:
    """Return whether the live stream must stand still. This is so if the shadow must be adopted and is close enough.

    Args:
        stores: the stores of all streams.
        table: the stream table.
        may_begin: whether this process may be the first to stand still. If not, this process waits until another
            process stands still.
    """
    if not is_adopting(table) or table.shadow is None or not (may_begin or table.shadow.stopped):
        return False
    live, shadow = _progress(stores, table)
    return lag_ms(live, shadow) <= CAUGHT_UP_MS


def goes_on(streams: Streams, live: Stream) -> bool:
    """Return whether `live` is still the live stream. If so, forget all stored positions, because a runner continues.

    The table gets a new version even if it has no positions. A process may have read the earlier table and not know yet
    that its partitions moved. With the new version, this process cannot replace the table.
    """
    while True:
        table = streams.read()
        if table.live.generation != live.generation:
            return False
        if not is_adopting(table) or streams.replace(table.stopped({})):
            return True


def adopt(
    stores: HasStreams,
    live: Stream,
    standing: Standing,
    clock: Clock,
    stop: threading.Event,
    *,
    wait_s: float = WAIT_S,
) -> bool:
    """Wait until the shadow replaces the stream `live`. Meanwhile, this process's runner for `live` must not run.

    `standing` also keeps the membership in the consumer group. No other process therefore gets the partitions. Return
    False if the shadow does not reach the positions in time, or if another process continues. Before the runner
    continues, the caller must call `goes_on`.
    """
    has_stored, ends = False, time.monotonic() + wait_s
    while True:
        table = stores.streams.read()
        if table.live.generation != live.generation:
            return True
        at = standing()  # after the table was read: see `goes_on`
        if at is None or table.shadow is None or not is_adopting(table):
            return False
        stopped = {**table.shadow.stopped, **at}
        if stopped != table.shadow.stopped:
            if has_stored:
                return False  # another process has begun to read partitions
            has_stored = stores.streams.replace(table.stopped(stopped))
        elif _has_met(stores, table):
            if stores.streams.replace(table.ended(clock.now())):
                logger().info("shadow_adopted", generation=table.current.generation, logic=table.current.logic)
        elif time.monotonic() >= ends:
            logger().warning("shadow_not_adopted", message="the shadow did not reach the live stream in time")
            return False
        elif stop.wait(_LOOK_EVERY_S):
            return False


def _has_met(stores: HasStreams, table: StreamTable) -> bool:
    """Return whether all partitions stand still and reports can read all the shadow's rows up to these positions."""
    live, shadow = _progress(stores, table)
    stopped = {} if table.shadow is None else table.shadow.stopped
    return all(
        stopped.get(partition) == reached.next_offset == shadow.get(partition, reached).next_offset
        for partition, reached in live.items()
    ) and _is_ingested(stores, table, live)


def _is_ingested(stores: HasStreams, table: StreamTable, live: Progress) -> bool:
    """Return whether reports can read all rows of the shadow up to the live stream's positions."""
    ingested = stores.stream(table.current.generation, is_shadow=True).ingested_through()
    return all(ingested[partition].next_offset >= live[partition].next_offset for partition in ingested)


def _progress(stores: HasStreams, table: StreamTable) -> tuple[Progress, Progress]:
    """Return the committed positions of the live stream and of the shadow in both topics."""
    live = stores.stream(table.live.generation, is_shadow=False).progress
    shadow = stores.stream(table.current.generation, is_shadow=True).progress
    both: tuple[dict[PartitionId, PartitionProgress], ...] = ({}, {})
    for topic in Topic:
        for found, progress in zip(both, (live, shadow), strict=True):
            found |= progress.progress(topic)
    return both[0], both[1]
