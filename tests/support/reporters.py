"""Run a reporter and a control service on in-memory stores, and build requests to them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import grpc
import polars as pl
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from control.__main__ import bookkeeping_of
from control.backend import PRODUCTION, ReprocessingLimits
from control.backend import Backend as ControlBackend
from control.service import SERVICES as CONTROL_SERVICES
from control.service import build_server as control_server
from hitmesh.access.callers import TokenReader
from hitmesh.access.roles import MERCHANT_ROLES
from hitmesh.adapters.factory import PROCESSOR_GROUP, Stores, open_stores
from hitmesh.api.control.v1 import admin_pb2_grpc, operations_pb2_grpc, rejected_hits_pb2_grpc, reprocessing_pb2_grpc
from hitmesh.api.reporter.v1 import export_pb2_grpc, reporter_pb2, reporter_pb2_grpc
from hitmesh.model.merchants import Merchant
from hitmesh.model.names import OPERATORS
from hitmesh.model.positions import PartitionProgress, Topic
from hitmesh.model.rows.rollup_rows import RowSource
from hitmesh.model.sites import IngestKey, KeyKind, Site, SiteDay
from hitmesh.ports import Clock, MetricStore
from hitmesh.runtime.lifecycle import add_own_services
from hitmesh.runtime.telemetry import Metrics
from processor.settle.rows import SettledRows
from processor.settle.series import settled_series
from reporter.answer.route import Path
from reporter.rpc.backend import Backend
from reporter.service import SERVICES, build_server
from tests.support.clock import ManualClock
from tests.support.published_days import publish_day
from tests.support.settled_rows import DAY, MIDNIGHT, SITE, frame, sketch_of, traffic, visits

NOW = MIDNIGHT + 2 * DAY
OWNER = "owner-secret"
RIVAL = "rival-secret"
OPERATOR = "operator-secret"


def a_site(name: str = SITE, zone: str = "UTC", currency: str = "USD") -> Site:
    return Site(name, zone, currency, b"s" * 32, created_at=1)


@dataclass
class Mesh:
    """A running reporter and a running control service, with their stores and with stubs for their RPCs."""

    stores: Stores
    clock: ManualClock
    channel: grpc.Channel
    port: int
    control_channel: grpc.Channel
    control_port: int

    @property
    def reporter(self) -> reporter_pb2_grpc.ReporterServiceStub:
        return reporter_pb2_grpc.ReporterServiceStub(self.channel)

    @property
    def exports(self) -> export_pb2_grpc.ExportServiceStub:
        return export_pb2_grpc.ExportServiceStub(self.channel)

    @property
    def admin(self) -> admin_pb2_grpc.AdminServiceStub:
        return admin_pb2_grpc.AdminServiceStub(self.control_channel)

    @property
    def operations(self) -> operations_pb2_grpc.OperationsServiceStub:
        return operations_pb2_grpc.OperationsServiceStub(self.control_channel)

    @property
    def reprocessings(self) -> reprocessing_pb2_grpc.ReprocessingServiceStub:
        return reprocessing_pb2_grpc.ReprocessingServiceStub(self.control_channel)

    @property
    def rejected_hits(self) -> rejected_hits_pb2_grpc.RejectedHitServiceStub:
        return rejected_hits_pb2_grpc.RejectedHitServiceStub(self.control_channel)

    def settle(self, hits: list[dict[str, object]], starts: list[dict[str, object]]) -> None:
        """Write and publish rows as settlement does."""
        of_hits, of_visits = frame(RowSource.TRAFFIC, hits), frame(RowSource.VISITS, starts)
        self.stores.sink.write(of_hits, of_visits)
        days = {(row["site"], row["day"], row["generation"]) for row in [*hits, *starts]}
        of_series = settled_series(SettledRows.in_memory(of_hits, of_visits))
        for site, day, generation in sorted(days, key=str):
            site_day = SiteDay(str(site), int(str(day)))
            of_day = of_series.filter((pl.col("site") == site) & (pl.col("day") == day))
            self.stores.series.put_settled(site_day, int(str(generation)), of_day)
            publish_day(self.stores.generations, site_day, self.clock.now())

    def apply_log(self, log_time: int) -> None:
        """Commit a position of the processor for every partition."""
        reader = self.stores.log_reader(Topic.HITS, PROCESSOR_GROUP)
        progress = {partition: PartitionProgress(10, log_time) for partition in reader.committed()}
        reader.commit(progress)
        reader.close()
        self.stores.series.note_flushed(progress)


def start(
    open_reads: bool,
    metrics: Metrics | None = None,
    limits: Mapping[str, Any] | None = None,
    around: Callable[[MetricStore], MetricStore] = lambda store: store,
    reprocessing: ReprocessingLimits = PRODUCTION,
    tokens: TokenReader | None = None,
) -> Iterator[Mesh]:
    """Run a reporter and a control service.

    `limits` are arguments of `build_server`, `around` wraps the metric store, and `tokens` reads the tokens of callers.
    """
    clock = ManualClock(NOW)
    stores = open_stores("memory:", clock)
    backend = replace(
        reporter_backend(stores, clock), metrics=around(stores.metrics), open_reads=open_reads, tokens=tokens
    )
    server = build_server(backend, metrics=metrics, **({"workers": 2} | dict(limits or {})))
    port = served(server, SERVICES)
    control = control_server(
        control_backend(stores, clock, open_reads=open_reads, limits=reprocessing, tokens=tokens), metrics
    )
    control_port = served(control, CONTROL_SERVICES)
    with (
        grpc.insecure_channel(f"127.0.0.1:{port}") as channel,
        grpc.insecure_channel(f"127.0.0.1:{control_port}") as control_channel,
    ):
        mesh = Mesh(stores, clock, channel, port, control_channel, control_port)
        for merchant, secret in (("merchants/demo", OWNER), ("merchants/rival", RIVAL)):
            stores.merchants.create_merchant(Merchant(merchant))
            stores.directory.create_key(
                IngestKey(f"{merchant[10:]}-1", merchant, KeyKind.SERVER, roles=MERCHANT_ROLES), secret
            )
        stores.directory.create_key(IngestKey("operator-1", OPERATORS, KeyKind.OPERATOR), OPERATOR)
        stores.directory.create_site(a_site())
        stores.directory.create_site(a_site("merchants/rival/sites/shop"))
        mesh.apply_log(NOW - 1_000)
        yield mesh
    for running in (server, control):
        running.stop(None).wait()
    stores.close()


def reporter_backend(stores: Stores, clock: Clock) -> Backend:
    """Return the backend of a reporter on the given stores. The backend's tokens are numbered, not random."""
    numbers = numbered_tokens()
    return Backend(
        directory=stores.directory,
        generations=stores.generations,
        dirty=stores.dirty,
        metrics=stores.metrics,
        series=stores.series,
        progress=stores.progress,
        ledger=stores.ledger,
        erasures=stores.erasures,
        streams=stores.streams,
        stream=stores.stream,
        clock=clock,
        new_token=lambda: next(numbers),
        served_by=dict.fromkeys(Path, reporter_pb2.STORE_MEMORY),
    )


