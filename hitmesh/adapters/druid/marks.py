"""How far Druid has taken in what the stream committed: marks behind rows, seen in both data sources (decision A12).

Decides when a mark counts: a while after it was first seen in both, since a question may see the mark of a batch before
a late row that opens an older segment. Marks are looked for by a thread of its own, so that asking costs nothing.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, Final

from hitmesh.adapters.druid.client import DruidClient
from hitmesh.adapters.druid.columns import MARK, MARK_LOG_TIME, MARK_OFFSET
from hitmesh.adapters.druid.question import iso
from hitmesh.adapters.druid.rows import mark_of
from hitmesh.adapters.kafka.catalogue import Catalogue
from hitmesh.adapters.servers import Servers
from hitmesh.cells import CELL_MS
from hitmesh.errors import HitmeshError
from hitmesh.logs import logger
from hitmesh.ports import PartitionId, PartitionProgress, Topic
from hitmesh.rollup_rows import RowSource
from hitmesh.zones import DAY_MS

_LONGEST_PAUSE_S: Final = 1.0
_START: Final = PartitionProgress(0, 0)
_EVER: Final = "1970-01-01/2100-01-01"
# A partition without hits has no mark; all days are looked through for it only so often.
_SEARCH_EVERY_S: Final = 10.0
_DAYS_AHEAD: Final = 1  # the log's clock may be ahead of ours
_MAX_DAYS: Final = 32

Seen = Mapping[PartitionId, PartitionProgress]


class Marks:
    """The marks of a mesh. Thread-safe; looks for them once somebody asked.

    Args:
        servers: names, and how long a mark waits.
        client: of Druid.
        catalogue: which partitions are declared.
    """

    def __init__(self, servers: Servers, client: DruidClient, catalogue: Catalogue) -> None:
        self._servers = servers
        self._client = client
        self._catalogue = catalogue
        self._margin_s = servers.mark_margin_ms / 1_000
        self._lock = threading.Lock()
        self._waiting: deque[tuple[float, Seen]] = deque()
        self._counted: Seen = {}
        self._searched_s = float("-inf")
        self._look_lock = threading.Lock()
        self._looked_s = float("-inf")
        self._looked: Seen | HitmeshError = {}
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def through(self) -> Seen:
        """Returns the marks that count, of every declared partition of hits; (0, 0) where none does."""
        self._start()
        declared = self._catalogue.partition_ids(Topic.HITS)
        with self._lock:
            counted = self._counted
        return {partition: counted.get(partition, _START) for partition in declared}

    def now(self) -> Seen:
        """Returns the marks that both data sources show, by partition of hits, at some moment after this was called.

        Whoever asks at the same time is answered by the same look.

        Raises:
            HitmeshError: Druid does not answer.
        """
        asked_s = time.monotonic()
        with self._look_lock:
            if self._looked_s < asked_s:
                self._looked_s, self._looked = time.monotonic(), self._seen_or_not()
            looked = self._looked
        if isinstance(looked, HitmeshError):
            raise looked
        return looked

    def close(self) -> None:
        """Looks no more. A second call changes nothing."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _seen_or_not(self) -> Seen | HitmeshError:
        try:
            return self._seen()
        except HitmeshError as error:
            return error

    def _seen(self) -> Seen:
        declared = self._catalogue.partition_ids(Topic.HITS)
        intervals = self._intervals(declared)
        found = [self._of(source, intervals) for source in RowSource]
        return {
            partition: min((one[name] for one in found), key=lambda done: done.next_offset)
            for partition in declared
            if all((name := mark_of(partition)) in one for one in found)
        }

    def _of(self, source: RowSource, intervals: Sequence[str]) -> dict[str, PartitionProgress]:
        rows = self._client.query(_query(self._servers.data_source(source), intervals))
        return {mark: PartitionProgress(offset, log_time) for mark, offset, log_time in rows if mark is not None}

    def _intervals(self, declared: Sequence[PartitionId]) -> list[str]:
        """Returns where marks are that matter: those known are not looked for again.

        A mark has the time at which its day begins, so a look passes over all rows of the rest of the day.
        """
        with self._lock:
            counted = self._counted
        known = [counted[one] for one in declared if one in counted]
        now_s = time.monotonic()
        if not known or (len(known) < len(declared) and now_s - self._searched_s >= _SEARCH_EVERY_S):
            self._searched_s = now_s
            return [_EVER]
        first_day = min(done.log_time for done in known) // DAY_MS
        end_day = int(time.time() * 1_000) // DAY_MS + _DAYS_AHEAD + 1
        if end_day - first_day > _MAX_DAYS:
            return [f"{iso(first_day * DAY_MS)}/2100-01-01"]
        return [f"{iso(day * DAY_MS)}/{iso(day * DAY_MS + CELL_MS)}" for day in range(first_day, end_day)]

    def _start(self) -> None:
        with self._lock:
            if self._thread is None and not self._stop.is_set():
                self._thread = threading.Thread(target=self._look, name="druid-marks", daemon=True)
                self._thread.start()

    def _look(self) -> None:
        pause_s = max(0.05, min(_LONGEST_PAUSE_S, self._margin_s / 4))
        while not self._stop.is_set():
            try:
                self._note(time.monotonic(), self.now())
            except HitmeshError as error:
                logger().warning("marks_not_seen", reason=error.reason, message=error.message)
                self._stop.wait(_LONGEST_PAUSE_S)
            self._stop.wait(pause_s)

    def _note(self, at_s: float, seen: Seen) -> None:
        """Counts what was seen long enough ago and is still there: a server that died takes rows and marks with it."""
        with self._lock:
            self._waiting.append((at_s, seen))
            while self._waiting and self._waiting[0][0] <= at_s - self._margin_s:
                _, old = self._waiting.popleft()
                self._counted = {**self._counted, **old}
            self._counted = {
                partition: min(done, seen.get(partition, _START), key=lambda one: one.next_offset)
                for partition, done in self._counted.items()
            }


def _query(data_source: str, intervals: Sequence[str]) -> dict[str, Any]:
    return {
        "queryType": "groupBy",
        "dataSource": data_source,
        "granularity": "all",
        "intervals": list(intervals),
        "dimensions": [MARK],
        "filter": {"type": "not", "field": {"type": "null", "column": MARK}},
        "aggregations": [{"type": "longMax", "name": name, "fieldName": name} for name in (MARK_OFFSET, MARK_LOG_TIME)],
    }
