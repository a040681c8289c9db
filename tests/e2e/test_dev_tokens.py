"""Test `hitmesh dev --jwks`: every service accepts the tokens of the issuer, and new keys, while the mesh runs."""

from __future__ import annotations

import http.client
import json
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import running_mesh
from tests.support.mesh import Mesh, run_command
from tests.support.tokens import AUDIENCE, ISSUER, a_token, ec_key, jwk, key_set, rsa_key
from tests.support.waiting import eventually

SITE = "merchants/demo/sites/example"
# A path of each service that reads.
PATHS = {
    "reporter": f"/v1/{SITE}/freshness",
    "control": "/v1/merchants/demo/sites",
    "processor": f"/v1/{SITE}:traceHit?hit_id=h",
}


def token(key: Any = None, **changes: Any) -> str:
    return a_token(key, now_s=int(time.time()), **changes)


def answer_of(mesh: Mesh, path: str, credential: str | None, body: str | None = None) -> tuple[int, str]:
    """Send a GET request, or a POST request with a body, and return the status and the reason of the answer."""
    connection = http.client.HTTPConnection(mesh.address, timeout=20)
    try:
        headers = {"authorization": f"Bearer {credential}"} if credential else {}
        method = "GET" if body is None else "POST"
        connection.request(method, path, body, {**headers, "content-type": "application/json"})
        answer = connection.getresponse()
        content = json.loads(answer.read())
        return answer.status, content["details"][0]["reason"] if "details" in content else ""
    finally:
        connection.close()


def is_new_key_known(mesh: Mesh) -> bool:
    return answer_of(mesh, PATHS["control"], token(ec_key()))[0] == 200


@pytest.mark.timeout(60)
def test_every_service_accepts_tokens_and_new_keys_while_the_mesh_runs(tmp_path: Path) -> None:
    jwks = tmp_path / "jwks.json"
    jwks.write_bytes(key_set(jwk(rsa_key(), "r1")))
    options = ("--no-demo-data", "--jwks", str(jwks), "--issuer", ISSUER, "--audience", "x", "--audience", AUDIENCE)
    for mesh in running_mesh(Mesh(tmp_path / "home", options)):
        administer = token(hitmesh_roles=["administer"])
        site = '{"timeZone": "UTC", "currency": "EUR"}'
        assert answer_of(mesh, "/v1/merchants/demo/sites?siteId=example", administer, site) == (200, "")
        for service, path in PATHS.items():
            accepted = (404, "NOT_FOUND") if service == "processor" else (200, "")  # no hit has this id
            assert answer_of(mesh, path, token()) == answer_of(mesh, path, mesh.key) == accepted, service
            assert answer_of(mesh, path, None) == (401, "UNKNOWN_KEY")
            assert answer_of(mesh, path, token(aud="y")) == (401, "INVALID_TOKEN")
            assert answer_of(mesh, path, token(hitmesh_merchant="merchants/rival")) == (404, "NOT_FOUND")
        command = ["sites", "--home", str(mesh.home), "-o", "json"]
        for listed in (run_command(command), run_command(command, HITMESH_KEY=token())):
            assert (listed.code, "example" in listed.out) == (0, True), listed
        new = jwks.with_name("new.json")
        new.write_bytes(key_set(jwk(ec_key(), "e1")))
        new.replace(jwks)
        eventually(partial(is_new_key_known, mesh), "the new key is known", 20)
        for path in PATHS.values():
            assert answer_of(mesh, path, token(ec_key()))[0] in (200, 404)
            assert answer_of(mesh, path, token()) == (401, "INVALID_TOKEN")


@pytest.mark.parametrize(
    ("options", "cure"),
    [
        (["--jwks", "x"], "give all three, or none"),
        (["--issuer", "x"], "give all three, or none"),
        (["--jwks", "x", "--audience", "x"], "give all three, or none"),
        (["--jwks", "x", "--issuer", "x", "--audience", "a,b"], "an option of its own"),
    ],
)
def test_wrong_options_for_tokens_are_a_wrong_usage(options: list[str], cure: str) -> None:
    finished = run_command(["dev", *options])
    assert (finished.code, cure in finished.err) == (2, True), finished


def test_a_mesh_does_not_start_without_usable_keys(tmp_path: Path) -> None:
    options = ["--jwks", str(tmp_path / "none.json"), "--issuer", ISSUER, "--audience", AUDIENCE]
    finished = run_command(["dev", "--home", str(tmp_path / "home"), *options])
    assert finished.code == 4
    assert "none.json cannot be read" in finished.err
