"""Track, with progress marks, how far both data sources have ingested the stream's committed rows (architecture A12).

A progress mark is sent after its rows. A mark does not count until the mark has been visible in both data sources for
the time `mark_margin_ms`. Without `mark_margin_ms`, a mark could count while a late row of the same transaction is
still invisible. A late row can become visible after its mark, because Druid may have to open a segment for an older
time. A separate thread polls Druid for marks, so that callers of `through` never wait for a query.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Final

from pydruid.utils.aggregators import longmax

from hitmesh.adapters.druid.client import DruidClient
from hitmesh.adapters.druid.intervals import mark_intervals
from hitmesh.adapters.druid.native import Native, group_by, is_null
from hitmesh.adapters.servers import Servers
from hitmesh.adapters.shared.catalogue import Catalogue, log_of_stream
from hitmesh.adapters.shared.druid_columns import MARK, MARK_LOG_TIME, MARK_OFFSET
from hitmesh.adapters.shared.druid_rows import mark_of
from hitmesh.model.errors import HitmeshError
from hitmesh.model.positions import PartitionId, PartitionProgress, Topic
from hitmesh.model.rows.rollup_rows import RowSource
from hitmesh.model.zones import DAY_MS
from hitmesh.runtime.logs import logger, traceback_of

_LONGEST_PAUSE_S: Final = 1.0
_START: Final = PartitionProgress(0, 0)
_EVER: Final = "1970-01-01/2100-01-01"
# Seconds between two searches through all days. The search through all days is repeated while any partition has no
# counted mark. A partition without hits never has a counted mark.
_SEARCH_EVERY_S: Final = 10.0
IDLE_S: Final = 3_600.0
"""If nobody calls `through` for this number of seconds, the search for a shadow stream's marks ends.

After the shadow stream was removed, nobody calls `through` any more.
"""

Seen = Mapping[PartitionId, PartitionProgress]


class Marks:
    """Finds the mesh's progress marks in Druid. Thread-safe; the search starts with the first call of `through`.

    Args:
        servers: the names of the data sources, and `mark_margin_ms`.
        client: the Druid client.
        catalogue: the source of declared partitions.
        shadow: the generation of the shadow stream whose marks are tracked; 0 tracks the marks of the processor.
        idle_s: if nobody calls `through` for this number of seconds, the search ends; the next call starts the search
            again.
    """

    def __init__(
        self,
        servers: Servers,
        client: DruidClient,
        catalogue: Catalogue,
        shadow: int = 0,
        *,
        idle_s: float = float("inf"),
    ) -> None:
        self._servers = servers
        self._client = client
        self._catalogue = catalogue
        self._shadow = shadow
        self._margin_s = servers.mark_margin_ms / 1_000
        self._lock = threading.Lock()
        self._waiting: deque[tuple[float, Seen]] = deque()
        self._counted: Seen = {}
        self._searched_s = float("-inf")
        self._idle_s = idle_s
        self._called_s = time.monotonic()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def through(self) -> Seen:
        """Return the newest counted mark of every declared partition of hits; (0, 0) if no mark is counted."""
        self._start()
        declared = self._catalogue.partition_ids(Topic.HITS)
        with self._lock:
            counted = self._counted
        return {partition: counted.get(partition, _START) for partition in declared}

    @property
    def is_searching(self) -> bool:
        """Whether the search for marks is running."""
        return self._thread is not None

    def close(self) -> None:
        """Stop the search. Idempotent."""
        self._stop.set()
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.join()

    def _seen(self) -> Seen:
        declared = self._catalogue.partition_ids(Topic.HITS)
        intervals = self._intervals(declared)
        found = [self._of(source, intervals) for source in RowSource]
        return {
            partition: min((seen[name] for seen in found), key=lambda done: done.next_offset)
            for partition in declared
            if all((name := self._name(partition)) in seen for seen in found)
        }

    def _name(self, partition: PartitionId) -> str:
        return mark_of(PartitionId(log_of_stream(partition.log, self._shadow), partition.partition))

    def _of(self, source: RowSource, intervals: Sequence[str]) -> dict[str, PartitionProgress]:
        rows = self._client.query(marks_query(self._servers.data_source(source), intervals).json())
        return {mark: PartitionProgress(offset, log_time) for mark, offset, log_time in rows if mark is not None}

    def _intervals(self, declared: Sequence[PartitionId]) -> list[str]:
        """Return the intervals to search.

        If a partition has no counted mark, all days are searched every 10 s. All other searches cover only the days
        since the oldest counted mark.
        """
        with self._lock:
            counted = self._counted
        known = [counted[partition] for partition in declared if partition in counted]
        now_s = time.monotonic()
        if not known or (len(known) < len(declared) and now_s - self._searched_s >= _SEARCH_EVERY_S):
            self._searched_s = now_s
            return [_EVER]
        first_day = min(done.log_time for done in known) // DAY_MS
        return mark_intervals(first_day, int(time.time() * 1_000))

    def _start(self) -> None:
        with self._lock:
            self._called_s = time.monotonic()
            if self._thread is None and not self._stop.is_set():
                self._thread = threading.Thread(target=self._look, name="druid-marks", daemon=True)
                self._thread.start()

    def _look(self) -> None:
        pause_s = max(0.05, min(_LONGEST_PAUSE_S, self._margin_s / 4))
        while not self._stop.is_set() and not self._ended_idle():
            try:
                self._note(time.monotonic(), self._seen())
            except HitmeshError as error:
                logger().warning("progress_marks_not_read", reason=error.reason, message=error.message)
                self._stop.wait(_LONGEST_PAUSE_S)
            except Exception as error:  # if this thread ended, no report would become fresher
                logger().error("progress_marks_not_read", traceback=traceback_of(error))
                self._stop.wait(_LONGEST_PAUSE_S)
            self._stop.wait(pause_s)

    def _ended_idle(self) -> bool:
        """End the search if `through` was not called for `idle_s` seconds; return whether the search ended."""
        with self._lock:
            is_idle = time.monotonic() - self._called_s > self._idle_s
            if is_idle:
                self._waiting.clear()
                self._counted, self._thread = {}, None
            return is_idle

    def _note(self, at_s: float, seen: Seen) -> None:
        """Count the marks that were visible `mark_margin_ms` ago, and record the marks that are visible now.

        If a Druid server dies, its rows and marks disappear together. If a counted mark has disappeared, the mark that
        is now visible for the partition therefore counts in its place.
        """
        with self._lock:
            self._waiting.append((at_s, seen))
            while self._waiting and self._waiting[0][0] <= at_s - self._margin_s:
                _, old = self._waiting.popleft()
                self._counted = {**self._counted, **old}
            self._counted = {
                partition: min(done, seen.get(partition, _START), key=lambda progress: progress.next_offset)
                for partition, done in self._counted.items()
            }


def marks_query(data_source: str, intervals: Sequence[str]) -> Native:
    """Return the query for the newest mark of each partition: mark, offset and log time, in this order."""
    return group_by(
        datasource=data_source,
        intervals=list(intervals),
        dimensions=[MARK],
        filter=~is_null(MARK),
        aggregations={name: longmax(name) for name in (MARK_OFFSET, MARK_LOG_TIME)},
    )
