"""Test that a real Envoy takes out a service whose worker panics, while the service drains."""

from __future__ import annotations

import re
import threading
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
import structlog

from hitmesh.runtime import lifecycle
from hitmesh.runtime.call_limits import CallPool
from hitmesh.runtime.lifecycle import serve
from hitmesh.runtime.vitals import Vitals
from hitmesh.tools.dev import tcp_ports
from hitmesh.tools.dev.envoy import Address, Door
from processor.__main__ import Worker
from tests.support.doors import TRACE, envoy_at
from tests.support.patience import patient
from tests.support.waiting import eventually


class Panic(BaseException):
    """A panic in Rust code."""


def healthy(stats: Address, cluster: str) -> int:
    with urllib.request.urlopen(f"http://{stats}/stats/prometheus") as answer:
        text = answer.read().decode()
    found = re.search(rf'envoy_cluster_membership_healthy{{envoy_cluster_name="{cluster}"}} (\d+)', text)
    return int(found[1]) if found else 0


@pytest.mark.timeout(60)
def test_envoy_takes_out_a_processor_whose_worker_panics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    monkeypatch.setattr(lifecycle, "_collect_garbage_seldom", lambda: None)
    http, operators, stats, processor, *others = (Address(tcp_ports.HOST, port) for port in tcp_ports.any_free(7))
    collectors, reporters, controls = ((other,) for other in others)
    log = tmp_path / "access.jsonl"
    door = Door(http, operators, stats, collectors, reporters, (processor,), controls, log)
    fault, is_out, stop = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        fault.wait()
        raise Panic("index out of bounds")

    def drain() -> None:
        is_out.wait(patient(30))

    with structlog.testing.capture_logs() as lines, ThreadPoolExecutor(1) as pool:
        worker = Worker("stream", work, stop)
        ended = pool.submit(
            serve,
            grpc.server(CallPool(1)),
            listen=str(processor),
            services=[TRACE],
            stop=threading.Event(),
            drain=drain,
            failed=lambda: worker.cause,
            vitals=Vitals(),
        )
        try:
            with envoy_at(door, tmp_path):
                eventually(lambda: healthy(door.stats, "processor") == 1, "Envoy sends calls to the processor", 30)
                fault.set()
                eventually(lambda: healthy(door.stats, "processor") == 0, "Envoy has taken the processor out", 30)
        finally:
            fault.set()
            is_out.set()
        assert ended.result(patient(30)) == 1
    assert [line["cause"] for line in lines if line["event"] == "process_failed"] == [
        "stream: Panic: index out of bounds"
    ]
