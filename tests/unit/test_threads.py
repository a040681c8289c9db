"""Test that a failing thread first logs the failure.

After the log line, either the process ends or the thread recovers.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import grpc
import polars as pl
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from hitmesh.adapters.embedded.log import EmbeddedLog
from hitmesh.adapters.factory import open_stores
from hitmesh.model.positions import LoggedPosition, Topic
from hitmesh.model.records import Record, RecordKind
from hitmesh.runtime import lifecycle
from hitmesh.runtime.call_limits import CallPool
from hitmesh.runtime.health import Health, HealthWatch
from hitmesh.runtime.lifecycle import end_within, serve, watch_threads
from hitmesh.tools.dev.tcp_ports import HOST, any_free
from processor.__main__ import Worker
from tests.support.clock import ManualClock
from tests.support.patience import patient

PANIC = pl.exceptions.PanicException("a decoder panics")
# A program in which every write to stderr fails, as on a full disk.
_WITHOUT_ROOM = """
import sys, threading
import polars as pl
from hitmesh.runtime.logs import configure, logger
from processor.__main__ import Worker

configure("info", "processor", "node")
for number in range(1_000):
    logger().warning("a_line", number=number)

def panics():
    raise pl.exceptions.PanicException("a decoder panics")

stop = threading.Event()
worker = Worker("stream", panics, stop)
worker.thread.join()
print(worker.cause, stop.is_set())
"""


@pytest.mark.parametrize("error", [PANIC, OSError("no space"), SystemExit(0), KeyboardInterrupt()])
def test_worker_that_fails_in_any_way_stops_the_others_and_keeps_the_cause(error: BaseException) -> None:
    def fails() -> None:
        raise error

    stop = threading.Event()
    worker = Worker("stream", fails, stop)
    assert end_within([worker.thread], 60.0)
    assert stop.is_set()
    assert worker.cause is not None
    assert worker.cause.startswith(f"stream: {type(error).__name__}")


def test_no_line_of_the_log_that_cannot_be_written_ends_the_work() -> None:
    with open("/dev/full", "w") as full:  # noqa: PTH123  # a device, no file of a store
        ran = subprocess.run(
            [sys.executable, "-c", _WITHOUT_ROOM],
            stdout=subprocess.PIPE,
            stderr=full,
            text=True,
            timeout=120,
            check=False,
        )
    assert ran.stdout == "stream: PanicException: a decoder panics True\n"


@pytest.fixture
def hook() -> Iterator[None]:
    before = threading.excepthook
    yield
    threading.excepthook = before


@pytest.mark.usefixtures("hook")
def test_thread_of_a_library_that_ends_is_noted() -> None:
    def fails() -> None:
        raise PANIC

    causes = watch_threads()
    thread = threading.Thread(target=fails, name="of-a-library")
    thread.start()
    thread.join()
    assert causes == ["of-a-library ended: PanicException"]


def test_log_writer_completes_later_appends_though_callbacks_fail(tmp_path: Path) -> None:
    def fails(_: Future[LoggedPosition]) -> None:
        raise PANIC

    stores = open_stores(f"embedded:{tmp_path}", ManualClock(0))
    try:
        assert isinstance(stores.log, EmbeddedLog)
        for _ in range(3):
            stores.log.append(Topic.HITS, 0, Record(RecordKind.HEARTBEAT, b"", 0)).add_done_callback(fails)
            last = stores.log.append(Topic.HITS, 0, Record(RecordKind.HEARTBEAT, b"", 0))
            assert last.result(60.0) is not None
        stores.log.flush(60.0)
    finally:
        stores.close()


@pytest.fixture
def kept_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a test leave the garbage collector and the thread hook of this process unchanged."""
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    monkeypatch.setattr(lifecycle, "_collect_garbage_seldom", lambda: None)


@pytest.mark.usefixtures("kept_process")
@pytest.mark.parametrize(("cause", "code"), [(None, 0), ("the disk is gone", 1)])
def test_service_that_stops_reports_not_serving_while_it_drains_and_ends_with_1_after_a_failure(
    cause: str | None, code: int
) -> None:
    listen, stop = f"{HOST}:{any_free(1)[0]}", threading.Event()
    statuses: list[int] = []

    def ask() -> None:
        with grpc.insecure_channel(listen) as channel:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            for service in ("", "t.S"):
                request = health_pb2.HealthCheckRequest(service=service)
                statuses.append(stub.Check(request, timeout=patient(15)).status)
        if cause is None:
            stop.set()

    server = grpc.server(CallPool(1))
    ended = serve(server, listen=listen, services=["t.S"], stop=stop, ready=ask, drain=ask, failed=lambda: cause)
    assert ended == code
    assert statuses == [health_pb2.HealthCheckResponse.SERVING] * 2 + [health_pb2.HealthCheckResponse.NOT_SERVING] * 2


@pytest.mark.usefixtures("kept_process")
def test_no_look_at_the_health_follows_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []

    def noting(kind: type, method: str) -> None:
        called = getattr(kind, method)

        def note(*arguments: Any) -> None:
            order.append(method)
            called(*arguments)

        monkeypatch.setattr(kind, method, note)

    noting(HealthWatch, "stop")
    noting(Health, "end")
    stop = threading.Event()
    stop.set()
    assert serve(grpc.server(CallPool(1)), listen=f"{HOST}:{any_free(1)[0]}", services=["t.S"], stop=stop) == 0
    assert order == ["stop", "end"]
