"""Test that Envoy refuses too many and too large requests, and that a flood fills no memory and delays no client."""

from __future__ import annotations

import contextlib
import gzip
import itertools
import json
import os
import socket
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from tests.support.doors import ask, spoken
from tests.support.flooded_doors import (
    MIB,
    REPORT,
    REPORTER,
    SMALL,
    STREAM_HITS,
    FloodedDoor,
    answers,
    get,
    post,
)
from tests.support.http2_frames import FRAME_BYTES, GRPC, Kind, RawHttp2, frame, request
from tests.support.patience import patient
from tests.support.rest import metadata_of, reason_of
from tests.support.waiting import eventually

LIST_METRICS = f"/{REPORTER}/ListMetrics"


@pytest.mark.parametrize(
    "headers",
    [["x-large: " + "v" * (SMALL.max_headers_kb << 10)], [f"x-{number}: v" for number in range(SMALL.max_headers)]],
    ids=["large", "many"],
)
def test_too_large_and_too_many_headers_are_refused(flooded: FloodedDoor, headers: list[str]) -> None:
    with flooded.bounded(4 * MIB):
        answer = spoken(flooded.http, get("/v1/metrics", *headers, "connection: close"))
    assert answer.startswith(b"HTTP/1.1 431 ")
    assert b"REQUEST_TOO_LARGE" in answer
    flooded.serves_others()


def test_usual_headers_are_not_refused(flooded: FloodedDoor) -> None:
    headers = [f"x-{number}: v" for number in range(SMALL.max_headers // 2)]
    assert spoken(flooded.http, get("/v1/metrics", *headers, "connection: close")).startswith(b"HTTP/1.1 200 ")


def test_bombs_of_gzip_are_refused_and_fill_no_memory(flooded: FloodedDoor) -> None:
    bomb, count = gzip.compress(bytes(256 * MIB), 1), 10
    # Envoy decompresses what a connection has buffered, at most to a hundredfold, before it refuses the body
    held = 100 * SMALL.connection_buffer_bytes
    with flooded.bounded(count * held + 16 * MIB), contextlib.ExitStack() as connections:
        senders = []
        for _ in range(count):
            at = (flooded.http.host, flooded.http.port)
            sender = connections.enter_context(socket.create_connection(at, timeout=patient(20)))
            with contextlib.suppress(ConnectionError):
                sender.sendall(post(REPORT, bomb, None, "content-encoding: gzip"))
            senders.append(sender)
        flooded.serves_others()
        refusals = {sender.recv(13) for sender in senders}
    assert refusals <= {b"HTTP/1.1 400 ", b"HTTP/1.1 413 "}


def test_a_connection_with_too_many_requests_learns_when_to_come_back(flooded: FloodedDoor) -> None:
    count = 2 * SMALL.burst_requests
    answer = answers(flooded.http, get("/v1/metrics") * count + get("/v1/metrics", "connection: close"))
    assert answer.count(b"HTTP/1.1 200 ") >= SMALL.burst_requests
    head, _, rest = answer.partition(b"HTTP/1.1 429 ")[2].partition(b"\r\n\r\n")
    assert b"retry-after: 1" in head
    error: dict[str, Any] = json.JSONDecoder().raw_decode(rest.decode())[0]
    assert (error["code"], reason_of(error)) == (8, "TOO_MANY_CALLS")
    assert metadata_of(error)["limit"] == str(SMALL.requests_per_s)
    assert error["details"][1]["retryDelay"] == "1s"
    flooded.serves_others()


def call_often(call: grpc.UnaryUnaryMultiCallable[bytes, bytes], count: int) -> None:
    for _ in range(count // SMALL.max_streams):
        for answer in [call.future(b"") for _ in range(SMALL.max_streams)]:
            answer.result()


def test_a_grpc_client_with_too_many_calls_learns_when_to_come_back(flooded: FloodedDoor) -> None:
    with grpc.insecure_channel(str(flooded.http)) as channel:
        call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(LIST_METRICS)
        with pytest.raises(grpc.RpcError) as raised:
            call_often(call, 10 * SMALL.burst_requests)
    error = raised.value
    assert isinstance(error, grpc.Call)
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    status = rpc_status.from_call(error)
    assert status is not None
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    assert status.details[0].Unpack(info)
    assert status.details[1].Unpack(retry)
    assert (info.reason, retry.retry_delay.seconds) == ("TOO_MANY_CALLS", 1)
    flooded.serves_others()


def test_a_service_with_too_many_requests_refuses_more_and_other_services_answer(flooded: FloodedDoor) -> None:
    count = SMALL.max_collector_requests
    with RawHttp2(flooded.http) as edge:
        streams = range(1, 2 * count, 2)
        edge.send(b"".join(request(stream, STREAM_HITS, "POST", GRPC, ends=False) for stream in streams))
        begun = (each for each in edge.frames() if each.kind == Kind.HEADERS)
        assert {each.stream for each in itertools.islice(begun, count)} == set(streams)
        answer = ask(flooded.http, "POST", "/v1/hits:send", b"{}", content_type="application/json")
        assert (answer.status, reason_of(json.loads(answer.body))) == (503, "UNAVAILABLE")
        assert answer.headers["retry-after"] == "1"
        flooded.serves_others()
    eventually(lambda: flooded.stat("cluster.collector.upstream_rq_active") == 0, "all streams have ended")


def test_bodies_that_never_end_fill_the_heap_only_to_its_limit(flooded: FloodedDoor) -> None:
    """Test streams that together send several times the heap, each with a body that is allowed."""
    body = os.urandom(SMALL.max_body_bytes - FRAME_BYTES)
    pieces = [body[begin : begin + FRAME_BYTES] for begin in range(0, len(body), FRAME_BYTES)]
    more = [("content-type", "application/json")]
    before = flooded.stat("reset_high_memory_stream.count")
    with flooded.bounded(SMALL.max_heap_bytes), contextlib.ExitStack() as connections:
        for _ in range(4):
            sender = connections.enter_context(RawHttp2(flooded.http))
            with contextlib.suppress(ConnectionError):
                for stream in range(1, 2 * SMALL.max_streams, 2):
                    sender.send(request(stream, REPORT, "POST", more, ends=False))
                    sender.send(b"".join(frame(Kind.DATA, stream, piece) for piece in pieces))
            flooded.serves_others()
    assert flooded.stat("reset_high_memory_stream.count") > before
