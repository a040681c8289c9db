"""Starts a processor: connects settings, adapters, stream, settler, trace service and health checks.

A process runs the stream, the settler or both (`role`). Every process serves the trace service.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from hitmesh.access.callers import TokenReader, open_tokens
from hitmesh.adapters.embedded.disk import probe_disk
from hitmesh.adapters.factory import Stores, open_stores
from hitmesh.adapters.served import Served, only
from hitmesh.api.control.v1 import trace_pb2_grpc
from hitmesh.model.errors import HitmeshError, RefusedError, RetryError, as_disk_full
from hitmesh.model.positions import PartitionId, PartitionProgress, Topic
from hitmesh.model.streams import Stream
from hitmesh.model.zones import DAY_MS
from hitmesh.ports import Clock
from hitmesh.runtime.call_limits import CallPool
from hitmesh.runtime.clock import SystemClock
from hitmesh.runtime.config import load
from hitmesh.runtime.health import health_page
from hitmesh.runtime.lifecycle import end_within, new_server, serve, stop_on_signals
from hitmesh.runtime.logs import configure, logger, traceback_of
from hitmesh.runtime.store_probes import Probe, StoreProbes
from hitmesh.runtime.telemetry import Metrics
from hitmesh.runtime.telemetry.exposition import telemetry_of
from hitmesh.runtime.telemetry.labels import Part
from hitmesh.runtime.telemetry.registry import (
    PROCESSOR_LAG_SECONDS,
    PROCESSOR_LEASED_BUCKETS,
    PROCESSOR_WATERMARK_AGE_SECONDS,
)
from hitmesh.runtime.thread_clocks import WorkClock
from hitmesh.runtime.tls import server_tls
from hitmesh.runtime.vitals import Pulse, Vitals
from processor.building import build_beside, build_reprocessor, build_runner, build_settler, store_all_again
from processor.service import SERVICE, InspectStores, TraceService
from processor.settings import ProcessorSettings, Role
from processor.settle.lease_keeper import LeaseKeeper, LeasePace
from processor.settle.loop import run_in_turns
from processor.settle.rests import Rests
from processor.shadow.adoption import adopt, goes_on, is_due
from processor.shadow.until import Until
from processor.stream.balance_watch import watch_balance
from processor.stream.metering import ages_s
from processor.stream.runner import Runner

EXIT_FAILED = 1
EXIT_CONFIG = 3
ENDS_WITHIN_S = 60.0
TRIM_EVERY_S = 3_600.0
ADOPT_AGAIN_S = 60.0
# A settlement computes for up to two minutes between two reports to its pulse. While a settler waits until rows are
# readable, which may take longer, it reports at each look.
SETTLER_SLACK_S = 120.0


class Worker:
    """A processor thread. If the thread fails, it logs the cause, and all other threads stop."""

    def __init__(self, name: str, work: Callable[[], None], stop: threading.Event) -> None:
        self.cause: str | None = None
        self._work = work
        self._stop = stop
        # The thread is a daemon, because a worker that hangs must not keep a failed process alive.
        self.thread = threading.Thread(target=self._run, name=name, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            self._work()
        except BaseException as error:  # any error must end the process, because the thread is not restarted
            self.cause = f"{self.thread.name}: {type(error).__name__}: {error}"
            self._stop.set()
            logger().error("worker_failed", worker=self.thread.name, traceback=traceback_of(error))


def run_stream(
    stores: Stores,
    clock: Clock,
    settings: ProcessorSettings,
    metrics: Metrics,
    stop: threading.Event,
    pulse: Pulse | None = None,
) -> None:
    """Recover the stream's state, then run the stream until the process stops. Retry while a store is unavailable.

    If a shadow stream is adopted, the shadow becomes the live stream, and a new runner continues from the shadow's
    state. After the restoration of a store, records are first stored again (`store_again_since`).
    """
    pulse = pulse or Pulse("the stream")
    is_whole = settings.store_again_from is None
    while not stop.is_set():
        try:
            pulse.turn()
            table = stores.streams.read()
            is_whole = is_whole or store_all_again(stores, table, clock, settings, stop, pulse)
            runner = build_runner(stores, table, clock, settings, metrics, pulse)
        except (RetryError, OSError) as error:
            again = error if isinstance(error, RetryError) else as_disk_full(error)
            if again is None:
                raise
            pulse.fail(again)
            logger().warning("recovery_waits", reason=again.reason, message=again.message)
            stop.wait(again.retry_after_s)
            continue
        run_until_replaced(stores, table.live, runner, clock, stop)
        runner.close()


def run_until_replaced(
    stores: Stores, live: Stream, runner: Runner, clock: Clock, stop: threading.Event, again_s: float = ADOPT_AGAIN_S
) -> None:
    """Run the live stream until the process stops or another stream is live. Pause while a shadow stream is adopted."""
    begins_at = 0.0

    def must_end() -> bool:
        table = stores.streams.read()
        may_begin = time.monotonic() >= begins_at
        return table.live.generation != live.generation or is_due(stores, table, may_begin=may_begin)

    while True:
        runner.run(Until(stop, must_end))
        if stop.is_set() or stood_still(stores, live, runner, clock, stop):
            return
        begins_at = time.monotonic() + again_s


def stood_still(stores: Stores, live: Stream, runner: Runner, clock: Clock, stop: threading.Event) -> bool:
    """Pause the runner until the shadow stream is adopted. Return False if the runner must continue with its stream."""
    is_over = False
    while not stop.is_set():
        try:
            is_over = is_over or not adopt(stores, live, runner.standing, clock, stop)
            return stop.is_set() or not is_over or not goes_on(stores.streams, live)
        except RetryError as error:
            logger().warning("adoption_waits", reason=error.reason, message=error.message)
            is_over = True
            runner.heartbeat()
            stop.wait(error.retry_after_s)
    return True


@dataclass(frozen=True, slots=True)
class SettlerThreads:
    """A settler with its reprocessor, and the keeper of their leases.

    `settle` and `keep_leases` run in separate threads.

    Attributes:
        name: the owner of the leases.
        keeper: keeps the leases.
        settle: settles and reprocesses until the process stops, then releases the leases.
        keep_leases: renews the leases until the process stops.
    """

    name: str
    keeper: LeaseKeeper
    settle: Callable[[], None]
    keep_leases: Callable[[], None]


def settler_names(settings: ProcessorSettings) -> list[str]:
    """Return the names of this process's settlers.

    A settler's name is the owner of its leases. The settler's stores use the name as their node name.
    """
    return [settings.node, *(f"{settings.node}-settler-{number}" for number in range(1, settings.settlers))]


def build_settlers(
    stores: Sequence[Stores],
    clock: Clock,
    settings: ProcessorSettings,
    metrics: Metrics,
    stop: threading.Event,
    vitals: Vitals | None = None,
) -> list[SettlerThreads]:
    """Return this process's settlers, each with its own stores. The settlers of all processes share the sites."""
    names, vitals = settler_names(settings), vitals or Vitals()
    return [
        _settler_threads(
            name, of_settler, clock, settings, metrics, stop, vitals.loop(f"the settler {name}", SETTLER_SLACK_S)
        )
        for name, of_settler in zip(names, stores, strict=True)
    ]


