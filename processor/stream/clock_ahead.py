"""Warns about partitions whose log time is ahead of the current time (journey step 4, rules L1 and T4).

Log time never goes back. If a collector whose clock is ahead writes a record, log time stands still until the current
time has caught up. While log time stands still, hits with correct event times may count as late. Late hits enter visits
only when their day is settled. This module decides which partitions are logged and how often, and changes no record.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from hitmesh.model.closing import visits_wait_until
from hitmesh.model.days import iso_instant
from hitmesh.model.limits import AHEAD_TOLERANCE_MS
from hitmesh.model.positions import PartitionId
from hitmesh.model.records import LoggedRecord
from hitmesh.ports import Clock
from hitmesh.runtime.logs import Seldom, logger

_COMPLAIN_EVERY_S: Final = 60.0


class ClockAhead:
    """Logs `log_time_ahead`.

    If the lead was caused by a record that arrived while this process ran, the log line names the record.

    Args:
        clock: gives the current time.
        tolerance_ms: acceptable lead over the current time.
        seldom: limits how often a partition is logged.
    """

    def __init__(self, clock: Clock, tolerance_ms: int = AHEAD_TOLERANCE_MS, seldom: Seldom | None = None) -> None:
        self._clock = clock
        self._tolerance_ms = tolerance_ms
        self._seldom = seldom or Seldom(_COMPLAIN_EVERY_S)
        self._causes: dict[PartitionId, str] = {}

    def passed(self, records: Sequence[LoggedRecord], reached: Mapping[PartitionId, int]) -> Sequence[LoggedRecord]:
        """Return the records unchanged. Log the partitions whose log time is ahead of the current time.

        Args:
            records: the records, in log order per partition. Each record's log time is the running maximum in its
                partition.
            reached: each partition's log time before these records.
        """
        now = self._clock.now()
        last: dict[PartitionId, LoggedRecord] = {}
        for record in records:
            partition = PartitionId(record.position.log, record.position.partition)
            before = last[partition].log_time if partition in last else reached.get(partition, 0)
            if record.log_time - now > self._tolerance_ms and record.log_time > before:
                self._causes[partition] = _cause(record)
            last[partition] = record
        for partition, record in last.items():
            if record.log_time - now > self._tolerance_ms:
                self._log(partition, record, now)
            else:
                self._causes.pop(partition, None)
        return records

    def _log(self, partition: PartitionId, record: LoggedRecord, now: int) -> None:
        lines = self._seldom.due(f"{partition.log}/{partition.partition}")
        if lines:
            logger().warning(
                "log_time_ahead",
                partition=f"{partition.log}/{partition.partition}",
                log_time=iso_instant(record.log_time),
                ahead_s=(record.log_time - now) // 1_000,
                cause=self._causes.get(partition, f"a record before offset {record.position.offset}"),
                visits_wait_until=iso_instant(visits_wait_until(record.log_time)),
                windows=lines,
            )


def _cause(record: LoggedRecord) -> str:
    collector = f"collector {record.record.collector}" if record.record.collector else "a collector without a name"
    collected = record.record.max_collect_time
    collected_at = f"; collected at {iso_instant(collected)}" if collected else ""
    return f"the record at offset {record.position.offset} of {collector}{collected_at}"
