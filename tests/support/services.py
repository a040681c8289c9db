"""Run a collector and a processor on a shared store, as separate processes that tests kill and restart."""

from __future__ import annotations

import atexit
import signal
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Self

from hitmesh.adapters.factory import Stores, open_stores
from hitmesh.model.sites import IngestKey, KeyKind, Site
from hitmesh.runtime.clock import SystemClock
from hitmesh.tools.dev import tcp_ports
from hitmesh.tools.dev.children import Process
from hitmesh.tools.dev.forking import ForkServer
from tests.support.counted import wait_counted
from tests.support.kill_load import SITES
from tests.support.mesh import environment
from tests.support.patience import patient
from tests.support.waiting import eventually

KEY = "hms_the-key-of-those-who-kill-0000000000000"
READY_S = 30.0
CAUGHT_UP_S = 60.0
LOG_CHARACTERS = 3_000
# Each process uses few threads, because the tests run many processes on two cores.
FORKED = ("collector", "processor", "reporter")
BOUNDS = {"POLARS_MAX_THREADS": "1", "MALLOC_ARENA_MAX": "2", "OMP_NUM_THREADS": "1", "PYTHONFAULTHANDLER": "1"}


@cache
def _forks() -> ForkServer:
    """Return the fork server of this process's services, which ends with this process."""
    directory = tempfile.TemporaryDirectory(prefix="hitmesh-forks-")
    atexit.register(directory.cleanup)
    modules = [f"{service}.__main__" for service in FORKED]
    return ForkServer([*modules, "hitmesh.adapters.on_servers"], environment(**BOUNDS), Path(directory.name))


@dataclass
class Service:
    """A service whose process can be started several times, but runs at most once at a time."""

    name: str
    logs: Path
    settings: Mapping[str, str]
    starts: int = 0
    process: Process | None = None

    def start(self, **changes: str) -> None:
        """Start the process with additional settings, and return at once."""
        self.starts += 1
        prefix = f"HITMESH_{self.name.upper()}_"
        variables = {f"{prefix}{key}": value for key, value in {**self.settings, **changes}.items()}
        child = _forks().start(self.name, f"{self.name}.__main__", environment(**BOUNDS, **variables), self.log)
        self.process = child.process

    @property
    def log(self) -> Path:
        """Log file of the latest process."""
        return self.logs / f"{self.name}-{self.starts}.log"

    @property
    def is_running(self) -> bool:
        """Whether the process exists, even if it is suspended."""
        return self.process is not None and self.process.poll() is None

    def log_tail(self) -> str:
        """Return the end of the log file, for error messages."""
        return f"--- {self.log.name}\n{self.log.read_text(errors='replace')[-LOG_CHARACTERS:]}"

    def wait_for_line(self, event: str) -> None:
        """Block until the log file of the latest process contains an event."""

        def is_logged() -> bool:
            assert self.is_running, self.log_tail()
            return f'"event": "{event}"' in self.log.read_text(errors="replace")

        eventually(is_logged, f"{self.name} says {event}", READY_S)

    def send(self, number: signal.Signals) -> None:
        """Send the process a signal."""
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        """Kill the process with SIGKILL, as in a power cut."""
        if self.is_running:
            self.send(signal.SIGKILL)
            self.wait_ended()

    def stop(self) -> int:
        """Stop the process, and return its exit code."""
        assert self.is_running, self.log_tail()
        self.send(signal.SIGTERM)
        return self.wait_ended()

    def wait_ended(self) -> int:
        """Block until the process ends, and return its exit code.

        The code is negative if a signal ended the process.
        """
        assert self.process is not None
        return self.process.wait(patient(READY_S))


@dataclass
class Cluster:
    """A collector and a processor with their store, as a context manager that ends all processes at exit.

    Args:
        home: directory for all files outside the store.
        store_url: URL of the store that all processes share.
        heartbeat_s: pause between the heartbeats that the collector appends to the log.
    """

    home: Path
    store_url: str
    heartbeat_s: float = 1.0
    stores: Stores = field(init=False)
    collector: Service = field(init=False)
    processor: Service = field(init=False)
    others: list[Service] = field(default_factory=list)
    reporter_address: str = ""

    def __post_init__(self) -> None:
        self.stores = open_stores(self.store_url, SystemClock())
        self.stores.directory.create_key(
            IngestKey("kill", "merchants/demo", KeyKind.SERVER, unbounded_history=True), KEY
        )
        for name in SITES:
            self.stores.directory.create_site(Site(name, "UTC", "USD", b"secret of a test"))
        port = tcp_ports.any_free(1)[0]
        self.address = f"{tcp_ports.HOST}:{port}"
        settings = {"STORE": self.store_url, "LISTEN": self.address, "NODE": "collector"}
        settings |= {"LINGER_MS": "20", "RECORD_ROWS": "20", "HEARTBEAT_S": str(self.heartbeat_s)}
        self.collector = Service("collector", self.home, settings)
        self.processor = self.a_processor("first")

    def a_processor(self, name: str, node: str = "") -> Service:
        """Return an additional processor that is not started yet.

        The processor has small windows, flushes at once and saves often.

        Args:
            name: name of the processor's directory.
            node: node name of the processor, by default `name`.
        """
        settings = {"STORE": self.store_url, "LISTEN": f"{tcp_ports.HOST}:0", "NODE": node or name}
        settings |= {"CACHE": str(self.home / f"kept-by-{name}"), "MAX_HITS": "100", "WINDOW_MS": "0"}
        settings |= {"FLUSH_MS": "0", "SNAPSHOT_MS": "1000", "SETTLE_PAUSE_S": "0.2", "RESETTLE_AFTER_MS": "500"}
        processor = Service("processor", self.home / name, settings)
        processor.logs.mkdir()
        self.others.append(processor)
        return processor

    def a_reporter(self) -> Service:
        """Return a reporter that is not started yet, and set `reporter_address`. Reads need no key."""
        self.reporter_address = f"{tcp_ports.HOST}:{tcp_ports.any_free(1)[0]}"
        settings = {"STORE": self.store_url, "LISTEN": self.reporter_address, "NODE": "reporter", "OPEN_READS": "true"}
        reporter = Service("reporter", self.home / "reporter", settings)
        reporter.logs.mkdir()
        self.others.append(reporter)
        return reporter

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for service in (self.collector, *self.others):
            service.kill()
        self.stores.close()

    def committed(self) -> int:
        """Return the number of log records that the stream has committed."""
        return sum(progress.next_offset for progress in self.stores.outbox.committed().values())

    def wait_counted(self, timeout_s: float = CAUGHT_UP_S) -> None:
        """Block until all records in the log are committed, flushed and visible, and no day is dirty."""
        wait_counted(self.stores, self.processor.log_tail, timeout_s)

    def stop(self) -> None:
        """Stop both services, which must exit with 0."""
        assert self.processor.stop() == 0, self.processor.log_tail()
        assert self.collector.stop() == 0, self.collector.log_tail()
