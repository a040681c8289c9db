"""Start the reporter: read the settings, open the stores, serve until a stop signal."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Mapping

from hitmesh.access.callers import open_tokens
from hitmesh.adapters.factory import open_stores
from hitmesh.adapters.served import Probes, Served, only
from hitmesh.adapters.servers import SCHEME
from hitmesh.api.collector.v1 import collector_pb2, json_pb2
from hitmesh.api.control.v1 import (
    admin_pb2,
    operations_pb2,
    rejected_hits_pb2,
    reprocessing_pb2,
    shadow_pb2,
    trace_pb2,
)
from hitmesh.api.reporter.v1 import reporter_pb2 as pb
from hitmesh.model.errors import HitmeshError, RefusedError
from hitmesh.runtime.clock import SystemClock
from hitmesh.runtime.config import load
from hitmesh.runtime.health import health_page
from hitmesh.runtime.lifecycle import serve, stop_on_signals
from hitmesh.runtime.logs import configure, logger
from hitmesh.runtime.quota_shares import QuotaShares
from hitmesh.runtime.store_probes import Probe, StoreProbes
from hitmesh.runtime.telemetry.exposition import telemetry_of
from hitmesh.runtime.telemetry.labels import Part
from hitmesh.runtime.tls import server_tls
from hitmesh.runtime.vitals import Vitals
from reporter.answer.breaker import Breaker, Breakers
from reporter.answer.report_budget import ReportBudget
from reporter.answer.route import Path
from reporter.rpc.backend import Backend
from reporter.service import SERVICES, build_server
from reporter.settings import ReporterSettings

# Envoy sends all reflection calls to the reporter, so the reporter also lists the services of all other processes.
_REFLECTED = tuple(
    service.full_name
    for module in (
        collector_pb2,
        json_pb2,
        admin_pb2,
        operations_pb2,
        rejected_hits_pb2,
        reprocessing_pb2,
        shadow_pb2,
        trace_pb2,
    )
    for service in module.DESCRIPTOR.services_by_name.values()
)
_TOKEN_BYTES = 32
_CONFIG_EXIT = 3
# For each scheme of a store URL, the store that serves each path.
_STORES = {
    "embedded": dict.fromkeys(Path, pb.STORE_EMBEDDED),
    "memory": dict.fromkeys(Path, pb.STORE_MEMORY),
    "servers": {Path.SERIES: pb.STORE_CASSANDRA, Path.METRICS: pb.STORE_DRUID},
}


def breakers_of(store: str) -> Breakers:
    """Return the breakers for a store URL.

    Series and settlement state share a breaker, because both are in Cassandra.
    """
    if not store.startswith(SCHEME):
        return Breakers()
    cassandra = Breaker("Cassandra")
    return Breakers(series=cassandra, metrics=Breaker("Druid"), books=cassandra)


def probe_any(probes: Probes) -> Mapping[str, Probe]:
    """Return what a reporter probes: the files, or any server that answers reports.

    A reporter answers some reports while one of Cassandra and Druid is away, so its health depends on both together.
    The server that answered last is asked first, so that the other server's deadline does not delay each answer.
    """
    paths = only(probes, Served.TABLES, Served.ROWS)
    if not paths:
        return probes

    order = list(paths.values())

    def probe() -> None:
        errors: list[HitmeshError] = []
        for probe_path in tuple(order):
            try:
                probe_path()
            except HitmeshError as error:
                errors.append(error)
            else:
                order.sort(key=lambda other: other is not probe_path)
                return
        raise errors[0]

    return {" and ".join(paths): probe}


def main() -> int:
    """Return the exit code: 0 after a stop, 1 if a store cannot be used, 3 if a setting is wrong."""
    stop = stop_on_signals()
    try:
        settings = load(ReporterSettings, os.environ)
        vitals = Vitals(settings.vital_limits)
        telemetry = telemetry_of(Part.REPORTER, settings, health_page(vitals))
        tls = server_tls(settings)
        clock = SystemClock()
        tokens = open_tokens(settings, clock)
        stores = open_stores(settings.store, clock, node=settings.node, unknown_keys_s=settings.unknown_keys_s)
        stores.check()
    except HitmeshError as error:
        sys.stderr.write(f"{error.message}\n")
        return _CONFIG_EXIT if isinstance(error, RefusedError) else 1
    configure(settings.log_level, "reporter", settings.node)
    budget = ReportBudget(settings.report_units_min, clock=clock, share_s=settings.quota_share_s)
    shares = QuotaShares(stores.reporter_reports, budget, settings.node, settings.quota_share_s)
    try:
        backend = Backend(
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
            new_token=lambda: secrets.token_urlsafe(_TOKEN_BYTES),
            served_by=_STORES.get(settings.store.partition(":")[0], {}),
            open_reads=settings.open_reads,
            tokens=tokens,
            breakers=breakers_of(settings.store),
            budget=budget,
        )
        server = build_server(
            backend,
            settings.workers,
            telemetry.metrics,
            max_calls=settings.max_calls,
            per_merchant=settings.max_calls_per_merchant,
            unknown=settings.max_unknown_calls,
            question_s=settings.question_s,
            tls=tls,
        )
        shares.start()
        try:
            with StoreProbes(probe_any(stores.probes), vitals):
                return serve(
                    server,
                    listen=settings.listen,
                    services=SERVICES,
                    reflected=_REFLECTED,
                    stop=stop,
                    tls=tls,
                    vitals=vitals,
                )
        finally:
            shares.stop()
    finally:
        stores.close()
        telemetry.close()
        logger().info("stores_closed")


if __name__ == "__main__":
    raise SystemExit(main())