def _settler_threads(
    name: str,
    stores: Stores,
    clock: Clock,
    settings: ProcessorSettings,
    metrics: Metrics,
    stop: threading.Event,
    pulse: Pulse,
) -> SettlerThreads:
    keeper = LeaseKeeper(stores.leases, name, LeasePace(settings.lease_ms), lambda: time.monotonic() * 1_000)
    rests = Rests(settings.settle_cpu_share, WorkClock(), stop)

    def rest() -> None:
        pulse.turn()
        rests()
        pulse.turn()

    settler = build_settler(stores, clock, settings, stop, metrics, keeper, rest)
    reprocessor = build_reprocessor(stores, clock, settings, stop, metrics, keeper, rest)

    def settle() -> None:
        try:
            turns = (settler.run_once, reprocessor.run_once)
            run_in_turns(turns, stop, metrics, pause_s=settings.settle_pause_s, pulse=pulse)
        finally:
            keeper.close()

    return SettlerThreads(name, keeper, settle, lambda: keeper.run(stop))


def observe_leases(keepers: Sequence[LeaseKeeper], metrics: Metrics) -> None:
    """Register a gauge that shows the number of site buckets that this process's settlers lease."""
    gauge = PROCESSOR_LEASED_BUCKETS
    metrics.observe(gauge, lambda: [gauge.of(sum(len(keeper.buckets()) for keeper in keepers))])


def trim_log(
    stores: Stores, clock: Clock, keep_log_days: int, stop: threading.Event, *, keep_refused_days: int = 30
) -> None:
    """Delete old log records that are already stored as raw records, and the bytes of old refusals.

    Delete immediately, and then every hour until the process stops.
    """
    while True:
        try:
            trimmed = stores.trim(clock.now() - keep_log_days * DAY_MS)
            emptied = stores.rejected.drop_bytes(clock.now() - keep_refused_days * DAY_MS)
            logger().info("trimmed", records=trimmed, refusals=emptied)
        except RetryError as error:
            logger().warning("trim_waits", reason=error.reason, message=error.message)
        if stop.wait(TRIM_EVERY_S):
            return


def _trim(stores: Stores, clock: Clock, settings: ProcessorSettings, stop: threading.Event) -> None:
    trim_log(stores, clock, settings.keep_log_days, stop, keep_refused_days=settings.keep_refused_days)


