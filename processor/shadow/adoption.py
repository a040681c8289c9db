"""The live stream continues as the shadow: at positions that both have reached, without a restart (architecture A9).

The order of effects is defined only here:

1. each process stops its live runner, and stores the positions at which its partitions stand still;
2. the shadow follows up to these positions, and no further, because it never reads ahead of the live stream;
3. once all partitions stand still and the shadow has reached them, a conditional write makes the shadow the live
   stream (`StreamTable.ended`);
4. each process starts its live runner again, with the shadow's stores and the processor's consumer group.

A crash before 3 leaves the earlier live stream in force; a process that starts forgets all stored positions first.
After 3, each start takes the shadow's stores. The processor's committed positions continue, so raw records, marks,
claims and the ledger have no gap and nothing twice. A shadow runner that still runs applies no record after 3, because
it looks at the table after it has read the live stream's progress (`processor.shadow.stores`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Final

from hitmesh.model.positions import PartitionId, PartitionProgress, Topic
from hitmesh.model.streams import CAUGHT_UP_MS, Progress, ShadowState, StreamTable, lag_ms
from hitmesh.ports import Clock, Streams
from hitmesh.runtime.logs import logger
from processor.stream.stores import HasStreams

WAIT_S: Final = 30.0
"""How long the live stream stands still at most."""
_LOOK_EVERY_S: Final = 0.1


def is_adopting(table: StreamTable) -> bool:
    """Return whether the live stream must continue as the shadow."""
    return table.shadow is not None and table.shadow.state is ShadowState.ADOPTING


def is_due(stores: HasStreams, table: StreamTable) -> bool:
    """Return whether the live stream must continue as the shadow, and the shadow is close enough."""
    if not is_adopting(table):
        return False
    live, shadow = _progress(stores, table)
    return lag_ms(live, shadow) <= CAUGHT_UP_MS


def forget_stops(streams: Streams) -> None:
    """Forget stored positions before a live runner moves on from them."""
    table = streams.read()
    while is_adopting(table) and table.shadow is not None and table.shadow.stopped:
        streams.replace(table.stopped({}))
        table = streams.read()


def adopt(
    stores: HasStreams,
    mine: Iterable[PartitionId],
    clock: Clock,
    stop: threading.Event,
    *,
    beat: Callable[[], None] = lambda: None,
    wait_s: float = WAIT_S,
) -> bool:
    """Wait until the shadow is the live stream; the live runner over the partitions `mine` must not run meanwhile.

    `beat` keeps the membership in the consumer group meanwhile, so that no other process goes on with the partitions.
    Return False if the shadow does not reach the positions in time; the earlier live stream must then continue.
    """
    assigned = set(mine)
    for _ in range(max(1, round(wait_s / _LOOK_EVERY_S))):
        beat()
        table = stores.streams.read()
        if table.shadow is None or table.shadow.state is not ShadowState.ADOPTING:
            return any(stream == table.live for stream in table.adopted)
        live, shadow = _progress(stores, table)
        at = {partition: live[partition].next_offset for partition in assigned if partition in live}
        stopped = {**table.shadow.stopped, **at}
        if stopped != table.shadow.stopped:
            stores.streams.replace(table.stopped(stopped))
            continue
        if _have_met(live, shadow, stopped) and _is_ingested(stores, table, live):
            if stores.streams.replace(table.ended(clock.now())):
                logger().info("shadow_adopted", generation=table.current.generation, logic=table.current.logic)
            continue
        if stop.wait(_LOOK_EVERY_S):
            return False
    forget_stops(stores.streams)
    logger().warning("shadow_not_adopted", message="the shadow did not reach the live stream in time; trying later")
    return False


def _have_met(live: Progress, shadow: Progress, stopped: dict[PartitionId, int]) -> bool:
    return all(
        stopped.get(partition) == reached.next_offset == shadow.get(partition, reached).next_offset
        for partition, reached in live.items()
    )


def _is_ingested(stores: HasStreams, table: StreamTable, live: Progress) -> bool:
    """Return whether reports can read all rows of the shadow up to the live stream's positions."""
    ingested = stores.stream(table.current.generation, is_shadow=True).ingested_through()
    return all(ingested[partition].next_offset >= live[partition].next_offset for partition in ingested)


def _progress(stores: HasStreams, table: StreamTable) -> tuple[Progress, Progress]:
    """Return the committed positions of the live stream and of the shadow, in both topics."""
    live = stores.stream(table.live.generation, is_shadow=False).progress
    shadow = stores.stream(table.current.generation, is_shadow=True).progress
    both: tuple[dict[PartitionId, PartitionProgress], ...] = ({}, {})
    for topic in Topic:
        for found, progress in zip(both, (live, shadow), strict=True):
            found |= progress.progress(topic)
    return both[0], both[1]
