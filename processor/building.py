"""Builds a processor's stream, shadow stream, settler and reprocessor from the opened stores and the settings.

This module only builds objects, and starts no thread. `processor/__main__.py` decides which parts run, and in which
threads.
"""

from __future__ import annotations

import secrets
import threading
from dataclasses import replace

from hitmesh.adapters.factory import PROCESSOR_GROUP, Stores
from hitmesh.model.checkpoints import Checkpoint, unwatched
from hitmesh.model.logic import logic_named
from hitmesh.model.streams import Stream, StreamTable
from hitmesh.ports import Clock
from hitmesh.runtime.telemetry import Metrics
from hitmesh.runtime.vitals import Pulse
from processor.fail_points import dying_at
from processor.reprocess.pace import ReprocessPace
from processor.reprocess.reprocessor import Reprocessor
from processor.settings import ProcessorSettings
from processor.settle.pace import SettlePace
from processor.settle.settler import Settler
from processor.settle.share import Share
from processor.settle.stores import SettlerStores
from processor.shadow.beside import Beside, BesidePace
from processor.shadow.stores import begin_at_start, live_stores, shadow_stores
from processor.stream.metering import StreamMeter
from processor.stream.runner import Runner
from processor.stream.stores import StreamStores
from processor.stream.storing_again import store_again


def stream_stores(stores: Stores) -> StreamStores:
    """Return the opened stores that the stream uses."""
    return StreamStores(
        log_reader=lambda topic: stores.log_reader(topic, PROCESSOR_GROUP),
        log_scan=stores.log_scan,
        raw=stores.raw,
        rejected=stores.rejected,
        dirty=stores.dirty,
        claims=stores.claims,
        outbox=stores.outbox,
        series=stores.series,
        ledger=stores.ledger,
        states=stores.states,
        directory=stores.directory,
        erasures=stores.erasures,
    )


def settler_stores(stores: Stores) -> SettlerStores:
    """Return the opened stores that the settler uses."""
    return SettlerStores(
        raw=stores.raw,
        rejected=stores.rejected,
        dirty=stores.dirty,
        generations=stores.generations,
        claims=stores.claims,
        sink=stores.sink,
        progress=stores.progress,
        directory=stores.directory,
        series=stores.series,
        metrics=stores.metrics,
        ledger=stores.ledger,
        log_scan=stores.log_scan,
        erasures=stores.erasures,
        states=stores.states,
        log_eraser=stores.log_eraser,
        streams=stores.streams,
        stream=stores.stream,
    )


def build_runner(
    stores: Stores,
    table: StreamTable,
    clock: Clock,
    settings: ProcessorSettings,
    metrics: Metrics,
    pulse: Pulse | None = None,
) -> Runner:
    """Return a runner for the live stream in the stream table, after the stream's state has been recovered."""
    store = stores.stream(table.live.generation, is_shadow=False)
    return Runner(
        live_stores(table.live, stream_stores(stores), store, stores.streams),
        clock,
        settings.pace,
        home=settings.cache_dir,
        meter=StreamMeter(metrics, dying_at(settings.fail_at), pulse),
        logic=logic_named(table.live_logic(settings.logic)),
    )


def store_all_again(
    stores: Stores, table: StreamTable, clock: Clock, settings: ProcessorSettings, stop: threading.Event, pulse: Pulse
) -> bool:
    """Store again the effects of the records since `store_again_since`. Return whether the work is finished."""

    def is_over() -> bool:
        pulse.turn()
        return stop.is_set()

    since = settings.store_again_from
    if since is None:
        return True
    store = stores.stream(table.live.generation, is_shadow=False)
    live = live_stores(table.live, stream_stores(stores), store, stores.streams)
    store_again(live, clock, since, is_over)
    return not stop.is_set()


def build_shadow(stores: Stores, clock: Clock, settings: ProcessorSettings, stream: Stream) -> Runner:
    """Return a runner for a shadow stream, after the shadow's state has been recovered."""
    store = stores.stream(stream.generation, is_shadow=True)
    begin_at_start(stream, store)
    return Runner(
        shadow_stores(stream, stream_stores(stores), store, stores.streams, stores.progress),
        clock,
        settings.pace,
        home=settings.cache_dir / "shadow",
        logic=logic_named(stream.logic),
    )


def build_beside(stores: Stores, clock: Clock, settings: ProcessorSettings) -> Beside:
    """Return the runner for shadow streams. The runner has its own stores and runs in parallel to the live stream."""
    pace = BesidePace(keep_gone_ms=settings.keep_superseded_ms, keep_shadow_ms=settings.keep_shadow_ms)
    return Beside(stores, lambda stream: build_shadow(stores, clock, settings, stream), settings.logic, clock, pace)


def build_settler(
    stores: Stores,
    clock: Clock,
    settings: ProcessorSettings,
    stop: threading.Event,
    metrics: Metrics | None = None,
    share: Share | None = None,
    rest: Checkpoint = unwatched,
) -> Settler:
    """Return a settler that uses the given stores.

    If `share` is None, the settler settles all sites. `rest` is called between portions of work, and may pause the
    settler's thread.
    """
    pace = SettlePace(
        resettle_after_ms=settings.resettle_after_ms,
        keep_superseded_ms=settings.keep_superseded_ms,
        keep_replaced_ms=settings.keep_replaced_ms,
    )
    return Settler(
        settler_stores(stores),
        clock,
        pace,
        stop,
        metrics,
        marks=secrets.randbits(31),
        logic=settings.version,
        share=share,
        memory=replace(settings.settle_memory, rest=rest),
    )


def build_reprocessor(
    stores: Stores,
    clock: Clock,
    settings: ProcessorSettings,
    stop: threading.Event,
    metrics: Metrics | None = None,
    share: Share | None = None,
    rest: Checkpoint = unwatched,
) -> Reprocessor:
    """Return a reprocessor that uses the given stores. The reprocessor runs in the settler's thread.

    `share` and `rest` must be the objects that the settler uses.
    """
    return Reprocessor(
        settler_stores(stores),
        stores.reprocessings,
        clock,
        ReprocessPace(marks_known_ms=settings.marks_known_ms),
        stop=stop,
        metrics=metrics,
        marks=secrets.randbits(31),
        share=share,
        memory=replace(settings.settle_memory, rest=rest),
    )