def observe_lag(stores: Stores, clock: Clock, metrics: Metrics) -> None:
    """Register gauges for the lag and the watermark age of each partition of hits.

    The gauges are computed at each scrape.
    """

    def committed() -> Mapping[PartitionId, PartitionProgress]:
        return stores.progress.progress(Topic.HITS)

    def flushed() -> Mapping[PartitionId, PartitionProgress]:
        of_hits, live = committed(), stores.streams.read().live
        series = stores.stream(live.generation, is_shadow=False).series
        return {partition: reached for partition, reached in series.flushed().items() if partition in of_hits}

    for gauge, progress in ((PROCESSOR_LAG_SECONDS, committed), (PROCESSOR_WATERMARK_AGE_SECONDS, flushed)):
        metrics.observe(
            gauge,
            lambda gauge=gauge, progress=progress: [  # type: ignore[misc]  # mypy infers no type for bound defaults
                gauge.of(age, partition=number) for number, age in ages_s(progress(), clock.now()).items()
            ],
        )


def main() -> int:
    """Run a processor until SIGTERM.

    Return the exit code: 0 if the processor was stopped, 1 if it failed, 3 if its settings are wrong.
    """
    stop = stop_on_signals()
    try:
        settings = load(ProcessorSettings, os.environ)
        vitals = Vitals(settings.vital_limits)
        telemetry = telemetry_of(Part.PROCESSOR, settings, health_page(vitals))
        tls = server_tls(settings)
        clock = SystemClock()
        tokens = open_tokens(settings, clock)
        # The settler's stores have their own connections, so that the stream does not wait while a settlement reads.
        for_stream, for_shadow, for_settler, *for_more_settlers = (
            open_stores(
                settings.store,
                clock,
                node=name,
                keep_refused_days=settings.keep_refused_days,
                unknown_keys_s=settings.unknown_keys_s,
            )
            for name in (settings.node, settings.node, *settler_names(settings))
        )
        for_stream.check()
    except HitmeshError as error:
        sys.stderr.write(f"{error.message}\n")
        return EXIT_CONFIG if isinstance(error, RefusedError) else 1
    configure(settings.log_level, "processor", settings.node)
    metrics, halt = telemetry.metrics, threading.Event()
    observe_lag(for_settler, clock, metrics)
    workers = []
    if settings.role is not Role.SETTLER:
        beside = build_beside(for_shadow, clock, settings)
        pulse = vitals.loop("the stream")
        workers.append(Worker("stream", lambda: run_stream(for_stream, clock, settings, metrics, halt, pulse), halt))
        workers.append(Worker("shadow", lambda: beside.run(halt), halt))
    if settings.role is not Role.STREAM:
        settlers = build_settlers([for_settler, *for_more_settlers], clock, settings, metrics, halt, vitals)
        observe_leases([settler.keeper for settler in settlers], metrics)
        for settler in settlers:
            workers.append(Worker(f"leases {settler.name}", settler.keep_leases, halt))
            workers.append(Worker(f"settler {settler.name}", settler.settle, halt))
        workers += [
            Worker("trim", lambda: _trim(for_settler, clock, settings, halt), halt),
            Worker("watch", lambda: watch_balance(for_settler.ledger, settings.balance_every_s, metrics, halt), halt),
        ]
    server, limit = new_server(CallPool(settings.workers, settings.max_calls), metrics, tls=tls)
    trace_pb2_grpc.add_TraceServiceServicer_to_server(
        TraceService(inspect_stores(for_settler, clock, settings, tokens)), server
    )
    probes = StoreProbes(probes_of(for_settler, settings), vitals)
    probes.start()
    code = serve(
        server,
        listen=settings.listen,
        services=(SERVICE,),
        stop=stop,
        drain=halt.set,
        failed=lambda: next((worker.cause for worker in workers if worker.cause), None),
        complaints=(limit.complaints,),
        tls=tls,
        vitals=vitals,
    )
    probes.stop()
    halt.set()
    if not end_within([worker.thread for worker in workers], ENDS_WITHIN_S):
        logger().error("workers_still_running", within_s=ENDS_WITHIN_S)
        os._exit(EXIT_FAILED)
    for stores in (for_stream, for_shadow, for_settler, *for_more_settlers):
        stores.close()
    telemetry.close()
    return code


def probes_of(stores: Stores, settings: ProcessorSettings) -> Mapping[str, Probe]:
    """Return the stores on which the readiness depends, with the disk of the cache. Only settlers need Druid."""
    settings.cache_dir.mkdir(parents=True, exist_ok=True)
    probes = stores.probes
    if settings.role is Role.STREAM:
        probes = only(probes, Served.FILES, Served.LOG, Served.TABLES)
    return {**probes, "the cache directory": partial(probe_disk, settings.cache_dir)}


def inspect_stores(
    stores: Stores, clock: Clock, settings: ProcessorSettings, tokens: TokenReader | None
) -> InspectStores:
    """Return the opened stores that the trace service uses, and the reader of callers' tokens."""
    return InspectStores(
        directory=stores.directory,
        raw=stores.raw,
        rejected=stores.rejected,
        generations=stores.generations,
        claims=stores.claims,
        progress=stores.progress,
        clock=clock,
        open_reads=settings.open_reads,
        tokens=tokens,
        streams=stores.streams,
        logic=settings.version,
    )


if __name__ == "__main__":
    sys.exit(main())
