"""A collector and a processor as processes of their own over one store, to be killed and started again."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from hitmesh.adapters.factory import Stores, open_stores
from hitmesh.model.sites import IngestKey, KeyKind, Site
from hitmesh.runtime.clock import SystemClock
from hitmesh.tools.dev import ports
from tests.support.counted import wait_counted
from tests.support.kill_load import SITES
from tests.support.mesh import environment
from tests.support.patience import patient
from tests.support.waiting import eventually

KEY = "hms_the-key-of-those-who-kill-0000000000000"
READY_S = 30.0
CAUGHT_UP_S = 60.0
LOG_CHARACTERS = 3_000
# Two cores, many processes.
BOUNDS = {"POLARS_MAX_THREADS": "1", "MALLOC_ARENA_MAX": "2", "OMP_NUM_THREADS": "1", "PYTHONFAULTHANDLER": "1"}


@dataclass
class Service:
    """One process at a time: what `start` starts, until it is killed, stopped or ends by itself."""

    name: str
    logs: Path
    settings: Mapping[str, str]
    starts: int = 0
    process: subprocess.Popen[bytes] | None = None

    def start(self, **changes: str) -> None:
        """Starts it with these settings more; returns at once."""
        self.starts += 1
        prefix = f"HITMESH_{self.name.upper()}_"
        variables = {f"{prefix}{key}": value for key, value in {**self.settings, **changes}.items()}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", self.name],
                env=environment(**BOUNDS, **variables),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    @property
    def log(self) -> Path:
        """What the latest process said."""
        return self.logs / f"{self.name}-{self.starts}.log"

    @property
    def is_running(self) -> bool:
        """Whether it is there, asleep or not."""
        return self.process is not None and self.process.poll() is None

    def said(self) -> str:
        """The end of its log, for people."""
        return f"--- {self.log.name}\n{self.log.read_text(errors='replace')[-LOG_CHARACTERS:]}"

    def wait_for_line(self, event: str) -> None:
        """Waits until the latest process logged an event."""

        def is_logged() -> bool:
            assert self.is_running, self.said()
            return f'"event": "{event}"' in self.log.read_text(errors="replace")

        eventually(is_logged, f"{self.name} says {event}", READY_S)

    def send(self, number: signal.Signals) -> None:
        """Sends it a signal."""
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        """Ends it as a power cut would."""
        if self.is_running:
            self.send(signal.SIGKILL)
            self.wait_ended()

    def stop(self) -> int:
        """Asks it to stop; returns its exit code."""
        assert self.is_running, self.said()
        self.send(signal.SIGTERM)
        return self.wait_ended()

    def wait_ended(self) -> int:
        """Returns its exit code, negative for a signal, once it ended."""
        assert self.process is not None
        return self.process.wait(patient(READY_S))


@dataclass
class Cluster:
    """Both services and the store between them. Use it as a context: nothing of it outlives that.

    Args:
        home: directory of everything that is not in the store.
        store_url: what all processes share.
        heartbeat_s: pause between heartbeats; without them nothing but hits is in the log.
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
        port = ports.any_free(1)[0]
        self.address = f"{ports.HOST}:{port}"
        settings = {"STORE": self.store_url, "LISTEN": self.address, "NODE": "collector"}
        settings |= {"LINGER_MS": "20", "RECORD_ROWS": "20", "HEARTBEAT_S": str(self.heartbeat_s)}
        self.collector = Service("collector", self.home, settings)
        self.processor = self.a_processor("first")

    def a_processor(self, name: str, node: str = "") -> Service:
        """Returns one more processor, not started: small windows, everything written at once, frequent snapshots.

        Args:
            name: of its directory.
            node: what it calls itself; `name` if not given.
        """
        settings = {"STORE": self.store_url, "LISTEN": f"{ports.HOST}:0", "NODE": node or name}
        settings |= {"CACHE": str(self.home / f"kept-by-{name}"), "MAX_HITS": "100", "WINDOW_MS": "0"}
        settings |= {"FLUSH_MS": "0", "SNAPSHOT_MS": "1000", "SETTLE_PAUSE_S": "0.2", "RESETTLE_AFTER_MS": "500"}
        one = Service("processor", self.home / name, settings)
        one.logs.mkdir()
        self.others.append(one)
        return one

    def a_reporter(self) -> Service:
        """Returns a reporter that listens on `reporter_address`, not started; anybody may read."""
        self.reporter_address = f"{ports.HOST}:{ports.any_free(1)[0]}"
        settings = {"STORE": self.store_url, "LISTEN": self.reporter_address, "NODE": "reporter", "OPEN_READS": "true"}
        one = Service("reporter", self.home / "reporter", settings)
        one.logs.mkdir()
        self.others.append(one)
        return one

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for service in (self.collector, *self.others):
            service.kill()
        self.stores.close()

    def committed(self) -> int:
        """How many records the stream has committed."""
        return sum(progress.next_offset for progress in self.stores.outbox.committed().values())

    def wait_counted(self, timeout_s: float = CAUGHT_UP_S) -> None:
        """Waits until all that is in the log now is committed, flushed and in answers, and history is settled."""
        wait_counted(self.stores, self.processor.said, timeout_s)

    def stop(self) -> None:
        """Stops both in peace."""
        assert self.processor.stop() == 0, self.processor.said()
        assert self.collector.stop() == 0, self.collector.said()
