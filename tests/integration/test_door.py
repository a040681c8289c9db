"""Test a real Envoy in front of a reporter and a collector that run in this process."""

from __future__ import annotations

import gzip
import json
import os
import re
import urllib.parse
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from hitmesh.tools.dev.envoy import ADMIN_SOCKET, Address, Door
from reporter.question.filter_text import MAX_TEXT
from tests.support.collectors import KEY, SITE
from tests.support.doors import TRACE, ask, spoken
from tests.support.reporters import OPERATOR, OWNER
from tests.support.rest import metadata_of, reason_of
from tests.support.settled_rows import SITE as SHOP
from tests.support.waiting import eventually

STRANGER = "rebound.evil.example"
PREFLIGHT = {
    "origin": "https://shop.example",
    "access-control-request-method": "POST",
    "access-control-request-headers": "content-type",
}


def a_batch() -> bytes:
    hit = {"hitId": "h1", "type": "HIT_TYPE_PAGE_VIEW", "visitorId": "v", "pageView": {"url": "https://shop.example/"}}
    return json.dumps({"ingestKey": KEY, "hits": [hit]}).encode()


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "HEAD", "PATCH"])
@pytest.mark.parametrize(
    "path", ["/quitquitquit", "/healthcheck/fail", "/reset_counters", "/logging?level=off", "/stats"]
)
def test_no_request_to_a_port_changes_the_proxy(stats: Address, method: str, path: str) -> None:
    assert ask(stats, method, path, b"", origin="https://evil.example").status in (403, 405)


@pytest.mark.parametrize("path", ["/config_dump", "/drain_listeners", "/memory", "/", "/stats/../quitquitquit"])
def test_only_paths_that_are_known_to_read_are_handed_on(stats: Address, path: str) -> None:
    answer = ask(stats, "GET", path)
    assert answer.status == 403
    assert b"/stats/prometheus" in answer.body


@pytest.mark.parametrize("path", ["/stats", "/stats/prometheus", "/clusters?format=json", "/ready", "/server_info"])
def test_metrics_and_health_are_read_over_a_port(stats: Address, path: str) -> None:
    assert ask(stats, "GET", path).status == 200
    assert ask(stats, "GET", path, host=STRANGER).status == 403


def test_the_admin_interface_is_a_socket_file_of_the_owner(running_door: tuple[Door, Path]) -> None:
    assert (running_door[1] / ADMIN_SOCKET).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("host", [STRANGER, f"{STRANGER}:80", "localhost.evil.example", "127.0.0.1.evil.example"])
@pytest.mark.parametrize("path", ["/v1/merchants/-/sites", "/v1/metrics", "/nowhere"])
def test_another_host_name_is_refused_and_the_error_names_those_that_work(door: Address, host: str, path: str) -> None:
    answer = ask(door, "GET", path, host=host, origin=f"http://{host}")
    error = json.loads(answer.body)
    assert (answer.status, reason_of(error)) == (403, "OTHER_HOST")
    assert "localhost" in error["message"]
    assert "localhost" in metadata_of(error)["hosts"].split(", ")


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:9", "127.0.0.1", "127.0.0.1:65000", "[::1]:8080", "LOCALHOST"]
)
def test_names_of_this_machine_are_the_doors_own_on_any_port(door: Address, host: str) -> None:
    assert ask(door, "GET", "/v1/metrics", host=host).status == 200


def test_a_grpc_call_to_another_host_name_is_refused(door: Address) -> None:
    with grpc.insecure_channel(str(door), options=[("grpc.default_authority", STRANGER)]) as channel:
        call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
            "/hitmesh.api.reporter.v1.ReporterService/ListMetrics"
        )
        with pytest.raises(grpc.RpcError) as raised:
            call(b"", timeout=10)
    assert raised.value.code() is grpc.StatusCode.PERMISSION_DENIED


@pytest.mark.parametrize("host", [b"", b"Host: 127.0.0.1:8080\r\n"], ids=["no host", "host"])
def test_http_1_0_is_answered_with_and_without_a_host(door: Address, host: bytes) -> None:
    answer = spoken(door, b"GET /v1/metrics HTTP/1.0\r\n" + host + b"\r\n")
    assert answer.startswith((b"HTTP/1.0 200 ", b"HTTP/1.1 200 "))
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["metrics"]


