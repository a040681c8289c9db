"""Run the production collector for a measurement, on a real port. The collector's log discards records.

The optional argument is the share of frames whose traces are recorded; the spans are discarded. Each line on
stdin is a command. The process answers with a JSON line on stdout. The
command `mark` returns the counters so far. The command `keep DIR` writes the sampled records to DIR. The command
`renew` starts a new collector, which remembers no senders, and returns the new port. The end of stdin stops the
process.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

import collector.batcher
from collector.batcher import MicroBatcher
from collector.classify import Classifier
from collector.service import MAX_MESSAGE_BYTES, CollectorService, generic_handlers
from collector.settings import SWITCH_INTERVAL_S, CollectorSettings
from hitmesh.adapters.factory import open_stores
from hitmesh.runtime.clock import SystemClock
from hitmesh.runtime.lifecycle import SERVER_OPTIONS
from hitmesh.runtime.logs import configure
from hitmesh.runtime.telemetry import Metrics
from hitmesh.runtime.telemetry.traces import Traces
from tests.bench.discarding_log import DiscardingLog
from tests.bench.sites import create_sites
from tests.bench.stages import StageTimer

KEEP_EVERY = 53
MOST_KEPT = 60
STAGES = (
    (collector.batcher, "decode", "decode"),
    (collector.batcher, "admit", "admit"),
    (MicroBatcher, "_split", "split"),
    (collector.batcher, "hits_record", "pack"),
    (MicroBatcher, "_append", "concatenate_and_tell"),
)


def main() -> None:
    """Serve until stdin ends."""
    configure("error", "bench", "bench-0")
    sys.setswitchinterval(SWITCH_INTERVAL_S)  # The production collector sets the same switch interval.
    timer = StageTimer()
    for owner, attribute, stage in STAGES:
        timer.wrap(owner, attribute, stage)
    clock = SystemClock()
    settings = CollectorSettings(store="memory:")
    stores = open_stores(settings.store, clock)
    create_sites(stores.directory)
    log = DiscardingLog(KEEP_EVERY, MOST_KEPT)
    metrics = Metrics(NoOpMeterProvider().get_meter("bench"), _traces(float(sys.argv[1]))) if sys.argv[1:] else None
    batcher = MicroBatcher(log, stores.directory, Classifier(), clock, settings, metrics)
    batcher.start()
    server, port = _listening(batcher, clock, settings)
    _say({"port": port})
    for line in sys.stdin:
        command, _, argument = line.strip().partition(" ")
        if command == "mark":
            _say(_counters(log, timer))
        elif command == "start":
            timer.start()
            _say(_counters(log, timer))
        elif command == "keep":
            _say({"records": _write_kept(log, Path(argument))})
        elif command == "renew":
            server.stop(0).wait()
            server, port = _listening(batcher, clock, settings)
            _say({"port": port})
    server.stop(0).wait()
    batcher.stop()
    stores.close()


class _Discarding(SpanExporter):
    """Discards spans."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Discard the spans."""
        return SpanExportResult.SUCCESS


def _traces(ratio: float) -> Traces:
    provider = TracerProvider(ALWAYS_ON, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(_Discarding()))
    return Traces(provider.get_tracer("bench"), ratio, 1e6)


def _listening(batcher: MicroBatcher, clock: SystemClock, settings: CollectorSettings) -> tuple[grpc.Server, int]:
    server = grpc.server(
        ThreadPoolExecutor(settings.workers, thread_name_prefix="rpc"),
        options=(*SERVER_OPTIONS, ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES)),
    )
    server.add_generic_rpc_handlers(generic_handlers(CollectorService(batcher, clock, settings)))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return server, port


def _counters(log: DiscardingLog, timer: StageTimer) -> dict[str, object]:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "wall_s": time.monotonic(),
        "user_s": used.ru_utime,
        "system_s": used.ru_stime,
        "max_rss_mib": used.ru_maxrss // 1024,
        "rows": log.rows,
        "records": log.records,
        "value_bytes": log.value_bytes,
        "rejected_records": log.rejected_records,
        "stages": dict(timer.seconds),
    }


def _write_kept(log: DiscardingLog, directory: Path) -> int:
    for number, value in enumerate(log.kept):
        (directory / f"{number}.arrow").write_bytes(value)
    return len(log.kept)


def _say(answer: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
