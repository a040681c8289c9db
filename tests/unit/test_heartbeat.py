"""Test that heartbeats continue, whatever the log answers."""

from __future__ import annotations

from concurrent.futures import Future

import pytest

from collector.heartbeat import Heartbeat
from hitmesh.model.errors import Unavailable
from hitmesh.model.positions import LoggedPosition, Topic
from hitmesh.model.records import Record
from tests.support.clock import ManualClock
from tests.support.waiting import eventually


class FailingLog:
    """A log with two partitions. The first calls of the log's methods fail."""

    def __init__(self, *failures: Exception) -> None:
        self._failures = list(failures)
        self.appended: list[int] = []

    def _fail(self) -> None:
        if self._failures:
            raise self._failures.pop(0)

    def partitions(self, topic: Topic) -> int:
        self._fail()
        return 2

    def log_id(self, topic: Topic) -> str:
        return "hits.1"

    def append(self, topic: Topic, partition: int, record: Record) -> Future[LoggedPosition]:
        self._fail()
        self.appended.append(partition)
        return Future()

    def flush(self, timeout_s: float) -> None:
        raise AssertionError("a heartbeat waits for nothing")

    def close(self) -> None:
        raise AssertionError("a heartbeat closes no log")


@pytest.mark.parametrize("error", [Unavailable("the log does not answer"), ValueError("a bug"), OSError("no space")])
def test_heartbeats_go_on_after_any_error(error: Exception) -> None:
    log = FailingLog(*[error] * 5)
    heartbeat = Heartbeat(log, ManualClock(0), "collector-0", pause_s=0.01)
    heartbeat.start()
    eventually(lambda: {0, 1} <= set(log.appended), "every partition has a heartbeat", 20.0)
    heartbeat.stop()
