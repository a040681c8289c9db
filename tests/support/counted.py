"""Wait until all hits in the log are counted: committed, flushed and visible in answers.

No site-day may still wait for settlement.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from hitmesh.adapters.factory import Stores
from hitmesh.model.errors import RetryError
from hitmesh.model.positions import PartitionId, Topic
from tests.support.kill_load import SITES
from tests.support.waiting import eventually

FOREVER_MS = 2**62

Ends = Mapping[PartitionId, int]
"""Next offset of each partition in both topics."""


def log_ends(stores: Stores) -> Ends:
    """Return the current end of the log."""
    return {partition: stores.log_scan.offset_at(partition, FOREVER_MS) for partition in stores.outbox.committed()}


def ends_if_known(stores: Stores) -> Ends | None:
    """Return the current end of the log, or None if Kafka is restarting and does not answer."""
    try:
        return log_ends(stores)
    except RetryError:
        return None


def is_committed(stores: Stores, ends: Ends) -> bool:
    """Return whether the stream has committed all records before the given offsets."""
    committed = stores.outbox.committed()
    return all(committed[partition].next_offset >= end for partition, end in ends.items())


def is_counted(stores: Stores, ends: Ends) -> bool:
    """Return whether all records are committed, flushed and visible in answers, and no day is dirty.

    The function checks only the records before the offsets `ends`. If a server is unavailable, for example after a
    kill, the function returns False.
    """
    try:
        flushed = stores.series.flushed()
        is_flushed = all(
            partition in flushed and flushed[partition].next_offset >= end for partition, end in ends.items()
        )
        if not is_flushed or not is_committed(stores, ends) or any(map(stores.dirty.pending, SITES)):
            return False
        answered, of_hits = stores.metrics.ingested_through(), stores.log.log_id(Topic.HITS)
        return all(
            answered[partition].next_offset >= end for partition, end in ends.items() if partition.log == of_hits
        )
    except RetryError:
        return False


def progress(stores: Stores) -> object:
    """Return sums of committed, flushed and ingested offsets. The sums change as long as the stream makes progress."""
    try:
        known = (stores.outbox.committed(), stores.series.flushed(), stores.metrics.ingested_through())
    except RetryError:
        return None
    return [sum(position.next_offset for position in positions.values()) for positions in known]


def wait_counted(stores: Stores, describe: Callable[[], str], timeout_s: float) -> None:
    """Block until all records that are in the log at the time of the call are counted.

    A failure contains the text that `describe` returns.
    """
    ends = eventually(lambda: ends_if_known(stores), "Kafka says where the log ends", timeout_s)
    try:
        eventually(
            lambda: is_counted(stores, ends),
            f"everything before {ends} is counted",
            timeout_s,
            moving=lambda: progress(stores),
        )
    except AssertionError as error:
        error.add_note(describe())
        raise
