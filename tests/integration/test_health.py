"""Test the health service of a process over gRPC and HTTP: names, answers beside full queues, and one log line."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import grpc
import pytest
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc

from hitmesh.model.errors import Unavailable
from hitmesh.runtime import lifecycle
from hitmesh.runtime.call_limits import CallPool
from hitmesh.runtime.health import LIVE, READY, STARTED, health_page
from hitmesh.runtime.lifecycle import serve
from hitmesh.runtime.store_probes import StoreProbes
from hitmesh.runtime.telemetry.exposition import open_telemetry
from hitmesh.runtime.telemetry.labels import Part
from hitmesh.runtime.vitals import VitalLimits, Vitals
from hitmesh.tools.dev.tcp_ports import HOST, any_free
from tests.support.patience import patient
from tests.support.waiting import eventually

# The smallest limits: a store may be silent for 0.2 s. A busy machine may delay the main thread for long.
SMALL = VitalLimits(stuck_after_s=60.0, silent_after_s=0.2, steady_s=0.2, dead_after_s=60.0)
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


@dataclass
class Service:
    """A process's server that runs in a thread of the test."""

    vitals: Vitals
    stub: Any
    stop: threading.Event
    causes: list[str] = field(default_factory=list)

    def status(self, name: str) -> int:
        return int(self.stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=patient(15)).status)

    def statuses(self) -> dict[str, int]:
        return {name: self.status(name) for name in ("", "t.S", LIVE, STARTED, READY)}


