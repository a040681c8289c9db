"""Appends heartbeats, which are empty records.

Without heartbeats, an idle partition would stop the watermark (rule L1).
"""

from __future__ import annotations

import threading

from collector.records import heartbeat_record
from hitmesh.model.errors import RetryError
from hitmesh.model.positions import Topic
from hitmesh.ports import Clock, EventLog
from hitmesh.runtime.logs import logger, traceback_of
from hitmesh.runtime.vitals import Pulse


class Heartbeat:
    """The thread that appends heartbeats between `start` and `stop`."""

    def __init__(self, log: EventLog, clock: Clock, node: str, pause_s: float, pulse: Pulse | None = None) -> None:
        self._log = log
        self._clock = clock
        self._node = node
        self._pause_s = pause_s
        self._pulse = pulse or Pulse("heartbeats")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Start the thread; the first heartbeats are appended at once."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()
        self._thread.join()

    def failed(self) -> str | None:
        """Return the reason why the thread ended unexpectedly. Return None while the thread runs, and after `stop`."""
        return None if self._thread.is_alive() or self._stop.is_set() else "the thread that appends heartbeats ended"

    def _partitions(self) -> range:
        try:
            return range(self._log.partitions(Topic.HITS))
        except BaseException as error:  # a Rust panic is a BaseException, not an Exception
            logger().error("heartbeat_failed", traceback=traceback_of(error))
            return range(0)

    def _run(self) -> None:
        while True:
            for partition in self._partitions():
                try:
                    self._log.append(Topic.HITS, partition, heartbeat_record(self._node, self._clock.now()))
                except RetryError as error:
                    logger().warning("heartbeat_not_appended", partition=partition, cause=error.message)
                except BaseException as error:
                    # Without heartbeats, the watermark of every idle partition stops. The heartbeat thread must
                    # therefore continue after an error.
                    logger().error("heartbeat_failed", partition=partition, traceback=traceback_of(error))
            self._pulse.work()
            if self._stop.wait(self._pause_s):
                return
