"""Test a real Envoy and services that read the issuer's keys from a URL: rotation, and an issuer that is down."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import pytest

from hitmesh.tools.dev import tcp_ports
from hitmesh.tools.dev.envoy import Address, Door
from hitmesh.tools.dev.envoy_tokens import TokenDoor
from tests.support import doors
from tests.support.doors import ask
from tests.support.settled_rows import SITE
from tests.support.tokens import AUDIENCE, ISSUER, a_token, ec_key, jwk, key_set, rsa_key
from tests.support.waiting import eventually

NO_KEYS = "the mesh cannot fetch the issuer's keys at the moment: send the call again later"
OLD, NEW = jwk(rsa_key(), "r1"), jwk(ec_key(), "e1")


class Issuer(ThreadingHTTPServer):
    """Serves a key set, or an error while the issuer is down, and counts requests."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.keys: bytes | None = key_set(OLD)
        self.requests = 0


class Answers(BaseHTTPRequestHandler):
    server: Issuer

    def do_GET(self) -> None:
        self.server.requests += 1
        keys = self.server.keys
        self.send_response(503 if keys is None else 200)
        self.end_headers()
        self.wfile.write(keys or b"")

    def log_message(self, format: str, *arguments: object) -> None:
        """Print nothing."""


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    server = Issuer()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def door(issuer: Issuer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    run = tmp_path_factory.mktemp("token-url")
    url = f"http://127.0.0.1:{issuer.server_port}/keys"
    tokens = TokenDoor(url, ISSUER, (AUDIENCE,), run / "unused.json", refresh_s=0.5, retry_s=0.5)
    yield from doors.running_door(run, tokens)


def status(at: Address, key: Any = None) -> int:
    token = a_token(key, now_s=int(time.time()))
    return ask(at, "GET", f"/v1/{SITE}", authorization=f"Bearer {token}").status


@pytest.mark.timeout(60)
def test_without_keys_of_the_issuer_a_token_is_unavailable(tmp_path: Path) -> None:
    http, operators, stats, dead = (Address(tcp_ports.HOST, port) for port in tcp_ports.any_free(4))
    tokens = TokenDoor(f"http://{dead}/keys", ISSUER, (AUDIENCE,), tmp_path / "unused.json", retry_s=0.5)
    services = ((dead,),) * 4
    with doors.envoy_at(Door(http, operators, stats, *services, tmp_path / "log", tokens=tokens), tmp_path):
        bearer = f"Bearer {a_token(now_s=int(time.time()))}"
        answer = ask(http, "GET", f"/v1/{SITE}", authorization=bearer)
        error = json.loads(answer.body)
        assert (answer.status, error["code"], answer.headers["retry-after"]) == (503, 14, "1"), answer
        assert (error["message"], error["details"][0]["reason"]) == (NO_KEYS, "UNAVAILABLE")
        with grpc.insecure_channel(str(http)) as channel:
            call: Any = channel.unary_unary("/hitmesh.api.reporter.v1.ReporterService/RunReport")
            with pytest.raises(grpc.RpcError) as refused:
                call(b"", metadata=(("authorization", bearer),), timeout=20)
        assert (refused.value.code(), refused.value.details()) == (grpc.StatusCode.UNAVAILABLE, NO_KEYS)


@pytest.mark.timeout(60)
def test_keys_rotate_and_are_kept_while_the_issuer_is_down(door: Door, issuer: Issuer) -> None:
    eventually(lambda: status(door.http) == 200, "Envoy and the service have the keys", 20)
    assert status(door.http, ec_key()) == 401
    issuer.keys = None
    before = issuer.requests
    eventually(lambda: issuer.requests > before + 4, "several fetches fail", 30, moving=lambda: issuer.requests)
    assert status(door.http) == 200
    issuer.keys = key_set(OLD, NEW)
    eventually(lambda: status(door.http, ec_key()) == 200, "the new key is known", 20)
    assert status(door.http) == 200
    issuer.keys = key_set(NEW)
    eventually(lambda: status(door.http) == 401, "the old key is unknown", 20)
    assert status(door.http, ec_key()) == 200
