"""The processor's composition root: settings from the environment, real adapters, intake, settler and health."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import grpc
from pydantic import Field
from pydantic_settings import SettingsConfigDict

from hitmesh.adapters.factory import PROCESSOR_GROUP, Stores, open_stores
from hitmesh.clock import SystemClock
from hitmesh.config import ServiceSettings, load
from hitmesh.errors import RefusedError, RetryError
from hitmesh.lifecycle import SERVER_OPTIONS, serve, stop_on_signals
from hitmesh.logs import configure, logger
from hitmesh.ports import Clock, Topic
from hitmesh.zones import DAY_MS
from processor.runner import IntakeStores, Runner
from processor.settler import Pace, Settler, SettlerStores

EXIT_CONFIG = 3
TRIM_EVERY_S = 3_600.0


class ProcessorSettings(ServiceSettings):
    """Settings of the processor."""

    model_config = SettingsConfigDict(env_prefix="HITMESH_PROCESSOR_", extra="forbid", frozen=True)

    max_hits: int = Field(default=20_000, ge=1, description="Hits read from the log at once")
    settle_pause_s: float = Field(default=0.5, gt=0, description="Seconds between two looks for dirty site-days")
    resettle_after_ms: int = Field(default=2_000, ge=0, description="A site-day is settled again no sooner")
    keep_superseded_ms: int = Field(default=60_000, ge=0, description="How long replaced rows stay readable")
    keep_log_days: int = Field(default=7, ge=1, description="How long the log keeps records that are stored raw")


class Worker:
    """A thread of the processor. When it fails it says why and stops the others."""

    def __init__(self, name: str, work: Callable[[], None], stop: threading.Event) -> None:
        self.cause: str | None = None
        self._work = work
        self._stop = stop
        self._thread = threading.Thread(target=self._run, name=name)
        self._thread.start()

    def join(self) -> None:
        """Wait until the thread ended."""
        self._thread.join()

    def _run(self) -> None:
        try:
            self._work()
        except Exception as error:  # whatever it is, the process must end loudly instead of standing still
            logger().exception("worker_failed", worker=self._thread.name)
            self.cause = f"{self._thread.name}: {error}"
            self._stop.set()


def build_runner(stores: Stores, settings: ProcessorSettings) -> Runner:
    """Return the intake over opened stores."""
    return Runner(
        stores.log_reader(Topic.HITS, PROCESSOR_GROUP),
        stores.log_reader(Topic.REJECTED, PROCESSOR_GROUP),
        IntakeStores(raw=stores.raw, rejected=stores.rejected, dirty=stores.dirty, claims=stores.claims),
        max_hits=settings.max_hits,
    )


def build_settler(stores: Stores, clock: Clock, settings: ProcessorSettings, stop: threading.Event) -> Settler:
    """Return the settler over opened stores."""
    pace = Pace(resettle_after_ms=settings.resettle_after_ms, keep_superseded_ms=settings.keep_superseded_ms)
    return Settler(
        SettlerStores(
            raw=stores.raw,
            rejected=stores.rejected,
            dirty=stores.dirty,
            generations=stores.generations,
            claims=stores.claims,
            sink=stores.sink,
            progress=stores.progress,
            directory=stores.directory,
        ),
        clock,
        pace,
        stop,
    )


def trim_log(stores: Stores, clock: Clock, keep_log_days: int, stop: threading.Event) -> None:
    """Delete what is old and stored raw from the log, now and every hour, until stopped."""
    while True:
        try:
            trimmed = stores.trim(clock.now() - keep_log_days * DAY_MS)
            logger().info("trimmed", records=trimmed)
        except RetryError as error:
            logger().warning("trim_waits", reason=error.reason, message=error.message)
        if stop.wait(TRIM_EVERY_S):
            return


def main() -> int:
    """Run a processor until SIGTERM; return the exit code: 0 stopped, 1 failed, 3 wrong settings."""
    stop = stop_on_signals()
    try:
        settings = load(ProcessorSettings, os.environ)
    except RefusedError as error:
        sys.stderr.write(f"{error.message}\n")
        return EXIT_CONFIG
    configure(settings.log_level, "processor", settings.node)
    clock = SystemClock()
    halt = threading.Event()
    # Connections of their own: the intake must not wait while a settlement reads.
    for_intake, for_settler = open_stores(settings.store, clock), open_stores(settings.store, clock)
    runner = build_runner(for_intake, settings)
    settler = build_settler(for_settler, clock, settings, halt)
    workers = [
        Worker("intake", lambda: runner.run(halt), halt),
        Worker("settler", lambda: settler.run(pause_s=settings.settle_pause_s), halt),
        Worker("trim", lambda: trim_log(for_settler, clock, settings.keep_log_days, halt), halt),
    ]
    code = serve(
        grpc.server(ThreadPoolExecutor(4, thread_name_prefix="rpc"), options=SERVER_OPTIONS),
        listen=settings.listen,
        services=(),
        stop=stop,
        drain=halt.set,
        failed=lambda: next((worker.cause for worker in workers if worker.cause), None),
    )
    halt.set()
    for worker in workers:
        worker.join()
    for_intake.close()
    for_settler.close()
    return code


if __name__ == "__main__":
    sys.exit(main())