def served(server: grpc.Server, services: Sequence[str]) -> int:
    """Start a server that also reports the health of its services, and return its port."""
    checks = add_own_services(server, services)
    checks.serve(services)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return port


def numbered_tokens() -> Iterator[str]:
    return (f"token-{number:04d}-{'x' * 32}" for number in itertools.count())


def control_backend(
    stores: Stores,
    clock: Clock,
    *,
    open_reads: bool,
    limits: ReprocessingLimits = PRODUCTION,
    tokens: TokenReader | None = None,
) -> ControlBackend:
    """Return the backend of a control service on the given stores. The backend's tokens are numbered, not random."""
    numbers = numbered_tokens()
    return ControlBackend(
        directory=stores.directory,
        merchants=stores.merchants,
        bookkeeping=lambda: bookkeeping_of(stores),
        clock=clock,
        new_token=lambda: next(numbers),
        open_reads=open_reads,
        limits=limits,
        tokens=tokens,
    )


def some_rows(mesh: Mesh) -> None:
    """Settle a few rows of each kind on two days."""
    mesh.settle(
        [
            traffic(hits=5, pageviews=4, channel="email", visitors=sketch_of(1, 2)),
            traffic(orders=2, gross_revenue=30_500_000, refunds=500_000, currency="USD"),
            traffic(gross_revenue=1_000_000, currency="EUR"),
            traffic(excluded_hits=3, bot_hits=3),
            traffic(hits=3, excluded=True),
            traffic(MIDNIGHT + DAY, hits=1, visitors=sketch_of(2)),
        ],
        [visits(visits=2, bounces=1, visit_duration_total=61_500, channel="email"), visits(MIDNIGHT + DAY, visits=1)],
    )


def bearer(secret: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {secret}"),)


@dataclass(frozen=True)
class Refusal:
    code: grpc.StatusCode
    reason: str
    field: str
    message: str


def refusal(call: Callable[[], object]) -> Refusal:
    """Make a call that must be refused, and return the refusal."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    error = caught.value
    assert isinstance(error, grpc.Call)
    status = rpc_status.from_call(error)
    assert status is not None
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    for detail in status.details:
        detail.Unpack(info) or detail.Unpack(bad)
    field = bad.field_violations[0].field if bad.field_violations else ""
    return Refusal(error.code(), info.reason, field, status.message)


def assert_hidden(site: str, read: Callable[[str | None], object]) -> None:
    """Check that the owner's key may read a site, and that a rival's key gets NOT_FOUND."""
    read(OWNER)
    rival = refusal(lambda: read(RIVAL))
    assert (rival.code, rival.field) == (grpc.StatusCode.NOT_FOUND, "site")
    assert rival.message.startswith(f"site {site!r} does not exist or is not yours: ")
    assert refusal(lambda: read(None)).code is grpc.StatusCode.UNAUTHENTICATED


def last_days(days: int = 3) -> reporter_pb2.TimeRange:
    return reporter_pb2.TimeRange(last_days=days)


def a_question(metrics: str = "hits,visits", **fields: object) -> reporter_pb2.RunReportRequest:
    filled: dict[str, object] = {"site": SITE, "metrics": metrics.split(","), "time_range": last_days()} | fields
    return reporter_pb2.RunReportRequest(**filled)  # type: ignore[arg-type]  # protobuf checks the fields
