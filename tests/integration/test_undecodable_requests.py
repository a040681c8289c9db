"""Test requests that do not decode.

Every method of every process counts requests that do not decode, and refuses them with DECODE.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from collector.classify import Classifier
from hitmesh.api.control.v1 import trace_pb2_grpc
from hitmesh.runtime.call_limits import CallPool
from hitmesh.runtime.lifecycle import new_server
from hitmesh.runtime.telemetry import Metrics
from hitmesh.runtime.telemetry import registry as known
from processor.service import SERVICE, InspectStores, TraceService
from tests.support.clock import ManualClock
from tests.support.collectors import NOW_MS, new_backend, running
from tests.support.measuring import Measured
from tests.support.patience import patient
from tests.support.reporters import refusal, served, start
from tests.support.waiting import eventually

# The bytes are a truncated tag, a tag with an invalid wire type, and a length beyond the end of the message.
NO_PROTOBUF = (b"\xff", b"\x0f", b"\x0a\x7f")


@contextmanager
def a_processor(metrics: Metrics) -> Iterator[grpc.Channel]:
    stores = new_backend(Classifier()).stores
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
        open_reads=True,
    )
    trace_pb2_grpc.add_TraceServiceServicer_to_server(TraceService(inspected), server)
    port = served(server, (SERVICE,))
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel
    server.stop(None).wait()


@contextmanager
def processes(metrics: Metrics) -> Iterator[dict[str, grpc.Channel]]:
    with ExitStack() as stack:
        collector = stack.enter_context(running(new_backend(Classifier()), metrics))
        mesh = stack.enter_context(contextmanager(start)(open_reads=True, metrics=metrics))
        yield {
            "collector": collector.channel,
            "reporter": mesh.channel,
            "control": mesh.control_channel,
            "processor": stack.enter_context(a_processor(metrics)),
        }


def methods_of(channel: grpc.Channel) -> list[MethodDescriptor]:
    """Return every method that a server's reflection lists."""
    stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    answer = next(iter(stub.ServerReflectionInfo(iter([request]), timeout=patient(15))))
    services = [service.name for service in answer.list_services_response.service]
    pool = descriptor_pool.Default()
    return [method for name in services for method in pool.FindServiceByName(name).methods]


def undecodable(method: MethodDescriptor) -> list[bytes]:
    """Return bytes that do not decode as a method's request. If the request has a text field, include invalid UTF-8."""
    text = next(
        (
            field.number
            for field in method.input_type.fields
            if field.type == FieldDescriptor.TYPE_STRING and field.number < 16
        ),
        None,
    )
    return [*NO_PROTOBUF, *([] if text is None else [bytes([text << 3 | 2, 2, 0xFF, 0xFE])])]


def call(channel: grpc.Channel, method: MethodDescriptor, message: bytes) -> None:
    kind: Any = getattr(
        channel,
        f"{'stream' if method.client_streaming else 'unary'}_{'stream' if method.server_streaming else 'unary'}",
    )
    path = f"/{method.containing_service.full_name}/{method.name}"
    answer = kind(path)(iter([message]) if method.client_streaming else message, timeout=patient(15))
    if method.server_streaming:
        list(answer)


def is_measured(method: MethodDescriptor) -> bool:
    return method.full_name.startswith("hitmesh.") and not method.client_streaming


def is_counted(measured: Measured, method: MethodDescriptor, calls: int) -> bool:
    path = f"{method.containing_service.full_name}/{method.name}"
    labels = {"rpc_method": path, "rpc_response_status_code": "INVALID_ARGUMENT"}
    return measured.recorded(known.RPC_SECONDS, **labels)[0] == calls


def test_every_method_refuses_bytes_that_do_not_decode_and_the_call_is_measured() -> None:
    measured = Measured()
    with processes(measured.metrics) as channels:
        found = {(name, method.full_name) for name, channel in channels.items() for method in methods_of(channel)}
        assert len(found) > 20, found
        for name, channel in channels.items():
            for method in methods_of(channel):
                cases = undecodable(method)
                for message in cases:
                    refused = refusal(partial(call, channel, method, message))
                    case = (name, method.full_name, message, refused)
                    assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "DECODE"), case
                    assert method.input_type.full_name.rpartition(".")[2] in refused.message, case
                if is_measured(method):
                    eventually(partial(is_counted, measured, method, len(cases)), f"{method.full_name} is measured")


def test_a_stream_of_requests_answers_the_good_requests_before_the_bad_request() -> None:
    good = reflection_pb2.ServerReflectionRequest(list_services="").SerializeToString()
    with a_processor(Measured().metrics) as channel:
        stream: Any = channel.stream_stream("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")
        answers = stream(iter([good, b"\xff"]), timeout=patient(15))
        assert next(answers)
        with pytest.raises(grpc.RpcError) as caught:
            next(answers)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
