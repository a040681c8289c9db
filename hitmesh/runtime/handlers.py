"""Replaces the behaviour of a gRPC handler, whatever the handler's kind. Interceptors use this module."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeAlias

import grpc

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"  # grpc.RpcMethodHandler is generic only in the type stubs
Behaviour: TypeAlias = Callable[..., Any]
KINDS: Final = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")
"""The attributes of a handler, of which exactly one has a behaviour."""


def with_behaviour(
    handler: Handler, wrap: Callable[[Behaviour], Behaviour], decode: Callable[[bytes], Any] | None = None
) -> Handler:
    """Return a handler of the same kind with another behaviour.

    Args:
        handler: the handler.
        wrap: returns the new behaviour for the present behaviour. gRPC reads attributes of a behaviour, so the new
            behaviour needs the attributes of the present one (functools.wraps).
        decode: the new decoder of requests; None keeps the present decoder.
    """
    kind = next(kind for kind in KINDS if getattr(handler, kind) is not None)
    make = getattr(grpc, f"{kind}_rpc_method_handler")
    made: Handler = make(
        wrap(getattr(handler, kind)), decode or handler.request_deserializer, handler.response_serializer
    )
    return made
