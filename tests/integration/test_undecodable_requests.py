"""Test requests that do not decode.

Every method of every process counts requests that do not decode, and refuses them with DECODE.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from grpc_reflection.v1alpha import reflection_pb2

from hitmesh.runtime.telemetry import registry as known
from tests.support.every_service import every_service, methods_of
from tests.support.measuring import Measured
from tests.support.patience import patient
from tests.support.reporters import refusal
from tests.support.waiting import eventually

# The bytes are a truncated tag, a tag with an invalid wire type, and a length beyond the end of the message.
NO_PROTOBUF = (b"\xff", b"\x0f", b"\x0a\x7f")


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
    with every_service(measured.metrics) as services:
        channels = {name: channel for name, (channel, _) in services.items()}
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
    with every_service() as services:
        channel, _ = services["processor"]
        stream: Any = channel.stream_stream("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")
        answers = stream(iter([good, b"\xff"]), timeout=patient(15))
        assert next(answers)
        with pytest.raises(grpc.RpcError) as caught:
            next(answers)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
