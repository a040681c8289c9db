"""The life cycle of a service process: serve calls and health checks, stop on a signal, drain.

The health service reports whether the process is live, has started and is ready (hitmesh.runtime.health). The process
is not ready as soon as the stop begins, so that Envoy opens no new streams.
"""

from __future__ import annotations

import gc
import signal
import threading
import time
from collections.abc import Callable, Sequence

import grpc
from grpc_health.v1 import health_pb2_grpc
from grpc_health.v1.health import SERVICE_NAME as HEALTH_SERVICE
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

from hitmesh.runtime.call_limits import CallLimit, CallPool, in_pool
from hitmesh.runtime.decoding import DecodeRefusals
from hitmesh.runtime.health import Health, HealthWatch
from hitmesh.runtime.known_callers import KnownCallers
from hitmesh.runtime.logs import Complaints, logger, traceback_of, write_suppressed
from hitmesh.runtime.telemetry import Metrics
from hitmesh.runtime.telemetry.call_traces import CallTracer
from hitmesh.runtime.telemetry.rpc import CallMeter
from hitmesh.runtime.tls import PeerCheck, ServerTls
from hitmesh.runtime.vitals import Vitals

DRAIN_S = 5.0
POLL_S = 0.5
# Number of new objects that trigger a garbage collection. Drivers create many small, short-lived objects. With Python's
# default of 700, a processor spent a quarter of its time in garbage collection. Objects that exist when serving begins
# are frozen, so collections never scan them again.
_NEW_OBJECTS = 100_000

HEALTH_WORKERS = 4
# Reflection has several threads, because a client may keep an answered reflection stream open.
REFLECTION_WORKERS = 4

# Envoy passes headers of up to 256 KiB (hitmesh.tools.dev.door_limits), and adds a few headers.
MAX_METADATA_BYTES = 320 << 10

# Clients may send keepalive pings every 10 s even without calls, because Envoy keeps idle connections open.
SERVER_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.so_reuseport", 0),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # By default, gRPC randomly refuses some calls with more than 8 KiB of metadata.
    ("grpc.max_metadata_size", MAX_METADATA_BYTES),
    ("grpc.absolute_max_metadata_size", MAX_METADATA_BYTES),
)


def stop_on_signals() -> threading.Event:
    """Return an event that SIGTERM and SIGINT set. The function must be called from the main thread.

    If SIGINT was ignored when the process started, SIGINT stays ignored, so that a parent process can stop its children
    one after another.
    """
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda *_: stop.set())
    return stop


def new_server(
    pool: CallPool,
    metrics: Metrics,
    *,
    max_request_bytes: int | None = None,
    callers: KnownCallers | None = None,
    tls: ServerTls | None = None,
) -> tuple[grpc.Server, CallLimit]:
    """Return a server without services, and the object that limits the server's calls.

    For each call, the server first checks the limit, then the peer, then starts the measurement, then decodes the
    request.

    Args:
        pool: threads for the calls.
        metrics: meters for calls.
        max_request_bytes: maximum size of a request; None means gRPC's default.
        callers: the callers whose credentials were accepted; None if the pools have no limits per caller.
        tls: the peers that may call; None if the server has no TLS. `serve` needs the same value.
    """
    limit = CallLimit(pool, callers)
    size = () if max_request_bytes is None else (("grpc.max_receive_message_length", max_request_bytes),)
    peers = [PeerCheck(tls)] if tls else []
    traced = [CallTracer(metrics.traces)] if metrics.traces.is_on else []
    interceptors = [limit, *peers, *traced, CallMeter(metrics), DecodeRefusals()]
    return grpc.server(pool, interceptors=interceptors, options=(*SERVER_OPTIONS, *size)), limit