def test_a_batch_over_http_1_0_is_taken(door: Address) -> None:
    body = a_batch()
    head = f"POST /v1/hits:send HTTP/1.0\r\nhitmesh-site: {SITE}\r\ncontent-type: application/json\r\n"
    answer = spoken(door, f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
    assert b" 200 " in answer.splitlines()[0]


@pytest.mark.parametrize(
    "path", ["/v1/metrics", "/v1/merchants/demo/sites", "/v1/merchants/demo/sites/never", "/nowhere"]
)
def test_head_returns_the_status_and_type_of_get_without_a_body(door: Address, path: str) -> None:
    got = ask(door, "GET", path)
    request = f"HEAD {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n".encode()
    head, _, body = spoken(door, request).partition(b"\r\n\r\n")
    assert body == b""
    assert head.startswith(f"HTTP/1.1 {got.status} ".encode())
    assert f"content-type: {got.headers['content-type']}".encode() in head.lower()


def test_a_connection_goes_on_after_a_head(door: Address) -> None:
    head = b"HEAD /v1/metrics HTTP/1.1\r\nhost: localhost\r\n\r\n"
    get = b"GET /v1/metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
    assert spoken(door, head + get).count(b"HTTP/1.1 200 OK\r\n") == 2


@pytest.mark.parametrize(
    "origin",
    ["https://shop.example", "http://localhost:3000", "null", "https://a.example, https://b.example", "x" * 9_000],
)
def test_a_preflight_is_answered_for_every_origin_without_credentials(door: Address, origin: str) -> None:
    answer = ask(door, "OPTIONS", "/v1/hits:send", **(PREFLIGHT | {"origin": origin}))
    assert answer.status in (200, 204)
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["vary"] == "origin"
    assert "POST" in answer.headers["access-control-allow-methods"]
    allowed = answer.headers["access-control-allow-headers"].split(", ")
    assert {"content-type", "authorization", "hitmesh-site"} <= {*allowed}
    assert "access-control-allow-credentials" not in answer.headers


def test_a_page_of_another_origin_may_read_what_became_of_its_hits(door: Address) -> None:
    sent = {"hitmesh_site": SITE, "content_type": "application/json", "origin": "https://shop.example"}
    answer = ask(door, "POST", "/v1/hits:send", a_batch(), **sent)
    assert (answer.status, answer.headers["access-control-allow-origin"]) == (200, "*")
    refused = ask(door, "POST", "/v1/hits:send", b"{", **sent)
    assert (refused.status, refused.headers["access-control-allow-origin"]) == (400, "*")


def test_reports_are_not_for_pages_of_another_origin(door: Address) -> None:
    for method in ("OPTIONS", "GET"):
        answer = ask(door, method, "/v1/merchants/demo/sites", **PREFLIGHT)
        assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize("chunked", [False, True])
def test_a_packed_batch_is_taken(door: Address, chunked: bool) -> None:
    packed = gzip.compress(a_batch())
    body = iter([packed[:20], packed[20:]]) if chunked else packed
    sent = {"content_type": "application/json", "content_encoding": "gzip", "hitmesh_site": SITE}
    answer = ask(door, "POST", "/v1/hits:send", body, **sent)
    assert (answer.status, json.loads(answer.body)["acceptedCount"]) == (200, "1")


@pytest.mark.parametrize("encoding", ["br", "zstd", "deflate", "gzip, br"])
def test_a_body_packed_otherwise_is_refused_with_415(door: Address, encoding: str) -> None:
    answer = ask(door, "POST", "/v1/hits:send", b"xx", content_type="application/json", content_encoding=encoding)
    assert (answer.status, reason_of(json.loads(answer.body))) == (415, "UNSUPPORTED_ENCODING")


@pytest.mark.parametrize("encoding", ["gzip", "X-GZIP"])
def test_a_batch_that_packs_well_is_taken(door: Address, encoding: str) -> None:
    body = a_batch().replace(b"{", b"{" + b" " * 1_000_000, 1)
    packed = gzip.compress(body)
    assert len(body) > 500 * len(packed)
    sent = {"content_type": "application/json", "content_encoding": encoding, "hitmesh_site": SITE}
    answer = ask(door, "POST", "/v1/hits:send", packed, **sent)
    assert (answer.status, json.loads(answer.body).get("acceptedCount")) == (200, "1")


def test_a_packed_body_that_unpacks_to_too_much_is_refused_by_name(door: Address) -> None:
    packed = gzip.compress(a_batch().replace(b"{", b"{" + b" " * 50_000_000, 1))
    answer = ask(door, "POST", "/v1/hits:send", packed, content_type="application/json", content_encoding="gzip")
    error = json.loads(answer.body)
    assert (answer.status, reason_of(error)) == (400, "BATCH_TOO_LARGE")
    assert metadata_of(error)["limit"] == str(2 << 20)


def test_a_line_of_the_access_log_has_a_bounded_path(running_door: tuple[Door, Path]) -> None:
    door, run = running_door
    ask(door.http, "GET", "/v1/long-" + "x" * 50_000)

    def logged() -> list[str]:
        lines = (run / "access.jsonl").read_text().splitlines()
        return [json.loads(line)["path"] for line in lines if "/v1/long-" in line]

    eventually(lambda: bool(logged()), "the call is logged")
    assert logged() == [("/v1/long-" + "x" * 256)[:256]]


def test_a_packed_body_counts_by_its_unpacked_size(door: Address) -> None:
    packed = gzip.compress(os.urandom(4).hex().encode() * 400_000)
    answer = ask(door, "POST", "/v1/hits:send", packed, content_type="application/json", content_encoding="gzip")
    assert answer.status in (400, 413), answer


@pytest.mark.parametrize("letter", ["a", "é", "語", "𝄞"])
def test_a_filter_of_the_greatest_length_works_by_get(door: Address, letter: str) -> None:
    values = [f"/{number}{letter * 400}" for number in range(100)]
    text = f"page_path in({','.join(values)})"[: MAX_TEXT - 1]
    text = text.rpartition(",")[0] + ")"
    query = f"metrics=hits&last=1d&format=csv&filter={urllib.parse.quote(text)}"
    answer = ask(door, "GET", f"/v1/merchants/demo/sites/shop:export?{query}")
    assert answer.status == 200, answer


def test_cookies_of_other_programs_on_this_machine_do_no_harm(door: Address) -> None:
    assert ask(door, "GET", "/v1/metrics", cookie="a=" + "b" * 60_000, referer="x" * 9_000).status == 200


@pytest.mark.parametrize("sent", ["x", "a-b_c/~!", "i" * 128])
def test_an_id_that_a_caller_sends_is_kept(door: Address, sent: str) -> None:
    assert ask(door, "GET", "/v1/metrics", x_request_id=sent).headers["x-request-id"] == sent


@pytest.mark.parametrize("sent", ["i" * 129, "i" * 30_000, "with blank", "\x80\xff", ""])
@pytest.mark.parametrize("path", ["/v1/metrics", "/nowhere"])
def test_an_id_that_is_long_or_not_printable_is_replaced(door: Address, sent: str, path: str) -> None:
    ids = {ask(door, "GET", path, x_request_id=sent).headers["x-request-id"] for _ in range(3)}
    assert len(ids) == 3
    assert all(re.fullmatch(r"[!-~]{8,128}", request_id) for request_id in ids)


@pytest.mark.parametrize("sent", ["i" * 5_000, "i" * 20, "with blank", "\x80\xff", ""])
def test_a_request_that_envoy_refuses_by_itself_has_an_id_of_the_same_kind_in_answer_and_log(
    running_door: tuple[Door, Path], sent: str
) -> None:
    door, run = running_door
    name = f"early-{len(sent)}"
    answer = ask(door.http, "GET", f"/refused%2F{name}", x_request_id=sent)
    assert answer.status == 400
    assert re.fullmatch(r"[!-~]{8,128}", answer.headers["x-request-id"])

    def logged() -> list[dict[str, Any]] | None:
        whole = (run / "access.jsonl").read_text().splitlines(keepends=True)
        lines = [json.loads(line) for line in whole if line.endswith("\n")]
        return [line for line in lines if str(line["path"]).endswith(name)] or None

    (line,) = eventually(logged, "the request is in the access log", 60)
    assert line["request_id"] == answer.headers["x-request-id"]


def test_unimplemented_methods_do_not_count_against_an_instance(door: Address, stats: Address) -> None:
    with grpc.insecure_channel(str(door)) as channel:
        for method in ("collector.v1.CollectorService/Nothing", "reporter.v1.ReporterService/Nothing"):
            call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"/hitmesh.{method}")
            for _ in range(60):
                with pytest.raises(grpc.RpcError) as raised:
                    call(b"", timeout=10)
                assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED
    counted = ask(stats, "GET", "/stats?filter=outlier_detection.ejections_active").body.decode()
    assert set(re.findall(r": (\d+)", counted)) == {"0"}


