"""Make the stores of a stream in memory."""

from __future__ import annotations

import threading

from hitmesh.adapters.memory.log import MemoryLog
from hitmesh.adapters.memory.log_reader import MemoryLogReader
from hitmesh.adapters.memory.outbox import MemoryFence, MemoryOutbox
from hitmesh.adapters.memory.progress import MemoryProgress
from hitmesh.adapters.memory.rows import MemoryRows
from hitmesh.adapters.memory.series import MemorySeriesStore
from hitmesh.adapters.memory.states import MemoryStateStore
from hitmesh.adapters.shared.catalogue import shadow_group
from hitmesh.model.positions import Topic
from hitmesh.ports import StreamStore


class MemoryOneStream:
    """Implements the port OneStream.

    Args:
        log: the log.
        rows: the rows of all streams.
        series: the partials of all streams.
        group: the processor's consumer group.
    """

    def __init__(self, log: MemoryLog, rows: MemoryRows, series: MemorySeriesStore, group: str) -> None:
        self._log = log
        self._rows = rows
        self._series = series
        self._group = group
        self._lock = threading.Lock()
        self._fences: dict[int, MemoryFence] = {}
        self._states: dict[int, MemoryStateStore] = {}

    def __call__(self, generation: int, *, is_shadow: bool) -> StreamStore:
        """Return the stores for the stream with this generation."""
        group = shadow_group(generation) if is_shadow else self._group
        with self._lock:
            fence = self._fences.setdefault(generation, MemoryFence(generation))
            states = self._states.setdefault(generation, MemoryStateStore())
        outbox = MemoryOutbox(self._log, self._rows, group, fence)
        series, progress = self._series.of_stream(generation), MemoryProgress(self._log, group)

        def forget() -> None:
            states.forget()
            series.forget()

        return StreamStore(
            log_reader=lambda topic: MemoryLogReader(self._log, topic, group),
            outbox=outbox,
            beginning=outbox,  # the same outbox, because a single process writes the stream
            series=series,
            states=states,
            progress=progress,
            ingested_through=lambda: progress.progress(Topic.HITS),
            forget_positions=lambda: self._log.forget(shadow_group(generation)),
            forget=forget,
        )
