"""Test that a caller with many open calls leaves room for the calls of others."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from hitmesh.runtime.call_limits import CallLimit, CallPool
from tests.support.patience import patient

MAX_CALLS = 16
SLOW, FLOOD, QUIET = "/hitmesh.Test/Slow", "Bearer flood", "Bearer quiet"


class _Service(grpc.GenericRpcHandler):
    """Answers a call when `released` is set."""

    def __init__(self) -> None:
        self.released = threading.Event()

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes]:
        def answer(message: bytes, _: grpc.ServicerContext) -> bytes:
            self.released.wait(patient(20))
            return message

        return grpc.unary_unary_rpc_method_handler(answer)


@pytest.fixture
def service() -> Iterator[tuple[_Service, grpc.Channel]]:
    pool, handler = CallPool(MAX_CALLS), _Service()
    server = grpc.server(pool, handlers=[handler], interceptors=[CallLimit(pool)])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield handler, channel
    handler.released.set()
    server.stop(None).wait()


def called(
    channel: grpc.Channel, caller: str, name: str = "authorization", address: str = "192.0.2.1"
) -> grpc.StatusCode:
    call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(SLOW)
    try:
        call(b"", timeout=patient(20), metadata=((name, caller), ("x-forwarded-for", f"198.51.100.9, {address}")))
    except grpc.RpcError as error:
        return error.code()
    return grpc.StatusCode.OK


@pytest.mark.parametrize("name", ["authorization", "hitmesh-site"])
def test_a_caller_that_never_backs_off_leaves_a_quarter_of_the_calls_to_others(
    service: tuple[_Service, grpc.Channel], name: str
) -> None:
    handler, channel = service
    with ThreadPoolExecutor(4 * MAX_CALLS) as clients:
        flood = [clients.submit(called, channel, FLOOD, name) for _ in range(3 * MAX_CALLS)]
        while sum(call.done() for call in flood) < 3 * MAX_CALLS - MAX_CALLS * 3 // 4:
            threading.Event().wait(0.01)
        quiet = [clients.submit(called, channel, QUIET, name) for _ in range(MAX_CALLS // 4)]
        threading.Event().wait(0.1)
        assert not any(call.done() for call in quiet), "the calls run"
        handler.released.set()
        assert {call.result() for call in quiet} == {grpc.StatusCode.OK}
        codes = [call.result() for call in flood]
    assert codes.count(grpc.StatusCode.OK) == MAX_CALLS * 3 // 4
    assert codes.count(grpc.StatusCode.RESOURCE_EXHAUSTED) == 3 * MAX_CALLS - MAX_CALLS * 3 // 4
    handler.released.set()
    assert called(channel, FLOOD, name) is grpc.StatusCode.OK, "ended calls are not counted"


@pytest.mark.parametrize("name", ["authorization", "hitmesh-site"])
def test_a_client_that_names_the_key_or_site_of_another_takes_nothing_from_it(
    service: tuple[_Service, grpc.Channel], name: str
) -> None:
    handler, channel = service
    with ThreadPoolExecutor(4 * MAX_CALLS) as clients:
        flood = [clients.submit(called, channel, QUIET, name) for _ in range(3 * MAX_CALLS)]
        while sum(call.done() for call in flood) < 3 * MAX_CALLS - MAX_CALLS * 3 // 4:
            threading.Event().wait(0.01)
        quiet = [clients.submit(called, channel, QUIET, name, "203.0.113.7") for _ in range(MAX_CALLS // 4)]
        handler.released.set()
        assert {call.result() for call in quiet} == {grpc.StatusCode.OK}
