"""Test the part of Envoy's configuration that checks tokens, and the file that gives Envoy the keys."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hitmesh.access.rights import RULES
from hitmesh.access.tokens import LEEWAY_S
from hitmesh.model.errors import RefusedError, Unavailable
from hitmesh.model.sites import Role
from hitmesh.tools.dev import envoy_tokens, tcp_ports
from hitmesh.tools.dev.envoy import Address, Door, binary, open_paths, render
from hitmesh.tools.dev.envoy_tokens import TokenDoor, WatchedKeys, token_filter
from tests.support.tokens import AUDIENCE, ISSUER, a_certificate, jwk, key_set, rsa_key

URLS = ("https://issuer.example/keys?v=1", "https://192.0.2.7:8443/keys", "http://127.0.0.1:9/keys", "http://[::1]:9/")


def a_door(tmp_path: Path, jwks: str = "") -> Door:
    place = jwks or str(tmp_path / "jwks.json")
    authorities = tmp_path / "authorities.pem"
    authorities.write_bytes(a_certificate())
    tokens = TokenDoor(place, ISSUER, (AUDIENCE, "second"), tmp_path / "tokens.json", authorities)
    return replace(without_tokens(tmp_path), tokens=tokens)


def without_tokens(tmp_path: Path) -> Door:
    http, operators, stats, *services = (Address(tcp_ports.HOST, port) for port in range(18_001, 18_008))
    collectors, reporters, processors, controls = ((address,) for address in services)
    return Door(http, operators, stats, collectors, reporters, processors, controls, tmp_path / "access.jsonl")


def watched(door: Door) -> TokenDoor:
    assert door.tokens is not None
    return door.tokens


def validated(door: Door, directory: Path) -> subprocess.CompletedProcess[str]:
    config = directory / "envoy.yaml"
    config.write_text(render(door), encoding="utf-8")
    command = [str(binary()), "--mode", "validate", "-c", str(config), "--log-level", "error"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("jwks", ["", *URLS[:2]])
def test_envoy_accepts_the_configuration_with_tokens(tmp_path: Path, jwks: str) -> None:
    (tmp_path / "jwks.json").write_bytes(key_set())
    door = a_door(tmp_path, jwks)
    WatchedKeys(watched(door), open_paths()).refresh()
    checked = validated(door, tmp_path)
    assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize("jwks", URLS)
def test_keys_from_a_url_come_from_a_cluster_that_checks_the_certificate(tmp_path: Path, jwks: str) -> None:
    text = render(a_door(tmp_path, jwks))
    (cluster,) = (json.loads(line.strip()[2:]) for line in text.splitlines() if '"name": "token-keys"' in line)
    assert ("transport_socket" in cluster) == jwks.startswith("https")
    if jwks.startswith("https"):
        checks = cluster["transport_socket"]["typed_config"]["common_tls_context"]["validation_context"]
        assert checks["trusted_ca"] == {"filename": str(tmp_path / "authorities.pem")}
        assert checks["match_typed_subject_alt_names"][0]["matcher"]["exact"] in jwks
    assert text.count(f'"uri": "{jwks}"') == 2, "one for each listener"


def test_the_last_rule_requires_a_token_on_every_path(tmp_path: Path) -> None:
    provider, rules = parts(tmp_path)
    assert rules[-1] == {"match": {"prefix": "/"}, "requires": {"provider_name": "issuer"}}
    assert [rule for rule in rules[:-1] if "requires" in rule] == []
    exact = [rule["match"]["path"] for rule in rules[:-2]]
    assert sorted(exact) == sorted(open_paths())
    assert provider["audiences"] == [AUDIENCE, "second"]
    assert provider["issuer"] == ISSUER
    assert {header["name"] for header in provider["from_headers"]} == {"authorization"}
    assert not {"from_params", "from_cookies", "payload_in_metadata"} & set(provider)
    assert (provider["forward"], provider["require_expiration"]) == (True, True)
    assert provider["clock_skew_seconds"] == LEEWAY_S


def parts(tmp_path: Path) -> tuple[dict[str, Any], list[Any]]:
    found = json.loads(token_filter(watched(a_door(tmp_path, URLS[0])), open_paths()))["typed_config"]
    return found["providers"]["issuer"], found["rules"]


def test_open_paths_are_those_of_rpcs_that_everybody_may_call_or_that_take_a_key_in_the_body() -> None:
    rpcs = {path for path, rule in RULES.items() if rule.role in (None, Role.SEND)}
    rest = set(open_paths()) - rpcs
    assert rpcs <= set(open_paths())
    first_reflection = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
    assert rest == {
        *("/v1/hits:send", "/v1/metrics", "/v1/dimensions", "/v1/operators:exchangeBootstrapToken", first_reflection),
    }
    assert not [path for path in open_paths() if re.search(r"RunReport|Export|Site|Key|Reprocessing", path)]


@pytest.mark.parametrize("text", ["Bearer hms_Abc-_1", "bearer  token", "BEARER a=="])
def test_a_key_passes_to_the_services(tmp_path: Path, text: str) -> None:
    assert re.fullmatch(key_pattern(tmp_path), text)


@pytest.mark.parametrize(
    "text", ["Bearer a.b.c", "Bearer a,Bearer b", "Bearer a b", "Bearer ", "Basic abc", "Bearer a.b"]
)
def test_other_headers_are_not_taken_for_keys(tmp_path: Path, text: str) -> None:
    assert not re.fullmatch(key_pattern(tmp_path), text)


def key_pattern(tmp_path: Path) -> str:
    (header,) = parts(tmp_path)[1][-2]["match"]["headers"]
    return str(header["string_match"]["safe_regex"]["regex"])


def test_a_mesh_without_tokens_has_no_token_filter(tmp_path: Path) -> None:
    text = render(without_tokens(tmp_path))
    assert "jwt_authn" not in text
    assert envoy_tokens.CLUSTER not in text


def test_envoy_gets_changed_keys_and_keeps_keys_while_the_file_is_not_usable(tmp_path: Path) -> None:
    jwks, tokens = tmp_path / "jwks.json", watched(a_door(tmp_path))
    keys = WatchedKeys(tokens, open_paths())
    with pytest.raises(Unavailable, match="cannot be read"):
        keys.refresh()
    jwks.write_bytes(key_set())
    assert (keys.refresh(), keys.refresh()) == (True, False)
    first = tokens.watched.read_text()
    jwks.write_bytes(b"{}")
    with pytest.raises(RefusedError, match="no list `keys`"):
        keys.refresh()
    assert not keys.refresh(), "the problem is reported once"
    assert tokens.watched.read_text() == first
    jwks.write_bytes(key_set(jwk(rsa_key("other"), "r2")))
    assert keys.refresh()
    second = json.loads(tokens.watched.read_text())
    assert second["version_info"] != json.loads(first)["version_info"]
    given = second["resources"][0]["typed_config"]["providers"]["issuer"]["local_jwks"]["inline_string"]
    assert json.loads(given)["keys"][0]["kid"] == "r2"