def serve(
    server: grpc.Server,
    *,
    listen: str,
    services: Sequence[str],
    stop: threading.Event,
    reflected: Sequence[str] = (),
    ready: Callable[[], None] = lambda: None,
    drain: Callable[[], None] = lambda: None,
    failed: Callable[[], str | None] = lambda: None,
    complaints: Sequence[Complaints] = (),
    tls: ServerTls | None = None,
    vitals: Vitals | None = None,
) -> int:
    """Serve until `stop` is set, `failed` returns a cause, or a thread ends with an error; return the exit code.

    The exit code is 0 after `stop`, otherwise 1.

    Args:
        server: a gRPC server to which the service's own handlers are already added.
        listen: host:port; the TCP port must be free.
        services: full names of the services, for health and reflection.
        reflected: full names, for reflection only, of services that other processes run behind the same proxy.
        stop: set to stop the process, usually by a signal.
        ready: called once the listener accepts calls.
        drain: called when health reports NOT_SERVING, before the listener closes; must end live streams.
        failed: polled every POLL_S seconds; returns None, or the reason why the service cannot continue.
        complaints: rate-limited warnings. `serve` writes each pending warning when the warning is due, and all pending
            warnings at the end.
        tls: certificates and peers; None for plaintext.
        vitals: the pulses of the process's loops and stores, to which `serve` adds a loop.
    """
    dead_threads, vitals = watch_threads(), vitals or Vitals()
    complaints = (*complaints, *([tls.complaints] if tls else ()))
    waiting = vitals.loop("the main thread", slack_s=2 * POLL_S)
    checks = add_own_services(server, (*services, *reflected), vitals)
    watch = HealthWatch(checks)
    port = server.add_secure_port(listen, tls.credentials()) if tls else server.add_insecure_port(listen)
    server.start()
    waiting.work()
    checks.serve(services)
    logger().info("serving", listen=listen, port=port, tls=tls is not None)
    watch.start()
    ready()
    _collect_garbage_seldom()
    cause = None
    while not stop.wait(POLL_S):
        waiting.work()
        for event_complaints in complaints:
            event_complaints.write_pending()
        write_suppressed()
        cause = failed() or next(iter(dead_threads), None)
        if cause is not None:
            break
    watch.stop()  # otherwise, the watch could report an earlier condition after the end
    checks.end(cause or "the process stops")
    if cause is not None:
        logger().error("process_failed", cause=cause)
    drain()
    server.stop(DRAIN_S).wait()
    for event_complaints in complaints:
        event_complaints.write_pending(held_back=True)
    write_suppressed(everything=True)
    logger().info("stopped")
    return 0 if cause is None else 1


def watch_threads() -> Sequence[str]:
    """Return a list that gets a text about the error whenever a thread in this process ends with an error.

    The list also contains errors in threads of libraries. Threads of hitmesh catch every error from which they can
    recover, so an error in the list means that the process must stop.
    """
    causes: list[str] = []

    def note(ended: threading.ExceptHookArgs) -> None:
        if ended.exc_type is SystemExit:
            return
        name = "a thread" if ended.thread is None else ended.thread.name
        causes.append(f"{name} ended: {ended.exc_type.__name__}")
        if ended.exc_value is not None:
            logger().error("thread_failed", thread=name, traceback=traceback_of(ended.exc_value))

    threading.excepthook = note
    return causes


def end_within(threads: Sequence[threading.Thread], seconds: float) -> bool:
    """Wait up to `seconds` for the threads to end, and return whether all have ended."""
    ends = time.monotonic() + seconds
    for thread in threads:
        thread.join(max(0.0, ends - time.monotonic()))
    return not any(thread.is_alive() for thread in threads)


def add_own_services(server: grpc.Server, reflected: Sequence[str], vitals: Vitals | None = None) -> Health:
    """Add the health and reflection services, each with its own threads; return the health servicer."""
    pool = CallPool(HEALTH_WORKERS, name="health")
    checks = Health(vitals or Vitals(), pool)
    checks.Check = in_pool(pool, checks.Check)  # type: ignore[method-assign]  # gRPC reads an attribute of the function
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    names = (*reflected, HEALTH_SERVICE, reflection.SERVICE_NAME)
    reflecting = reflection.ReflectionServicer(names)
    reflection_pool = CallPool(REFLECTION_WORKERS, name="reflection")
    reflecting.ServerReflectionInfo = in_pool(reflection_pool, reflecting.ServerReflectionInfo)  # type: ignore[method-assign]  # as above
    reflection_pb2_grpc.add_ServerReflectionServicer_to_server(reflecting, server)  # type: ignore[no-untyped-call]
    return checks


def _collect_garbage_seldom() -> None:
    gc.collect()
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS, *gc.get_threshold()[1:])
