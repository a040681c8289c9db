"""Run every service in this process, on in-memory stores, and list the methods that the services offer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import grpc
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import MethodDescriptor
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from collector.classify import Classifier
from hitmesh.adapters.factory import Stores
from hitmesh.api.control.v1 import trace_pb2_grpc
from hitmesh.runtime.call_limits import CallPool
from hitmesh.runtime.lifecycle import new_server
from hitmesh.runtime.telemetry import Metrics, unmeasured
from processor.service import SERVICE, InspectStores, TraceService
from tests.support.clock import ManualClock
from tests.support.collectors import NOW_MS, new_backend, running
from tests.support.patience import patient
from tests.support.reporters import served, start


@contextmanager
def a_processor(stores: Stores, metrics: Metrics, *, open_reads: bool) -> Iterator[grpc.Channel]:
    """Serve TraceService."""
    server, _ = new_server(CallPool(2), metrics)
    inspected = InspectStores(
        stores.directory,
        stores.raw,
        stores.rejected,
        stores.generations,
        stores.claims,
        stores.progress,
        ManualClock(NOW_MS),
        stores.streams,
        open_reads=open_reads,
    )
    trace_pb2_grpc.add_TraceServiceServicer_to_server(TraceService(inspected), server)
    port = served(server, (SERVICE,))
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel
    server.stop(None).wait()


@contextmanager
def every_service(
    metrics: Metrics | None = None, *, open_reads: bool = True
) -> Iterator[Mapping[str, tuple[grpc.Channel, Stores]]]:
    """Return a channel and the stores of each service, keyed by service. Reporter and control share their stores."""
    metrics = metrics or unmeasured()
    with ExitStack() as stack:
        collecting = new_backend(Classifier())
        collector = stack.enter_context(running(collecting, metrics))
        mesh = stack.enter_context(contextmanager(start)(open_reads=open_reads, metrics=metrics))
        tracer = stack.enter_context(a_processor(mesh.stores, metrics, open_reads=open_reads))
        yield {
            "collector": (collector.channel, collecting.stores),
            "reporter": (mesh.channel, mesh.stores),
            "control": (mesh.control_channel, mesh.stores),
            "processor": (tracer, mesh.stores),
        }


def methods_of(channel: grpc.Channel) -> list[MethodDescriptor]:
    """Return every method that a server's reflection lists."""
    stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    answer = next(iter(stub.ServerReflectionInfo(iter([request]), timeout=patient(15))))
    services = [service.name for service in answer.list_services_response.service]
    pool = descriptor_pool.Default()
    return [method for name in services for method in pool.FindServiceByName(name).methods]


def path_of(method: MethodDescriptor) -> str:
    """Return a method's gRPC path."""
    return f"/{method.containing_service.full_name}/{method.name}"
