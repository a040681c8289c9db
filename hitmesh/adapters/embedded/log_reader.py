"""Read records from log.db on one machine, and store positions in raw.db (step 4 of the journey).

Positions are stored in raw.db, beside the data that the processor derives from the records. Only the processor writes
raw.db. Another process appends the records, so a reader polls log.db. If the file is unchanged, a poll costs one cheap
PRAGMA.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from hitmesh.adapters.embedded.catalogue import LogCatalogue
from hitmesh.adapters.embedded.reader_positions import ReaderPositions
from hitmesh.adapters.embedded.sqlite import Database, Transaction, Watch
from hitmesh.adapters.shared.bits import to_unsigned
from hitmesh.model.positions import PartitionId, PartitionProgress, Position, Topic
from hitmesh.model.records import LoggedRecord, Record, RecordKind

_SHORTEST_WAIT_S: Final = 0.005
_LONGEST_WAIT_S: Final = 0.05
# Maximum number of records that a poll examines per partition. A limit on rows would not be enough, because heartbeat
# records have no rows.
_MAX_RECORDS: Final = 250
_START: Final = PartitionProgress(0, 0)


class EmbeddedLogReader:
    """Implements the port LogReader on log.db."""

    def __init__(
        self,
        database: Database,
        catalogue: LogCatalogue,
        committed: ReaderPositions,
        topic: Topic,
        group: str,
    ) -> None:
        self._database = database
        self._committed = committed
        self._topic = topic
        self._group = group
        self._partitions = catalogue.partition_ids(topic)
        self._next = dict(self.committed())
        self._watch: Watch | None = None
        self._more = True
        self._woken = threading.Event()

    def poll(self, max_hits: int, timeout_s: float) -> list[LoggedRecord]:
        """Wait for a record; return the next records in order of log time. A partition's records stay in offset order.

        The records have at most `max_hits` rows in total, unless the first record alone has more. The result is empty
        when no record arrived within `timeout_s`.
        """
        if self._watch is None:
            self._watch = self._database.watch()
        waited_s, wait_s = 0.0, _SHORTEST_WAIT_S
        while True:
            if self._watch.changed() or self._more:
                found = self._read(max_hits)
                self._more = bool(found)
                if found:
                    return found
            if waited_s >= timeout_s or self._woken.wait(min(wait_s, timeout_s - waited_s)):
                return []
            waited_s += wait_s
            wait_s = min(2 * wait_s, _LONGEST_WAIT_S)

    def heartbeat(self) -> None:
        """Do nothing, because no other reader shares the partitions."""

    def before_moves(self, hand_over: Callable[[], None]) -> None:
        """Ignore `hand_over`, because this reader never gives up partitions."""

    def positions(self) -> Mapping[PartitionId, PartitionProgress]:
        """Return the read position in each partition."""
        return dict(self._next)

    def committed(self) -> Mapping[PartitionId, PartitionProgress]:
        """Return the committed positions; partitions without a commit start at (0, 0)."""
        saved = self._committed.committed(self._topic, self._group)
        return {partition: saved.get(partition, _START) for partition in self._partitions}

    def commit(self, positions: Mapping[PartitionId, PartitionProgress]) -> None:
        """Commit positions durably; a position older than the committed position is ignored."""
        self._committed.commit(self._topic, self._group, positions)

    def close(self) -> None:
        """Wake a `poll` that waits, and stop watching the file. A second call changes nothing."""
        self._woken.set()
        if self._watch is not None:
            self._watch.close()

    def _read(self, max_hits: int) -> list[LoggedRecord]:
        with self._database.reading() as transaction:
            ahead = [header for partition in self._partitions for header in self._headers(transaction, partition)]
            ends = _take(ahead, max_hits)
            found = [
                record
                for partition, end in ends.items()
                for record in self._records(transaction, partition, end.next_offset)
            ]
        self._next.update(ends)
        return sorted(found, key=_log_order)

    def _headers(self, transaction: Transaction, partition: PartitionId) -> list[_Header]:
        rows = transaction.rows(
            _HeaderRow,
            """SELECT record_offset, log_time, row_count FROM records
            WHERE topic = ? AND partition_no = ? AND record_offset >= ? ORDER BY record_offset LIMIT ?""",
            (self._topic, partition.partition, self._next[partition].next_offset, _MAX_RECORDS),
        )
        return [_Header(row.log_time, partition, row.offset, row.rows) for row in rows]

    def _records(self, transaction: Transaction, partition: PartitionId, end_offset: int) -> Sequence[LoggedRecord]:
        return records_between(transaction, self._topic, partition, self._next[partition].next_offset, end_offset)


def records_between(
    transaction: Transaction, topic: Topic, partition: PartitionId, first_offset: int, end_offset: int
) -> list[LoggedRecord]:
    """Return the retained records of [first_offset, end_offset), in order."""
    rows = transaction.rows(
        _RecordRow,
        """SELECT record_offset, log_time, kind, value, row_count, min_event_time, max_event_time,
            max_collect_time, schema_version, collector, classifier_version, hits, sum64, xor64, trace
        FROM records
        WHERE topic = ? AND partition_no = ? AND record_offset >= ? AND record_offset < ?
        ORDER BY record_offset""",
        (topic, partition.partition, first_offset, end_offset),
    )
    return [
        LoggedRecord(
            Position(partition.log, partition.partition, row.offset),
            row.log_time,
            Record(RecordKind(row.kind), *row[3:-3], to_unsigned(row.sum64), to_unsigned(row.xor64), row.trace),
        )
        for row in rows
    ]


@dataclass(frozen=True, slots=True, order=True)
class _Header:
    log_time: int
    partition: PartitionId
    offset: int
    rows: int


class _HeaderRow(NamedTuple):
    offset: int
    log_time: int
    rows: int


class _RecordRow(NamedTuple):
    offset: int
    log_time: int
    kind: int
    value: bytes
    rows: int
    min_event_time: int
    max_event_time: int
    max_collect_time: int
    schema_version: int
    collector: str
    classifier_version: str
    hits: int | None
    sum64: int
    xor64: int
    trace: str


def _take(ahead: list[_Header], max_hits: int) -> dict[PartitionId, PartitionProgress]:
    """Return, for each partition, the position at which the next read ends.

    Older log times come first, so no partition runs ahead.
    """
    ends: dict[PartitionId, PartitionProgress] = {}
    hits = 0
    for header in sorted(ahead):
        hits += header.rows
        if ends and hits > max_hits:
            break
        ends[header.partition] = PartitionProgress(header.offset + 1, header.log_time)
    return ends


def _log_order(logged: LoggedRecord) -> tuple[int, Position]:
    return logged.log_time, logged.position
