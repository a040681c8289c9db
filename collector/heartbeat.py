"""Heartbeats: an empty record in every partition, so that idle partitions do not hold the watermark back (rule L1)."""

from __future__ import annotations

import threading

from collector.records import heartbeat_record
from hitmesh.errors import RetryError
from hitmesh.logs import logger
from hitmesh.ports import Clock, EventLog, Topic


class Heartbeat:
    """Appends heartbeats until stopped."""

    def __init__(self, log: EventLog, clock: Clock, node: str, pause_s: float) -> None:
        self._log = log
        self._clock = clock
        self._node = node
        self._pause_s = pause_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Starts the thread; the first heartbeats go out at once."""
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            for partition in range(self._log.partitions(Topic.HITS)):
                try:
                    self._log.append(Topic.HITS, partition, heartbeat_record(self._node, self._clock.now()))
                except RetryError as error:
                    logger().warning("heartbeat_not_appended", partition=partition, cause=error.message)
            if self._stop.wait(self._pause_s):
                return
