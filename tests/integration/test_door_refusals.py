"""Test calls that Envoy refuses itself. Envoy must report the cause to the caller."""

from __future__ import annotations

import http.client
import itertools
import json
import socket
import threading
import urllib.parse
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.api import annotations_pb2, http_pb2
from google.protobuf import descriptor_pb2
from google.rpc import error_details_pb2
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_status import rpc_status

from hitmesh.runtime.lifecycle import REFLECTION_WORKERS
from hitmesh.tools.dev.envoy import Address, descriptors
from hitmesh.tools.dev.path_fields import path_fields
from tests.support.doors import MAX_CONNECTIONS, Answer, ask
from tests.support.reporters import OWNER
from tests.support.rest import reason_of
from tests.support.settled_rows import SITE
from tests.support.waiting import eventually

OTHER = "merchants/rival/sites/shop"
SERVICE = "/hitmesh.api.reporter.v1.ReporterService"


def bound_fields() -> Iterator[tuple[str, str, str, bool]]:
    """Yield every route that binds a field in its path.

    A route is (method, path, field, whether the body is the request).
    """
    files = descriptor_pb2.FileDescriptorSet.FromString(descriptors().read_bytes())
    for file in files.file:
        for method in itertools.chain.from_iterable(service.method for service in file.service):
            rule: http_pb2.HttpRule = method.options.Extensions[annotations_pb2.http]
            for route in (rule, *rule.additional_bindings):
                verb = route.WhichOneof("pattern")
                head, brace, rest = (getattr(route, verb) if verb else "").partition("{")
                if brace:
                    binding, _, tail = rest.partition("}")
                    field, _, pattern = binding.partition("=")
                    assert "{" not in tail, "a route with two bindings needs a longer test"
                    of_request = field.partition(".")[0]
                    yield str(verb).upper(), head + pattern.replace("*", "demo") + tail, of_request, route.body == "*"


BOUND = sorted(set(bound_fields()))


OF_OPERATORS = "/v1/reprocessings"


def spellings(field: str) -> list[str]:
    first = f"%{ord(field[0]):02x}"
    return [
        f"{field}={OTHER}",
        f"{field}",
        f"&&{field}={OTHER}",
        f"{field}={OTHER}&{field}={OTHER}",
        f"{first}{field[1:]}={OTHER}",
        f"{field}.name={OTHER}",
        f"{''.join(f'%{ord(letter):02X}' for letter in field)}={OTHER}",
    ]


def refused(answer: Answer, field: str) -> str:
    assert answer.body.startswith(b"{"), answer
    error = json.loads(answer.body)
    assert (answer.status, error["code"], reason_of(error)) == (400, 3, "INVALID_REQUEST"), answer
    assert field in urllib.parse.unquote(error["message"])
    return str(error["message"])


def test_routes_with_a_bound_path_are_found() -> None:
    assert len(BOUND) >= 13
    assert {field for _, _, field, _ in BOUND} == {"key", "name", "parent", "site"}


@pytest.mark.parametrize(("method", "path", "field", "_whole"), BOUND)
def test_a_field_of_the_path_is_refused_in_the_query(
    door: Address, operators: Address, method: str, path: str, field: str, _whole: bool
) -> None:
    door = operators if path.startswith(OF_OPERATORS) else door
    for query in spellings(field):
        body = {"GET": None}.get(method, b"{}")
        refused(ask(door, method, f"{path}?{query}", body, content_type="application/json"), field)
    if method == "GET":
        assert ask(door, "HEAD", f"{path}?{field}={OTHER}").status == 400


@pytest.mark.parametrize(("method", "path", "field"), [row[:3] for row in BOUND if row[3]])
def test_a_field_of_the_path_is_refused_in_the_body(
    door: Address, operators: Address, method: str, path: str, field: str
) -> None:
    door = operators if path.startswith(OF_OPERATORS) else door
    for body in (
        json.dumps({field: OTHER}),
        f'{{"{field}": "{OTHER}", "{field}": "{OTHER}"}}',
        f'{{"\\u{ord(field[0]):04x}{field[1:]}": "{OTHER}"}}',
        json.dumps({field: ""}),
    ):
        refused(ask(door, method, path, body.encode(), content_type="application/json"), field)


