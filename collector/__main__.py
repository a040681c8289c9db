"""Starts the collector: reads the settings from the environment, builds the adapters and runs one gRPC server."""

from __future__ import annotations

import os
import sys

from collector.batcher import MicroBatcher
from collector.classify import Classifier
from collector.heartbeat import Heartbeat
from collector.service import JSON_SERVICE, MAX_MESSAGE_BYTES, SERVICE, CollectorService, generic_handlers
from collector.settings import SWITCH_INTERVAL_S, CollectorSettings
from hitmesh.adapters.factory import open_stores
from hitmesh.adapters.served import Served, only
from hitmesh.model.errors import HitmeshError, RefusedError
from hitmesh.runtime.call_limits import CallPool
from hitmesh.runtime.clock import SystemClock
from hitmesh.runtime.config import load
from hitmesh.runtime.health import health_page
from hitmesh.runtime.lifecycle import new_server, serve, stop_on_signals
from hitmesh.runtime.logs import configure
from hitmesh.runtime.quota_shares import QuotaShares
from hitmesh.runtime.store_probes import StoreProbes
from hitmesh.runtime.telemetry.exposition import telemetry_of
from hitmesh.runtime.telemetry.labels import Part
from hitmesh.runtime.tls import server_tls
from hitmesh.runtime.vitals import Vitals

EXIT_CONFIG = 3


def main() -> int:
    """Run a collector until SIGTERM.

    Return the exit code: 0 if the collector was stopped, 1 if it failed, 3 if its settings are wrong.
    """
    stop = stop_on_signals()
    try:
        settings = load(CollectorSettings, os.environ)
        vitals = Vitals(settings.vital_limits)
        telemetry = telemetry_of(Part.COLLECTOR, settings, health_page(vitals))
        tls = server_tls(settings)
        clock = SystemClock()
        stores = open_stores(settings.store, clock, node=settings.node, unknown_keys_s=settings.unknown_keys_s)
        stores.check()
    except HitmeshError as error:
        sys.stderr.write(f"{error.message}\n")
        return EXIT_CONFIG if isinstance(error, RefusedError) else 1
    configure(settings.log_level, "collector", settings.node)
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    pulse = vitals.loop("the micro-batcher")
    batcher = MicroBatcher(stores.log, stores.directory, Classifier(), clock, settings, telemetry.metrics, pulse=pulse)
    service = CollectorService(batcher, clock, settings, telemetry.metrics)
    shares = QuotaShares(
        stores.collector_reports,
        batcher.quota_gate.quotas,
        settings.node,
        settings.quota_share_s,
        settings.complain_every_s,
    )
    beats = vitals.loop("the thread for heartbeats", slack_s=settings.heartbeat_s)
    heartbeat = Heartbeat(stores.log, clock, settings.node, settings.heartbeat_s, beats)
    # The log alone decides: while the directory is away, the collector goes on with the keys that it knows.
    probes = StoreProbes(only(stores.probes, Served.FILES, Served.LOG), vitals)
    server, limit = new_server(
        CallPool(settings.workers), telemetry.metrics, max_request_bytes=MAX_MESSAGE_BYTES, tls=tls
    )
    server.add_generic_rpc_handlers(generic_handlers(service))
    batcher.start()
    heartbeat.start()
    shares.start()
    probes.start()
    code = serve(
        server,
        listen=settings.listen,
        services=(SERVICE, JSON_SERVICE),
        stop=stop,
        drain=service.drain,
        failed=lambda: batcher.failed() or heartbeat.failed(),
        complaints=(service.complaints, limit.complaints),
        tls=tls,
        vitals=vitals,
    )
    probes.stop()
    heartbeat.stop()
    shares.stop()
    batcher.stop()
    stores.close()
    telemetry.close()
    return code


if __name__ == "__main__":
    sys.exit(main())
