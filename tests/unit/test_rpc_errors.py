"""Test that errors of calls become their gRPC status, also in the middle of a stream."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest

from hitmesh.model.errors import HitmeshError, RefusedError, Unavailable
from hitmesh.model.reasons import ErrorReason
from hitmesh.runtime.call_limits import CallPool
from hitmesh.runtime.handlers import Handler
from hitmesh.runtime.rpc_errors import translating_stream
from tests.support.patience import patient

FAILED = "the server failed: report this to the operator; the cause is in the server's log"


class Panic(BaseException):
    """A simulated panic of a Rust library. A panic does not derive from Exception."""


def answers(error: BaseException, *, after: int) -> tuple[list[bytes], grpc.RpcError]:
    """Return a call's responses. The given number of responses succeed before the call fails."""

    def stream(_: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        context.send_initial_metadata((("x-first", "yes"),))
        yield from (b"%d" % number for number in range(after))
        raise error

    server = grpc.server(CallPool(1))
    handler: Handler = grpc.unary_stream_rpc_method_handler(translating_stream(stream))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("t.S", {"Get": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    received: list[bytes] = []
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            get: grpc.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream("/t.S/Get")
            with pytest.raises(grpc.RpcError) as caught:
                received.extend(get(b"", timeout=patient(15)))
    finally:
        server.stop(None).wait()
    return received, caught.value


@pytest.mark.parametrize("after", [0, 1, 3])
@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (RefusedError("no", field="limit", reason=ErrorReason.TOO_MANY_ROWS), grpc.StatusCode.INVALID_ARGUMENT, "no"),
        (Unavailable("later", retry_after_s=2.0), grpc.StatusCode.UNAVAILABLE, "later"),
        (HitmeshError("broken"), grpc.StatusCode.INTERNAL, "broken"),
        (ZeroDivisionError("secret"), grpc.StatusCode.INTERNAL, FAILED),
        (Panic("secret"), grpc.StatusCode.INTERNAL, FAILED),
    ],
)
def test_an_error_ends_a_stream_with_its_status_wherever_it_happens(
    error: BaseException, code: grpc.StatusCode, message: str, after: int
) -> None:
    received, ended = answers(error, after=after)
    assert len(received) <= after
    assert isinstance(ended, grpc.Call)
    assert (ended.code(), ended.details()) == (code, message)