def test_the_path_alone_names_the_site(door: Address) -> None:
    answer = ask(door, "GET", f"/v1/{SITE}?name={OTHER}")
    assert "path" in refused(answer, "name")
    refused(ask(door, "GET", f"/v1/{SITE}?name={OTHER}", x_envoy_original_path="/v1/other"), "name")
    refused(ask(door, "GET", f"/v1/{SITE}?name={SITE}"), "name")
    same = json.dumps({"site": SITE, "metrics": ["hits"], "timeRange": {"lastDays": 3}}).encode()
    assert ask(door, "POST", f"/v1/{SITE}:runReport", same, content_type="application/json").status == 200
    found = json.loads(ask(door, "GET", f"/v1/{SITE}", authorization=f"Bearer {OWNER}").body)
    assert found["site"]["name"] == SITE, found


@pytest.mark.parametrize(
    ("path", "query"),
    [
        (f"/v1/{SITE}/ledger", "firstUtcDate.year=2026&firstUtcDate.month=3&firstUtcDate.day=1"),
        (f"/v1/{SITE}:export", "metrics=hits&last=1d&format=csv&filter=page_path%3D%3Dsite"),
        ("/v1/merchants/demo/sites", "pageSize=1"),
        ("/v1/metrics", ""),
    ],
)
def test_other_parameters_are_not_refused_by_the_door(door: Address, path: str, query: str) -> None:
    answer = ask(door, "GET", f"{path}?{query}")
    assert answer.status == 200 or reason_of(json.loads(answer.body)) != "INVALID_REQUEST", answer


def test_explain_report_keeps_its_check_of_the_site(door: Address) -> None:
    def explained(site: str) -> Answer:
        question = {"site": site, "metrics": ["hits"], "timeRange": {"lastDays": 3}}
        return ask(
            door, "POST", f"/v1/{SITE}:explainReport", json.dumps(question).encode(), content_type="application/json"
        )

    assert explained(SITE).status == 200
    refusal = explained(OTHER)
    assert (refusal.status, reason_of(json.loads(refusal.body))) == (400, "INVALID_FIELD")


def test_every_method_with_a_path_is_known_to_the_filter() -> None:
    known = path_fields(descriptors())
    assert known["/hitmesh.api.control.v1.AdminService/GetSite"] == ["name"]
    assert known["/hitmesh.api.control.v1.AdminService/CreateSite"] == ["parent"]
    assert known["/hitmesh.api.reporter.v1.ExportService/ExportReport"] == ["site"]


def failed(door: Address, method: str, **options: Any) -> grpc.RpcError:
    with grpc.insecure_channel(str(door), options=list(options.items())) as channel:
        call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(method)
        with pytest.raises(grpc.RpcError) as raised:
            call(b"", timeout=20)
    return raised.value