def health_of(door: Address, service: str) -> list[int]:
    """Return the health status that Check answers, and the first health status that Watch sends."""
    with grpc.insecure_channel(str(door)) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        request = health_pb2.HealthCheckRequest(service=service)
        watched = stub.Watch(request, timeout=20)
        try:
            return [stub.Check(request, timeout=20).status, next(watched).status]
        finally:
            watched.cancel()


@pytest.mark.parametrize(
    "service",
    [
        "",
        "hitmesh.api.collector.v1.CollectorService",
        "hitmesh.api.reporter.v1.ReporterService",
        "hitmesh.api.control.v1.AdminService",
        "hitmesh.api.control.v1.OperationsService",
        TRACE,
        "hitmesh.api.control.v1.ReprocessingService",
    ],
)
def test_health_of_each_service_behind_the_door_is_answered(door: Address, service: str) -> None:
    assert health_of(door, service) == [health_pb2.HealthCheckResponse.SERVING] * 2


def test_health_of_an_unknown_service_is_not_found(door: Address) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        health_of(door, "hitmesh.api.nothing.v1.NoService")
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_a_caller_cannot_choose_the_service_that_answers_a_health_check(door: Address) -> None:
    with grpc.insecure_channel(str(door)) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        request = health_pb2.HealthCheckRequest(service="hitmesh.api.collector.v1.CollectorService")
        answer = stub.Check(request, timeout=20, metadata=(("x-hitmesh-health", "reporter"),))
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_a_reprocessing_is_planned_read_and_run_by_rest_at_the_operators_door(operators: Address) -> None:
    wanted = {
        "sites": [SHOP],
        "kind": "REPROCESSING_KIND_LOGIC",
        "logic": "v0",
        "firstUtcDate": {"year": 2015, "month": 5, "day": 1},
        "lastUtcDate": {"year": 2015, "month": 5, "day": 16},
    }
    body, key = json.dumps(wanted).encode(), {"content_type": "application/json", "authorization": f"Bearer {OPERATOR}"}
    validated = ask(operators, "POST", "/v1/reprocessings?validate_only=true", body, **key)
    assert (validated.status, json.loads(validated.body)["reprocessing"]["name"]) == (200, ""), validated.body
    planned = json.loads(ask(operators, "POST", "/v1/reprocessings", body, **key).body)["reprocessing"]
    assert (planned["state"], planned["logic"]) == ("REPROCESSING_STATE_PLANNED", "v0")
    assert [next(iter(stage)) for stage in planned["stages"]] == ["scan", "recompute", "compare", "publish", "retire"]
    path = f"/v1/{planned['name']}"
    assert json.loads(ask(operators, "GET", path).body)["reprocessing"] == planned
    listed = json.loads(ask(operators, "GET", "/v1/reprocessings?page_size=5").body)["reprocessings"]
    assert [each["name"] for each in listed] == [planned["name"]]
    difference = ask(operators, "GET", f"{path}/diff?dimension=channel&page_size=2")
    assert (difference.status, reason_of(json.loads(difference.body))) == (400, "WRONG_STATE")
    refused = ask(operators, "POST", f"{path}:publish", b"{}", **key)
    assert metadata_of(json.loads(refused.body))["states"] == "DIFF_READY, ROLLED_BACK, FAILED"
    running = json.loads(ask(operators, "POST", f"{path}:run", b"{}", **key).body)["reprocessing"]
    assert (running["state"], running["work"]) == ("REPROCESSING_STATE_RUNNING", "REPROCESSING_WORK_RECOMPUTE")
    assert ask(operators, "POST", f"{path}:rollback", b"{}").status == 401
    assert ask(operators, "POST", f"{path}:cancel", b"{}", **key | {"authorization": f"Bearer {OWNER}"}).status == 403
