"""Wait until all records in the log are counted: committed, flushed, in answers, and history settled."""

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
    """Return the current end of the log; None while Kafka restarts and cannot return it."""
    try:
        return log_ends(stores)
    except RetryError:
        return None


def is_committed(stores: Stores, ends: Ends) -> bool:
    """Return whether the stream has committed everything before these offsets."""
    committed = stores.outbox.committed()
    return all(committed[partition].next_offset >= end for partition, end in ends.items())


def is_counted(stores: Stores, ends: Ends) -> bool:
    """Return whether everything before these offsets is committed, flushed and in answers, with no settlement pending.

    An unavailable server (a killed server, for example) counts as "not yet".
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
    """Return figures that change while the stream makes progress: sums of committed, flushed and answered offsets."""
    try:
        known = (stores.outbox.committed(), stores.series.flushed(), stores.metrics.ingested_through())
    except RetryError:
        return None
    return [sum(position.next_offset for position in positions.values()) for positions in known]


def wait_counted(stores: Stores, describe: Callable[[], str], timeout_s: float) -> None:
    """Block until everything now in the log is counted; fail with the text from `describe`."""
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