@pytest.fixture(autouse=True)
def kept_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the garbage collector and the thread hook of this process unchanged."""
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    monkeypatch.setattr(lifecycle, "_collect_garbage_seldom", lambda: None)


@contextmanager
def a_service(
    vitals: Vitals, drain: Callable[[], None] = lambda: None, pool: CallPool | None = None
) -> Iterator[Service]:
    listen, began = f"{HOST}:{any_free(1)[0]}", threading.Event()
    server = grpc.server(pool or CallPool(1))
    with grpc.insecure_channel(listen) as channel, ThreadPoolExecutor(1) as runner:
        service = Service(vitals, health_pb2_grpc.HealthStub(channel), threading.Event())
        ended = runner.submit(
            serve,
            server,
            listen=listen,
            services=["t.S"],
            stop=service.stop,
            ready=began.set,
            drain=drain,
            failed=lambda: next(iter(service.causes), None),
            vitals=vitals,
        )
        try:
            assert began.wait(patient(15))
            yield service
        finally:
            service.stop.set()
            ended.result(patient(15))


def test_every_name_is_served_once_the_process_has_begun() -> None:
    with a_service(Vitals(SMALL)) as service:
        assert set(service.statuses().values()) == {SERVING}
        with pytest.raises(grpc.RpcError) as refused:
            service.status("t.Other")
        assert refused.value.code() is grpc.StatusCode.NOT_FOUND


def test_a_store_that_fails_is_in_one_log_line_and_leaves_the_process_live() -> None:
    # A busy machine may delay a probe, so the store may be silent for longer than in other tests.
    vitals, away = Vitals(replace(SMALL, silent_after_s=2.0)), threading.Event()

    def ask() -> None:
        if away.is_set():
            raise Unavailable("no broker listens")

    probes = StoreProbes({"Kafka": ask}, vitals, every_s=0.02)
    with structlog.testing.capture_logs() as lines, a_service(vitals) as service:
        probes.start()
        eventually(lambda: service.status(READY) == SERVING, "the store has answered")
        eventually(lambda: logged(lines, "ready"), "the log says that the process is ready")
        away.set()
        eventually(lambda: service.status("") == NOT_SERVING, "the store is away")
        for _ in range(20):
            assert service.statuses() == {
                "": NOT_SERVING, "t.S": NOT_SERVING, READY: NOT_SERVING, LIVE: SERVING, STARTED: SERVING
            }  # fmt: skip
        eventually(lambda: logged(lines, "not_ready"), "the log says why")
        away.clear()
        eventually(lambda: service.status("") == SERVING, "the store is back")
        eventually(lambda: len(logged(lines, "ready")) == 2, "the log says that the process is ready again")
        probes.stop()
    (line,) = logged(lines, "not_ready")
    assert line["causes"] == ["Kafka: no broker listens"]


def logged(lines: list[Any], event: str) -> list[Any]:
    return [line for line in lines if line["event"] == event]


def test_a_store_that_never_answers_blocks_no_check() -> None:
    vitals, released = Vitals(SMALL), threading.Event()

    def ask() -> None:
        released.wait(patient(30))

    probes = StoreProbes({"Kafka": ask}, vitals, every_s=0.02)
    with a_service(vitals) as service:
        probes.start()
        eventually(lambda: vitals.condition().causes == ("Kafka: no answer for 0.2 s",), "the store is silent")
        assert service.status(READY) == NOT_SERVING
        assert service.status(LIVE) == SERVING
        released.set()
        eventually(lambda: service.status(READY) == SERVING, "the store has answered")
        probes.stop()


def test_a_stuck_loop_takes_the_process_out_and_later_ends_its_life() -> None:
    vitals = Vitals(VitalLimits(stuck_after_s=0.1, dead_after_s=0.5))
    loop = vitals.loop("the stream")
    loop.work()
    with a_service(vitals) as service:
        eventually(lambda: service.status("") == NOT_SERVING, "the loop is stuck")
        eventually(lambda: service.status(LIVE) == NOT_SERVING, "the loop is stuck for long")
        assert service.status(STARTED) == SERVING

        def is_live() -> bool:
            loop.work()
            return service.status(LIVE) == SERVING

        eventually(is_live, "the loop turns again")


def test_a_check_is_answered_while_every_thread_for_calls_is_busy_and_the_queue_is_full() -> None:
    pool, release = CallPool(2, 4), threading.Event()
    with a_service(Vitals(SMALL), pool=pool) as service:
        for _ in range(4):
            pool.submit(release.wait)
        assert pool.is_full
        assert service.status(READY) == SERVING
        release.set()


def test_a_process_that_fails_is_not_ready_while_it_drains_and_logs_the_cause_once() -> None:
    vitals, seen, may_end = Vitals(SMALL), [], threading.Event()

    def drain() -> None:
        may_end.wait(patient(15))

    with structlog.testing.capture_logs() as lines, a_service(vitals, drain) as service:
        service.causes.append("stream: PanicException: index out of bounds")
        eventually(lambda: service.status("") == NOT_SERVING, "the process has failed")
        seen.append(service.statuses())
        may_end.set()
    assert seen[0][LIVE] == SERVING
    assert [line["event"] for line in lines if line["log_level"] == "error"] == ["process_failed"]
    assert logged(lines, "process_failed")[0]["cause"] == "stream: PanicException: index out of bounds"


def test_a_watcher_gets_each_change() -> None:
    vitals = Vitals(replace(SMALL, silent_after_s=2.0))
    store = vitals.store("Kafka")
    with a_service(vitals) as service:
        watched = service.stub.Watch(health_pb2.HealthCheckRequest(service=READY), timeout=patient(15))
        assert next(watched).status == NOT_SERVING
        store.work()
        assert next(watched).status == SERVING
        assert next(watched).status == NOT_SERVING
        watched.cancel()


def test_the_listener_of_metrics_serves_the_health_with_its_causes() -> None:
    vitals = Vitals(SMALL)
    store = vitals.store("Kafka")
    telemetry = open_telemetry(Part.CONTROL, f"{HOST}:{any_free(1)[0]}", health_page(vitals))
    try:
        assert got(telemetry.address) == (
            503,
            {"live": True, "started": True, "ready": False, "recovers": False, "causes": ["Kafka has not begun"]},
        )
        store.work()
        assert got(telemetry.address) == (
            200,
            {"live": True, "started": True, "ready": True, "recovers": False, "causes": []},
        )
        connection = http.client.HTTPConnection(telemetry.address, timeout=patient(15))
        connection.request("GET", "/metrics")
        assert b"hitmesh_control" in connection.getresponse().read()
        connection.close()
    finally:
        telemetry.close()


def got(address: str) -> tuple[int, Any]:
    connection = http.client.HTTPConnection(address, timeout=patient(15))
    connection.request("GET", "/health")
    answer = connection.getresponse()
    try:
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()
