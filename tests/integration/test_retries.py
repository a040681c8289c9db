"""Test that Envoy sends a call again at most as often as docs/limits.md says, so that retries cannot double a load."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from hitmesh.runtime.call_limits import CallPool
from hitmesh.tools.dev import tcp_ports
from hitmesh.tools.dev.door_limits import DoorLimits
from hitmesh.tools.dev.envoy import Address, Door
from tests.support.doors import ask, envoy_at
from tests.support.flooded_doors import COLLECTOR, CONTROL, REPORTER, FloodedDoor
from tests.support.patience import patient
from tests.support.reporters import served
from tests.support.waiting import eventually

LIST_METRICS = f"/{REPORTER}/ListMetrics"
LIST_DIMENSIONS = f"/{REPORTER}/ListDimensions"
CALLS = 40


class Unavailable(grpc.GenericRpcHandler):
    """Answers ListDimensions with UNAVAILABLE, and counts the calls."""

    def __init__(self) -> None:
        self.calls = itertools.count()

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes] | None:
        def refuse(_: bytes, context: grpc.ServicerContext) -> bytes:
            next(self.calls)
            context.abort(grpc.StatusCode.UNAVAILABLE, "the service is overloaded")

        def answer(_: bytes, __: grpc.ServicerContext) -> bytes:
            return b""

        found = {LIST_DIMENSIONS: refuse, LIST_METRICS: answer}.get(handler_call_details.method)
        return None if found is None else grpc.unary_unary_rpc_method_handler(found)


@contextlib.contextmanager
def running(run: Path, reporters: tuple[Address, ...], others: tuple[Address, ...]) -> Iterator[FloodedDoor]:
    http, operators, stats = (Address(tcp_ports.HOST, port) for port in tcp_ports.any_free(3))
    door = Door(http, operators, stats, others, reporters, others, others, run / "access.jsonl", limits=DoorLimits())
    with envoy_at(door, run) as envoy:
        eventually(lambda: ask(stats, "GET", "/ready").status == 200, "Envoy is ready", 60)
        yield FloodedDoor(door, envoy.process.pid)


def code_of(call: grpc.UnaryUnaryMultiCallable[bytes, bytes]) -> grpc.StatusCode:
    try:
        call(b"", timeout=patient(20))
    except grpc.RpcError as error:
        return error.code()
    return grpc.StatusCode.OK


@pytest.fixture
def unavailable() -> Iterator[tuple[Unavailable, Address]]:
    handler = Unavailable()
    server = grpc.server(CallPool(16), handlers=[handler])
    yield handler, Address(tcp_ports.HOST, served(server, [COLLECTOR, REPORTER, CONTROL]))
    server.stop(None).wait()


def test_a_call_that_a_service_answers_with_unavailable_is_not_sent_again(
    tmp_path: Path, unavailable: tuple[Unavailable, Address]
) -> None:
    handler, at = unavailable
    with running(tmp_path, (at,), (at,)) as door, grpc.insecure_channel(str(door.http)) as channel:
        call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(LIST_DIMENSIONS)
        eventually(lambda: code_of(channel.unary_unary(LIST_METRICS)) is grpc.StatusCode.OK, "the service is reached")
        for _ in range(CALLS):
            assert code_of(call) is grpc.StatusCode.UNAVAILABLE
        assert next(handler.calls) == CALLS
        assert door.stat("cluster.reporter.upstream_rq_retry") == 0


def test_a_call_that_reaches_no_instance_is_sent_again_once(
    tmp_path: Path, unavailable: tuple[Unavailable, Address]
) -> None:
    nobody = Address(tcp_ports.HOST, tcp_ports.any_free(1)[0])
    with running(tmp_path, (nobody,), (unavailable[1],)) as door, ThreadPoolExecutor(8) as pool:
        with grpc.insecure_channel(str(door.http)) as channel:
            calls = [pool.submit(code_of, channel.unary_unary(LIST_METRICS)) for _ in range(CALLS)]
            assert {call.result() for call in calls} == {grpc.StatusCode.UNAVAILABLE}
        retries = door.stat("cluster.reporter.upstream_rq_retry")
        beyond = door.stat("cluster.reporter.upstream_rq_retry_overflow")
    assert 0 < retries <= CALLS
    assert retries + beyond <= CALLS
