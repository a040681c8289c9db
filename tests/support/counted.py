"""When everything that is in the log has been counted: committed, flushed, in answers, and history settled."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from hitmesh.adapters.factory import Stores
from hitmesh.model.errors import RetryError
from hitmesh.model.positions import PartitionId, Topic
from tests.support.kill_load import SITES
from tests.support.waiting import eventually

FOREVER_MS = 2**62

Ends = Mapping[PartitionId, int]
"""The next offset of each partition of both topics."""


def log_ends(stores: Stores) -> Ends:
    """Where the log ends now."""
    return {one: stores.log_scan.offset_at(one, FOREVER_MS) for one in stores.outbox.committed()}


def ends_if_known(stores: Stores) -> Ends | None:
    """Where the log ends now; None while Kafka, a moment after it came back, does not say."""
    try:
        return log_ends(stores)
    except RetryError:
        return None


def is_committed(stores: Stores, ends: Ends) -> bool:
    """Whether the stream has committed everything before these offsets."""
    committed = stores.outbox.committed()
    return all(committed[partition].next_offset >= end for partition, end in ends.items())


def is_counted(stores: Stores, ends: Ends) -> bool:
    """Whether everything before these offsets is committed, flushed and in answers, and nothing waits for settlement.

    A server that does not answer, as one that was killed a moment ago, is no reason to give up.
    """
    try:
        flushed = stores.series.flushed()
        is_flushed = all(one in flushed and flushed[one].next_offset >= end for one, end in ends.items())
        if not is_flushed or not is_committed(stores, ends) or any(map(stores.dirty.pending, SITES)):
            return False
        answered, of_hits = stores.metrics.ingested_through(), stores.log.log_id(Topic.HITS)
        return all(answered[one].next_offset >= end for one, end in ends.items() if one.log == of_hits)
    except RetryError:
        return False


def progress(stores: Stores) -> object:
    """Return figures that change while the stream gets on: committed, flushed and answered offsets, added up."""
    try:
        known = (stores.outbox.committed(), stores.series.flushed(), stores.metrics.ingested_through())
    except RetryError:
        return None
    return [sum(position.next_offset for position in positions.values()) for positions in known]


def wait_counted(stores: Stores, said: Callable[[], str], timeout_s: float) -> None:
    """Waits until all that is in the log now is counted; else tells what was said by then."""
    ends = eventually(lambda: ends_if_known(stores), "Kafka says where the log ends", timeout_s)
    try:
        eventually(
            lambda: is_counted(stores, ends),
            f"everything before {ends} is counted",
            timeout_s,
            moving=lambda: progress(stores),
        )
    except AssertionError as error:
        error.add_note(said())
        raise
