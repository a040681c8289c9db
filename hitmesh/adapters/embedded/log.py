"""Store the log on one machine, as a table with group commit (step 3 of the journey).

A writer thread commits all waiting records in a single transaction, so that all waiting appends share a disk sync. The
thread then resolves the futures of these records. Several processes may append, so each transaction reads the partition
ends again.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from hitmesh.adapters.embedded.catalogue import LogCatalogue
from hitmesh.adapters.embedded.reader_positions import ReaderPositions
from hitmesh.adapters.embedded.sqlite import Database, Transaction
from hitmesh.adapters.shared.bits import to_signed
from hitmesh.adapters.shared.log_time import log_time_of
from hitmesh.model.errors import DiskFull, LogFull, RetryError, Unavailable
from hitmesh.model.positions import LoggedPosition, PartitionId, Position, Topic
from hitmesh.model.records import Record
from hitmesh.ports import Clock
from hitmesh.runtime.logs import logger, traceback_of

MAX_QUEUED_BYTES: Final = 32 << 20
MAX_QUEUED_RECORDS: Final = 10_000
MAX_VALUE_BYTES: Final = 64 << 20
_FULL_RETRY_S: Final = 0.25
_DISK_RETRY_S: Final = 5.0
_CLOSE_TIMEOUT_S: Final = 30.0
_TRIM_CHUNK_RECORDS: Final = 500

_INSERT_RECORD: Final = f"INSERT INTO records VALUES ({', '.join('?' * 17)})"


@dataclass(slots=True)
class _Waiting:
    """A record that waits for its commit, with the future that the commit resolves."""

    topic: Topic
    partition: int
    record: Record
    future: Future[LoggedPosition] = field(default_factory=Future)


class EmbeddedLog:
    """Implements the port EventLog in log.db.

    Args:
        database: log.db.
        catalogue: the log of each topic.
        committed: the committed positions of each consumer group; only `trim` uses these.
        clock: source of append times.
        max_queued_bytes: maximum total size of values that wait for a commit; beyond it, `append` raises LogFull.
        max_queued_records: maximum number of records that wait for a commit; beyond it, `append` raises LogFull.
    """

    def __init__(
        self,
        database: Database,
        catalogue: LogCatalogue,
        committed: ReaderPositions,
        clock: Clock,
        *,
        max_queued_bytes: int = MAX_QUEUED_BYTES,
        max_queued_records: int = MAX_QUEUED_RECORDS,
    ) -> None:
        self._database = database
        self._catalogue = catalogue
        self._committed = committed
        self._clock = clock
        self._max_queued_bytes = max_queued_bytes
        self._max_queued_records = max_queued_records
        self._changed = threading.Condition()
        self._queue: list[_Waiting] = []
        self._queued_bytes = 0
        self._appended = 0
        self._resolved = 0
        self._closing = False
        self._writer: threading.Thread | None = None

    def partitions(self, topic: Topic) -> int:
        """Return the topic's number of partitions."""
        return self._catalogue.of(topic).partitions

    def log_id(self, topic: Topic) -> str:
        """Return the topic's log id."""
        return self._catalogue.of(topic).log

    def append(self, topic: Topic, partition: int, record: Record) -> Future[LoggedPosition]:
        """Queue a record; the future resolves on the writer's thread when the record is on disk.

        Raises:
            LogFull: too many records or bytes already wait for a commit.
            ValueError: no such partition, or a value above 64 MiB.
        """
        if not 0 <= partition < self.partitions(topic):
            raise ValueError(f"{topic} has no partition {partition}")
        if len(record.value) > MAX_VALUE_BYTES:
            raise ValueError(f"the value has {len(record.value)} bytes; the limit is {MAX_VALUE_BYTES}")
        waiting = _Waiting(topic, partition, record)
        with self._changed:
            if self._closing:
                raise Unavailable("the log is closed, because the process is stopping: try again")
            self._refuse_when_full(len(record.value))
            self._queue.append(waiting)
            self._queued_bytes += len(record.value)
            self._appended += 1
            self._start_writer()
            self._changed.notify_all()
        return waiting.future

    def flush(self, timeout_s: float) -> None:
        """Block until the futures of all appends so far are done.

        Raises:
            RetryError: some futures are not done after `timeout_s`.
        """
        with self._changed:
            target = self._appended
            if not self._changed.wait_for(lambda: self._resolved >= target, timeout_s):
                raise RetryError(
                    f"{target - self._resolved} records still wait for log.db after {timeout_s} s",
                    records=target - self._resolved,
                    timeout_s=timeout_s,
                )

    def close(self) -> None:
        """Commit all waiting records and end the writer thread. A second call changes nothing."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._writer is not None:
            self._writer.join(_CLOSE_TIMEOUT_S)

    def trim(self, older_than_ms: int) -> int:
        """Delete records that every consumer group has committed and whose log time is below `older_than_ms`.

        `older_than_ms` is an instant in UTC ms. A topic keeps all records if no consumer group has committed a
        position. Offsets are never reused: the next record continues at the partition's end. Returns the number of
        deleted records.
        """
        deleted = 0
        for topic in Topic:
            committed = self._committed.committed_by_all(topic)
            for partition in self._catalogue.partition_ids(topic):
                end_offset = committed.get(partition, 0)
                while (count := self._trim_some(topic, partition, end_offset, older_than_ms)) > 0:
                    deleted += count
        return deleted

    def _trim_some(self, topic: Topic, partition: PartitionId, end_offset: int, older_than_ms: int) -> int:
        """Delete a limited number of records, so that appends never wait long; return the number of deleted records."""
        with self._database.writing() as transaction:
            return transaction.run(
                """DELETE FROM records WHERE rowid IN (
                    SELECT rowid FROM records WHERE topic = ? AND partition_no = ? AND record_offset < ?
                    AND log_time < ? ORDER BY record_offset LIMIT ?)""",
                (topic, partition.partition, end_offset, older_than_ms, _TRIM_CHUNK_RECORDS),
            )

    def _refuse_when_full(self, size: int) -> None:
        if len(self._queue) >= self._max_queued_records or (
            self._queue and self._queued_bytes + size > self._max_queued_bytes
        ):
            raise LogFull(
                f"the log has no room for a record of {size} bytes: {len(self._queue)} records of {self._queued_bytes} "
                f"bytes wait to be written, and the limits are {self._max_queued_records} records and "
                f"{self._max_queued_bytes} bytes; send the batch again",
                retry_after_s=_FULL_RETRY_S,
                records=len(self._queue),
                size=size,
                queued=self._queued_bytes,
                max_records=self._max_queued_records,
                limit=self._max_queued_bytes,
            )

    def _start_writer(self) -> None:
        if self._writer is None:
            self._writer = threading.Thread(target=self._write_until_closed, name="log-writer", daemon=True)
            self._writer.start()

    def _write_until_closed(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._queue or self._closing)
                if not self._queue:
                    return
                taken, self._queue, self._queued_bytes = self._queue, [], 0
            self._settle([waiting for waiting in taken if waiting.future.set_running_or_notify_cancel()])
            with self._changed:
                self._resolved += len(taken)
                self._changed.notify_all()

    def _settle(self, taken: list[_Waiting]) -> None:
        """Commit records and resolve their futures. All futures get positions, or all futures get the same error."""
        try:
            positions = self._commit(taken)
        except DiskFull as error:
            full = LogFull(error.message, retry_after_s=_DISK_RETRY_S)
            full.__cause__ = error
            _fail(taken, full)
        except BaseException as error:
            # Every error is caught, because the futures must be resolved and the writer thread must continue.
            _fail(taken, error)
        else:
            for waiting, position in zip(taken, positions, strict=True):
                _resolve(waiting.future, position)

    def _commit(self, taken: list[_Waiting]) -> list[LoggedPosition]:
        positions: list[LoggedPosition] = []
        rows: list[tuple[str | int | bytes | None, ...]] = []
        with self._database.writing() as transaction:
            ends = _ends(transaction)
            now = self._clock.now()
            for waiting in taken:
                end = ends[waiting.topic, waiting.partition]
                log_time = log_time_of(waiting.record, now, end.log_time)
                ends[waiting.topic, waiting.partition] = _End(
                    waiting.topic, waiting.partition, end.next_offset + 1, log_time
                )
                position = Position(self.log_id(waiting.topic), waiting.partition, end.next_offset)
                positions.append(LoggedPosition(position, log_time))
                rows.append(_row(waiting, end.next_offset, log_time))
            transaction.run_many(_INSERT_RECORD, rows)
            transaction.run_many("REPLACE INTO ends VALUES (?, ?, ?, ?)", ends.values())
        return positions


class _End(NamedTuple):
    topic: str
    partition: int
    next_offset: int
    log_time: int


def _ends(transaction: Transaction) -> dict[tuple[str, int], _End]:
    rows = transaction.rows(_End, "SELECT topic, partition_no, next_offset, log_time FROM ends")
    return {(end.topic, end.partition): end for end in rows}


def _row(waiting: _Waiting, offset: int, log_time: int) -> tuple[str | int | bytes | None, ...]:
    record = waiting.record
    return (
        waiting.topic,
        waiting.partition,
        offset,
        log_time,
        int(record.kind),
        record.rows,
        record.min_event_time,
        record.max_event_time,
        record.max_collect_time,
        record.schema_version,
        record.collector,
        record.classifier_version,
        record.value,
        record.hits,
        to_signed(record.sum64),
        to_signed(record.xor64),
        record.trace,
    )


def _fail(taken: list[_Waiting], error: BaseException) -> None:
    for waiting in taken:
        _resolve(waiting.future, error)


def _resolve(future: Future[LoggedPosition], outcome: LoggedPosition | BaseException) -> None:
    """Resolve a future; an error raised by a callback is logged, so that the other futures are still resolved."""
    try:
        if isinstance(outcome, BaseException):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)
    except BaseException as error:
        logger().error("append_callback_failed", error=type(error).__name__, traceback=traceback_of(error))
