"""Collectors in this process, with real gRPC, the real micro-batcher, and a log in memory that can delay appends."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass

import grpc
import polars as pl

from collector.batcher import MicroBatcher
from collector.classify import Classifier
from collector.hit_quotas import HitQuotas
from collector.service import JSON_SERVICE, MAX_MESSAGE_BYTES, SERVICE, CollectorService, generic_handlers
from collector.settings import CollectorSettings
from hitmesh.adapters.factory import Stores, open_stores
from hitmesh.model.positions import LoggedPosition, Topic
from hitmesh.model.records import Record
from hitmesh.model.rows.columns import HITS_COLUMNS, REJECTED_COLUMNS, unpack_record
from hitmesh.model.sites import IngestKey, KeyKind, Site
from hitmesh.ports import EventLog
from hitmesh.runtime.call_limits import CallPool
from hitmesh.runtime.lifecycle import add_own_services, new_server
from hitmesh.runtime.telemetry import Metrics, unmeasured
from tests.support.clock import ManualClock

NOW_MS = 1_772_712_000_000  # 2026-03-05T12:00:00Z
MERCHANT, SITE, KEY = "merchants/demo", "merchants/demo/sites/a", "hms_integration"


class GatedLog:
    """A log that, like a slow broker, withholds the results of appends while its gate is shut."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._lock = threading.Condition()
        self._is_open = True
        self._held: list[tuple[Future[LoggedPosition], Future[LoggedPosition]]] = []

    def shut(self) -> None:
        """Withhold the results of all appends from now on."""
        with self._lock:
            self._is_open = False

    def open(self) -> None:
        """Release all withheld results and stop withholding."""
        with self._lock:
            self._is_open = True
            held, self._held = self._held, []
        for real, answer in held:
            _pass_on(real, answer)

    def wait_held(self, records: int, timeout_s: float = 10.0) -> None:
        """Block until the results of at least `records` appends are withheld."""
        with self._lock:
            assert self._lock.wait_for(lambda: len(self._held) >= records, timeout_s), f"{len(self._held)} are held"

    @property
    def held(self) -> int:
        """Number of appends whose results are withheld."""
        with self._lock:
            return len(self._held)

    def partitions(self, topic: Topic) -> int:
        return self._log.partitions(topic)

    def log_id(self, topic: Topic) -> str:
        return self._log.log_id(topic)

    def append(self, topic: Topic, partition: int, record: Record) -> Future[LoggedPosition]:
        real = self._log.append(topic, partition, record)
        with self._lock:
            if self._is_open:
                return real
            answer: Future[LoggedPosition] = Future()
            self._held.append((real, answer))
            self._lock.notify_all()
        return answer

    def flush(self, timeout_s: float) -> None:
        self._log.flush(timeout_s)

    def close(self) -> None:
        self._log.close()


def _pass_on(real: Future[LoggedPosition], answer: Future[LoggedPosition]) -> None:
    real.add_done_callback(lambda done: answer.set_result(done.result()))


@dataclass(frozen=True)
class Backend:
    """The stores, clock and classifier that collectors share."""

    stores: Stores
    log: GatedLog
    clock: ManualClock
    classifier: Classifier

    def rows(self) -> pl.DataFrame:
        """Return every accepted hit in the log, with partition and offset."""
        return self._read(Topic.HITS, HITS_COLUMNS)

    def refusals(self) -> pl.DataFrame:
        """Return every refused hit in the log."""
        return self._read(Topic.REJECTED, REJECTED_COLUMNS)

    def _read(self, topic: Topic, columns: dict[str, pl.DataType]) -> pl.DataFrame:
        reader = self.stores.log_reader(topic, "test")
        tables = [
            unpack_record(logged.record.value, columns).with_columns(
                at_partition=pl.lit(logged.position.partition), at_offset=pl.lit(logged.position.offset)
            )
            for logged in reader.poll(1_000_000, timeout_s=0)
            if logged.record.rows
        ]
        reader.close()
        return pl.concat(tables) if tables else pl.DataFrame(schema=columns)


def new_backend(classifier: Classifier) -> Backend:
    """Return stores with one site, one server key for all sites of the site's merchant, and no hits."""
    clock = ManualClock(NOW_MS)
    stores = open_stores("memory:", clock)
    stores.directory.create_site(Site(name=SITE, time_zone="UTC", currency="USD", secret=b"a secret of sixteen"))
    key = IngestKey(key_id="k-1", merchant=MERCHANT, kind=KeyKind.SERVER, unbounded_history=True)
    stores.directory.create_key(key, KEY)
    return Backend(stores, GatedLog(stores.log), clock, classifier)


@dataclass(frozen=True)
class Running:
    """A running collector."""

    service: CollectorService
    batcher: MicroBatcher
    channel: grpc.Channel
    port: int


@contextmanager
def running(
    backend: Backend, metrics: Metrics | None = None, *, quotas: HitQuotas | None = None, **changes: object
) -> Iterator[Running]:
    """Run a collector with a fixed clock. The collector writes records at once unless `linger_ms` is set."""
    wanted = {"store": "memory:", "linger_ms": 0, "workers": 16, "max_streams": 8, "drain_s": 2.0} | changes
    settings = CollectorSettings.model_validate(wanted)
    batcher = MicroBatcher(
        backend.log, backend.stores.directory, backend.classifier, backend.clock, settings, metrics, quotas
    )
    service = CollectorService(batcher, backend.clock, settings, metrics)
    server, _ = new_server(CallPool(settings.workers), metrics or unmeasured(), max_request_bytes=MAX_MESSAGE_BYTES)
    server.add_generic_rpc_handlers(generic_handlers(service))
    add_own_services(server, (SERVICE, JSON_SERVICE)).serve((SERVICE, JSON_SERVICE))
    port = server.add_insecure_port("127.0.0.1:0")
    batcher.start()
    server.start()
    channel = grpc.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.use_local_subchannel_pool", 1)])
    try:
        yield Running(service, batcher, channel, port)
    finally:
        backend.log.open()
        channel.close()
        server.stop(0).wait()
        batcher.stop()
