"""Stores again what the stream stores before its transactions, after a store was restored from an older backup.

The log has committed positions that are newer than the backup. For the records between the backup and the committed
positions, the restored store lacks raw records, refusals, dirty marks, awaited days and claims. A recovery writes only
partials and ledger again. A settlement of the restored store would therefore miss hits.

All these effects are keyed by the records' positions, so storing them again changes nothing that is already there. Rows
and positions are not written: the log has them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from hitmesh.model.positions import PartitionId
from hitmesh.model.records import LoggedRecord
from hitmesh.ports import Clock
from hitmesh.runtime.logs import logger
from processor.erase.known import KnownErasures
from processor.erase.late_writes import take_back
from processor.stream.commit import store_before_transaction
from processor.stream.intake import take_in
from processor.stream.stores import StreamStores

BEFORE_MS: Final = 3_600_000
"""The records of this time before `since` are read, so that the log time, a running maximum, is known at `since`."""
_WINDOW_HITS: Final = 50_000


@dataclass(frozen=True, slots=True)
class StoredAgain:
    """What was stored again.

    Attributes:
        records: records of hits and refusals.
        rows: hits and refusals in these records.
    """

    records: int
    rows: int


def store_again(
    stores: StreamStores,
    clock: Clock,
    since: int,
    is_over: Callable[[], bool] = lambda: False,
    window_hits: int = _WINDOW_HITS,
) -> StoredAgain:
    """Store again the effects of all records from the log time `since` to the committed positions. Idempotent.

    Args:
        stores: the live stream's stores.
        clock: passed to the erasure marks, which are read before the first and after each window. A visitor may be
            erased in between, and the erasure must not be undone.
        since: log time in UTC ms, before the backup began.
        is_over: returns whether the process must stop. The caller must then begin from the start later.
        window_hits: approximate maximum of rows that are stored at once.

    Raises:
        RetryError: a store is unavailable; the caller should call again later.
    """
    erased = KnownErasures(stores.erasures, stores.directory, clock, refresh_ms=0)
    erased.refresh()
    records = rows = 0
    for partition, reached in sorted(stores.outbox.committed().items()):
        found = _since(stores, partition, since, reached.next_offset)
        for window in _windows(found, window_hits):
            if is_over():
                return StoredAgain(records, rows)
            intake = take_in(window, erased.visitors)
            store_before_transaction(intake, stores.raw, stores.rejected, stores.dirty, stores.claims)
            if visitors := erased.refresh():
                take_back(stores, intake, visitors)
            records += len(window)
            rows += sum(record.record.rows for record in window)
    logger().info("stored_again", records=records, rows=rows)
    return StoredAgain(records, rows)


def _since(stores: StreamStores, partition: PartitionId, since: int, end_offset: int) -> Iterator[LoggedRecord]:
    first = stores.log_scan.offset_at(partition, since - BEFORE_MS)
    read = stores.log_scan.read(partition, first, end_offset)
    return (record for record in read if record.log_time >= since)


def _windows(records: Iterable[LoggedRecord], window_hits: int) -> Iterator[list[LoggedRecord]]:
    """Yield the records in lists of bounded size. A record with more rows is alone."""
    window: list[LoggedRecord] = []
    hits = 0
    for record in records:
        if window and hits + record.record.rows > window_hits:
            yield window
            window, hits = [], 0
        window.append(record)
        hits += record.record.rows
    if window:
        yield window
