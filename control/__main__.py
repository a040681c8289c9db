"""Start the control service: read the settings, open the directory, serve until a stop signal."""

from __future__ import annotations

import os
import secrets
import sys
from typing import TYPE_CHECKING, Final

from control.backend import Backend, Bookkeeping
from control.service import SERVICES, build_server
from control.settings import ControlSettings
from hitmesh.access.callers import open_tokens
from hitmesh.adapters.directories import open_directory
from hitmesh.model.errors import HitmeshError, RefusedError
from hitmesh.runtime.clock import SystemClock
from hitmesh.runtime.config import load
from hitmesh.runtime.health import health_page
from hitmesh.runtime.later import OpenedLater
from hitmesh.runtime.lifecycle import serve, stop_on_signals
from hitmesh.runtime.logs import configure, logger
from hitmesh.runtime.store_probes import StoreProbes
from hitmesh.runtime.telemetry.exposition import telemetry_of
from hitmesh.runtime.telemetry.labels import Part
from hitmesh.runtime.tls import server_tls
from hitmesh.runtime.vitals import Vitals

if TYPE_CHECKING:
    from hitmesh.adapters.stores import Stores

_TOKEN_BYTES: Final = 32
_CONFIG_EXIT: Final = 3


def main() -> int:
    """Return the exit code: 0 after a stop, 1 if the directory cannot be used, 3 if a setting is wrong."""
    stop = stop_on_signals()
    try:
        settings = load(ControlSettings, os.environ)
        vitals = Vitals(settings.vital_limits)
        telemetry = telemetry_of(Part.CONTROL, settings, health_page(vitals))
        tls = server_tls(settings)
        tokens = open_tokens(settings, SystemClock())
        directory = open_directory(settings.store, SystemClock(), unknown_keys_s=settings.unknown_keys_s)
        directory.check()
    except HitmeshError as error:
        sys.stderr.write(f"{error.message}\n")
        return _CONFIG_EXIT if isinstance(error, RefusedError) else 1
    configure(settings.log_level, "control", settings.node)
    stores = OpenedLater(lambda: _stores(settings), lambda opened: opened.close())
    backend = Backend(
        directory=directory.port,
        merchants=directory.merchants,
        bookkeeping=lambda: bookkeeping_of(stores.get()),
        clock=SystemClock(),
        new_token=lambda: secrets.token_urlsafe(_TOKEN_BYTES),
        open_reads=settings.open_reads,
        tokens=tokens,
        max_sites=settings.max_sites,
        max_keys=settings.max_keys,
    )
    try:
        server = build_server(
            backend,
            telemetry.metrics,
            workers=settings.workers,
            max_calls=settings.max_calls,
            per_merchant=settings.max_calls_per_merchant,
            unknown=settings.max_unknown_calls,
            tls=tls,
        )
        with StoreProbes(directory.probes, vitals):
            return serve(server, listen=settings.listen, services=SERVICES, stop=stop, tls=tls, vitals=vitals)
    finally:
        stores.close()
        directory.close()
        telemetry.close()
        logger().info("stores_closed")


def bookkeeping_of(stores: Stores) -> Bookkeeping:
    """Return the implementations from `stores` that account for hits and correct history."""
    return Bookkeeping(
        ledger=stores.ledger,
        generations=stores.generations,
        dirty=stores.dirty,
        progress=stores.progress,
        log_scan=stores.log_scan,
        reprocessings=stores.reprocessings,
        metrics=stores.metrics,
        rejected=stores.rejected,
        raw=stores.raw,
        series=stores.series,
        streams=stores.streams,
        stream=stores.stream,
        collector_reports=stores.collector_reports,
    )


def _stores(settings: ControlSettings) -> Stores:
    from hitmesh.adapters.factory import open_stores  # imported at the first call, because it loads Polars

    try:
        return open_stores(settings.store, SystemClock(), node=settings.node, unknown_keys_s=settings.unknown_keys_s)
    except RefusedError as error:  # a wrong setting is not an error of the caller
        raise HitmeshError(error.message) from error


if __name__ == "__main__":
    raise SystemExit(main())
