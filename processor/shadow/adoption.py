"""Makes the shadow stream the live stream, without a restart.

The shadow takes over at positions that both streams have reached (architecture A9).

The order of effects is defined only here:

1. each process stops its live runner, and stores the positions at which its partitions stand still;
2. the shadow follows up to these positions, and no further, because it never reads ahead of the live stream;
3. once all partitions stand still and the shadow has reached them, a conditional write makes the shadow the live
   stream (`StreamTable.ended`);
4. each process starts its live runner again, with the shadow's stores and the processor's consumer group.

If a process crashes before step 3, the earlier live stream continues. A live runner may take over partitions, for
example after a restart, or when partitions move between processes. The runner first replaces the stream table by a
table without stored positions (`goes_on`). Another process may already have stopped its runner on the same partitions.
The conditional write of the other process then fails, and the other process tries again later. If the table already has
another live stream, the runner ends. After step 3, no runner therefore commits a record for the earlier live stream.

After step 3, every process that starts uses the shadow's stores. The consumer group's committed positions remain valid,
so every record adds to raw records, marks, claims and the ledger exactly once. After step 3, a shadow runner that still
runs applies no record, because it reads the table after it has read the live stream's progress
(`processor.shadow.stores`).
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
"""The maximum time in seconds for which the live stream pauses before the shadow replaces it."""
_LOOK_EVERY_S: Final = 0.1


Standing = Callable[[], Mapping[PartitionId, int] | None]
"""Sends heartbeats and returns the committed offsets of a paused runner.

If partitions may have moved to another process, the function returns None.
"""


def is_adopting(table: StreamTable) -> bool:
    """Return whether the shadow stream must replace the live stream."""
    return table.shadow is not None and table.shadow.state is ShadowState.ADOPTING


def is_due(stores: HasStreams, table: StreamTable, *, may_begin: bool = True) -> bool:
    """Return whether the live stream must pause: the shadow must be adopted, and has almost caught up.

    Args:
        stores: the stores of all streams.
        table: the stream table.
        may_begin: whether this process may be the first to pause its live runner. If `may_begin` is false, this process
            waits until another process has paused its runner.
    """
    if not is_adopting(table) or table.shadow is None or not (may_begin or table.shadow.stopped):
        return False
    live, shadow = _progress(stores, table)
    return lag_ms(live, shadow) <= CAUGHT_UP_MS


def goes_on(streams: Streams, live: Stream) -> bool:
    """Return whether `live` is still the live stream.

    If `live` is still the live stream, remove all stored positions, because a runner continues. The stream table gets a
    new version even if it has no positions. Another process may not know yet that its partitions moved, and still use
    the previous version of the table. The conditional write of the other process then fails.
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

    `standing` also keeps this process in the consumer group, so that no other process gets this process's partitions.
    Return False if the shadow does not reach the positions in time, or if another process resumes its live runner.
    Before the runner continues, the caller must call `goes_on`.
    """
    has_stored, ends = False, time.monotonic() + wait_s
    while True:
        table = stores.streams.read()
        if table.live.generation != live.generation:
            return True
        at = standing()  # the table must be read before `standing` is called: see `goes_on`
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
            logger().warning(
                "shadow_not_adopted", message="the shadow stream did not catch up with the live stream in time"
            )
            return False
        elif stop.wait(_LOOK_EVERY_S):
            return False


def _has_met(stores: HasStreams, table: StreamTable) -> bool:
    """Return whether both streams have stopped at the same positions and reports can read all the shadow's rows."""
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