@pytest.mark.parametrize(
    ("method", "code", "reason", "word"),
    [
        ("/nope/X", grpc.StatusCode.UNIMPLEMENTED, "UNIMPLEMENTED", "grpcurl list"),
        (f"{SERVICE}/ListMetrics%2F", grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST", "malformed"),
    ],
)
def test_a_grpc_caller_reads_a_sentence(
    door: Address, method: str, code: grpc.StatusCode, reason: str, word: str
) -> None:
    error = failed(door, method)
    assert isinstance(error, grpc.Call)
    assert error.code() is code
    assert word in (error.details() or "")
    assert "{" not in (error.details() or "")
    status = rpc_status.from_call(error)
    assert status is not None
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert info.reason == reason


def test_a_grpc_caller_of_another_host_reads_the_names_that_work(door: Address) -> None:
    error = failed(door, f"{SERVICE}/ListMetrics", **{"grpc.default_authority": "rebound.evil.example"})
    assert isinstance(error, grpc.Call)
    assert error.code() is grpc.StatusCode.PERMISSION_DENIED
    assert "localhost" in (error.details() or "")
    assert rpc_status.from_call(error) is not None


def test_a_rest_caller_reads_json_with_a_matching_code(door: Address) -> None:
    error = json.loads(ask(door, "GET", "/nope/X").body)
    assert (error["code"], reason_of(error)) == (5, "NOT_FOUND")


@pytest.mark.parametrize("path", ["/v1/merchants/demo/sites/example%2F..%2F", "/v1/merchants/demo/sites/exam%00ple"])
def test_a_malformed_path_is_refused_with_a_message(door: Address, path: str) -> None:
    answer = ask(door, "GET", path)
    error = json.loads(answer.body)
    assert (answer.status, error["code"], reason_of(error)) == (400, 3, "INVALID_REQUEST")
    assert "%2F" in error["message"]


@pytest.mark.timeout(60)
def test_idle_reflection_streams_end_and_free_their_places(door: Address) -> None:
    listing = reflection_pb2.ServerReflectionRequest(list_services="")
    ended = threading.Event()

    def idle_after_a_request() -> Iterator[reflection_pb2.ServerReflectionRequest]:
        yield listing
        ended.wait()

    with grpc.insecure_channel(str(door)) as channel:
        stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
        idle = [stub.ServerReflectionInfo(idle_after_a_request()) for _ in range(REFLECTION_WORKERS)]
        try:
            for stream in idle:
                assert next(stream).list_services_response.service
            for stream in idle:
                with pytest.raises(grpc.RpcError):
                    next(stream)
            (answer,) = stub.ServerReflectionInfo(iter([listing]), timeout=20)
        finally:
            ended.set()
    assert answer.list_services_response.service


def test_a_connection_beyond_the_limit_is_closed_and_the_metrics_stay_readable(door: Address, stats: Address) -> None:
    def is_closed(connection: socket.socket) -> bool:
        try:
            connection.sendall(b"GET /v1/metrics HTTP/1.1\r\nhost: localhost\r\n\r\n")
            return connection.recv(1) == b""
        except ConnectionError:
            return True

    silent: list[socket.socket] = []
    try:
        while len(silent) < MAX_CONNECTIONS:
            silent.append(socket.create_connection((door.host, door.port), timeout=20))
        with socket.create_connection((door.host, door.port), timeout=20) as further:
            assert is_closed(further)
        counted = ask(stats, "GET", "/stats?filter=downstream_cx_overflow").body.decode()
        assert any("downstream_cx_overflow: " in line and not line.endswith(": 0") for line in counted.splitlines())
    finally:
        for connection in silent:
            connection.close()

    def is_served() -> bool:
        try:
            return ask(door, "GET", "/v1/metrics").status == 200
        except ConnectionError:
            return False

    eventually(is_served, "the door has places again")


HOST = b"Host: localhost\r\n"
POST = b"POST /v1/hits:send HTTP/1.1\r\n"
GET = b"GET /v1/metrics HTTP/1.1\r\n"
# Requests in HTTP/1.1 that Envoy refuses, each with the status, the reason, and words of the message.
REFUSED_BY_ENVOY: dict[str, tuple[bytes, int, str, str]] = {
    "an upgrade": (
        GET + HOST + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        400,
        "INVALID_REQUEST",
        "Upgrade",
    ),
    "two lengths": (
        POST + HOST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        400,
        "INVALID_REQUEST",
        "Content-Length",
    ),
    "length and chunks": (
        POST + HOST + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
        "INVALID_REQUEST",
        "Transfer-Encoding",
    ),
    "no host": (GET + b"\r\n", 400, "INVALID_REQUEST", "Host"),
    "an unknown method": (b"FOO /v1/metrics HTTP/1.1\r\n" + HOST + b"\r\n", 400, "INVALID_REQUEST", "method"),
    "a bad chunk": (
        POST + HOST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        400,
        "INVALID_REQUEST",
        "chunks",
    ),
    "an underscore": (GET + HOST + b"a_b: 1\r\n\r\n", 400, "INVALID_REQUEST", "underscore"),
    "an unknown coding": (POST + HOST + b"Transfer-Encoding: gzip\r\n\r\n", 501, "UNIMPLEMENTED", "Content-Length"),
    "many headers": (
        GET + HOST + b"".join(b"x-%d: 1\r\n" % number for number in range(150)) + b"\r\n",
        431,
        "REQUEST_TOO_LARGE",
        "more than 100 headers",
    ),
    "large headers": (GET + HOST + b"x: " + b"a" * 300_000 + b"\r\n\r\n", 431, "REQUEST_TOO_LARGE", "256 KiB"),
    "another method": (b"DELETE /v1/metrics HTTP/1.1\r\n" + HOST + b"\r\n", 404, "NOT_FOUND", "HTTP method"),
    "an unknown path": (b"GET /v1/nowhere HTTP/1.1\r\n" + HOST + b"\r\n", 404, "NOT_FOUND", "/v1/nowhere"),
}


@pytest.mark.parametrize("name", REFUSED_BY_ENVOY)
def test_the_message_names_the_cause_and_the_cure(door: Address, name: str) -> None:
    request, status, reason, words = REFUSED_BY_ENVOY[name]
    with socket.create_connection((door.host, door.port), timeout=20) as connection:
        connection.sendall(request)
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        error = json.loads(answer.read())
    assert (answer.status, reason_of(error)) == (status, reason)
    assert words in error["message"]
    assert ": " in error["message"], "the cure"
    assert "%" not in error["message"]


def test_a_malformed_grpc_timeout_does_not_matter_to_a_rest_call(door: Address) -> None:
    assert ask(door, "GET", "/v1/metrics", grpc_timeout="x").status == 200
