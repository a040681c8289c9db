"""Refuses requests whose bytes do not decode as the method's message, with INVALID_ARGUMENT and the reason DECODE.

Without this interceptor, gRPC would answer a request that does not decode with INTERNAL and no details.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NoReturn

import grpc
from google.protobuf import descriptor_pool
from google.protobuf.message import DecodeError

from hitmesh.model.errors import RefusedError
from hitmesh.model.reasons import ErrorReason
from hitmesh.runtime.handlers import Behaviour, Handler, with_behaviour
from hitmesh.runtime.rpc_errors import abort


class _Undecodable:
    """Placeholder for a request that does not decode."""


_UNDECODABLE = _Undecodable()


class DecodeRefusals(grpc.ServerInterceptor):
    """Wraps the request deserializer of every method.

    A handler that takes raw bytes is returned unchanged.

    This interceptor must be the server's last interceptor, so that the other interceptors also limit and measure the
    calls that this interceptor refuses.
    """

    def intercept_service(
        self, continuation: Callable[[grpc.HandlerCallDetails], Handler | None], details: grpc.HandlerCallDetails
    ) -> Handler | None:
        """Return a handler that refuses a request if the bytes do not decode."""
        handler = continuation(details)
        if handler is None or handler.request_deserializer is None:
            return handler
        checked = _of_requests if handler.request_streaming else _of_request
        return with_behaviour(handler, partial(checked, details.method), _decoder(handler.request_deserializer))


def _decoder(decode: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    def decoded(message: bytes) -> Any:
        try:
            return decode(message)
        except DecodeError:
            return _UNDECODABLE

    return decoded


def _of_request(method: str, behaviour: Behaviour) -> Behaviour:
    @functools.wraps(behaviour)  # `wraps` copies the attributes that gRPC reads
    def checked(request: Any, *call: Any) -> Any:  # `call` has the context and, for some handlers, a callback
        if request is _UNDECODABLE:
            _refuse(method, call[0])
        return behaviour(request, *call)

    return checked


def _of_requests(method: str, behaviour: Behaviour) -> Behaviour:
    @functools.wraps(behaviour)
    def checked(requests: Iterator[Any], *call: Any) -> Any:
        return behaviour(_decoded(method, requests, call[0]), *call)

    return checked


def _decoded(method: str, requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
    for request in requests:
        if request is _UNDECODABLE:
            _refuse(method, context)
        yield request


def _refuse(method: str, context: grpc.ServicerContext) -> NoReturn:
    called = method.removeprefix("/").replace("/", ".")
    expected = descriptor_pool.Default().FindMethodByName(called).input_type.full_name
    abort(
        context,
        RefusedError(
            f"the request's bytes are not a {expected}: send that message in the protobuf encoding, with every text in "
            "UTF-8",
            reason=ErrorReason.DECODE,
            value=expected,
        ),
    )
