"""Test tokens (JWT) through a real Envoy in front of a reporter and a control service.

Envoy must refuse each request without a valid token before a service sees the request. The services must refuse tokens
that Envoy accepts but that break a rule of docs/tokens.md.
"""

from __future__ import annotations

import http.client
import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.message_factory import GetMessageClass

from hitmesh.access.rights import RULES
from hitmesh.api.control.v1 import admin_pb2, admin_pb2_grpc
from hitmesh.model.sites import Role
from hitmesh.tools.dev.envoy import Address, Door, open_paths
from hitmesh.tools.dev.envoy_tokens import TokenDoor, WatchedKeys
from tests.support import doors
from tests.support.doors import Answer, ask
from tests.support.path_spellings import TO_OWN, TO_RIVAL
from tests.support.reporters import OPERATOR, OWNER, bearer
from tests.support.rest import metadata_of, reason_of
from tests.support.rights import MODULES, a_request, method_at, rest_calls
from tests.support.settled_rows import SITE
from tests.support.token_calls import (
    get,
    now_token,
    reported,
    unsigned,
    with_hmac,
    with_repeated_claim,
)
from tests.support.tokens import (
    AUDIENCE,
    ISSUER,
    ec_key,
    jwk,
    key_set,
    rsa_key,
)
from tests.support.waiting import eventually

RIVAL_SITE = "merchants/rival/sites/shop"
KEYS = (jwk(rsa_key(), "r1"), jwk(ec_key(), "e1"))
assert MODULES  # importing the modules makes their services known to the descriptor pool


@pytest.fixture(scope="module")
def token_door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Door, TokenDoor]]:
    run = tmp_path_factory.mktemp("tokens")
    jwks = run / "jwks.json"
    jwks.write_bytes(key_set(*KEYS))
    tokens = TokenDoor(str(jwks), ISSUER, (AUDIENCE, "other"), run / "tokens.json")
    for door in doors.running_door(run, tokens):
        eventually(lambda door=door: get(door.http, OWNER).status == 200, "Envoy has the keys", 30)  # type: ignore[misc]  # mypy infers no type for bound defaults
        yield door, tokens


@pytest.fixture
def door(token_door: tuple[Door, TokenDoor]) -> Address:
    return token_door[0].http


@pytest.fixture
def denied(token_door: tuple[Door, TokenDoor]) -> Callable[[], int]:
    """Return a function that counts the requests that Envoy's token filter refused."""

    def count() -> int:
        found = ask(token_door[0].stats, "GET", "/stats?filter=http.door.jwt_authn.denied").body.decode()
        return sum(int(number) for number in re.findall(r": (\d+)", found))

    return count


@pytest.mark.parametrize("key", [rsa_key, ec_key])
def test_a_valid_token_reads_the_reports_of_its_merchant(door: Address, key: Callable[[], Any]) -> None:
    token = now_token(key())
    assert json.loads(get(door, token).body)["site"]["name"] == SITE
    assert ask(door, "GET", f"/v1/{SITE}", authorization=f"bearer {token}").status == 200
    assert reported(door, *bearer(token)) is grpc.StatusCode.OK
    assert get(door, now_token(key(), aud=["elsewhere", "other"])).status == 200


# Tokens that Envoy itself refuses, with the reason.
REFUSED: dict[str, tuple[Callable[[], str], str]] = {
    "expired": (lambda: now_token(exp=int(time.time()) - 120), "TOKEN_EXPIRED"),
    "no exp": (lambda: now_token(exp=None), "INVALID_TOKEN"),
    "not valid yet": (lambda: now_token(nbf=int(time.time()) + 300), "INVALID_TOKEN"),
    "another audience": (lambda: now_token(aud="elsewhere"), "INVALID_TOKEN"),
    "no audience": (lambda: now_token(aud=None), "INVALID_TOKEN"),
    "another issuer": (lambda: now_token(iss="https://thief.example/"), "INVALID_TOKEN"),
    "alg none": (unsigned, "INVALID_TOKEN"),
    "a public key as secret": (with_hmac, "INVALID_TOKEN"),
    "another key": (lambda: now_token(rsa_key("thief")), "INVALID_TOKEN"),
    "another EC key": (lambda: now_token(ec_key("thief")), "INVALID_TOKEN"),
    "unknown kid": (lambda: now_token(header={"kid": "r9"}), "INVALID_TOKEN"),
    "changed": (lambda: now_token(sub="a")[:-9] + "AAAAAAAAA", "INVALID_TOKEN"),
    "two tokens in a header": (lambda: f"{now_token()},Bearer {now_token()}", "INVALID_TOKEN"),
    "two tokens with a blank": (lambda: f"{now_token()} {now_token()}", "INVALID_TOKEN"),
    "a key and a token": (lambda: f"{OWNER},Bearer {now_token(rsa_key('thief'))}", "INVALID_TOKEN"),
    "dots": (lambda: "..", "INVALID_TOKEN"),
    "repeated claim": (with_repeated_claim, "INVALID_TOKEN"),
}


@pytest.mark.parametrize(("make", "reason"), REFUSED.values(), ids=REFUSED.keys())
def test_envoy_refuses_a_wrong_token(
    door: Address, denied: Callable[[], int], make: Callable[[], str], reason: str
) -> None:
    before, token = denied(), make()
    answer = get(door, token)
    error = json.loads(answer.body)
    assert (answer.status, error["code"], reason_of(error)) == (401, 16, reason), answer
    assert not [piece for piece in token.split(".") if len(piece) > 8 and piece in str(answer)]
    assert reported(door, *bearer(token)) == (grpc.StatusCode.UNAUTHENTICATED, reason)
    eventually(lambda: denied() == before + 2, "both refusals are counted")


RULES_NAMED = {
    "no exp": "exp is missing",
    "not valid yet": "nbf",
    "another audience": "aud",
    "no audience": "aud",
    "another issuer": "iss",
    "alg none": "signed token",
    "a public key as secret": "signature",
    "another key": "signature",
    "unknown kid": "kid",
    "dots": "three parts",
    "repeated claim": "each claim once",
}


@pytest.mark.parametrize(("name", "words"), RULES_NAMED.items())
def test_envoys_refusal_names_the_rule_that_the_token_breaks(door: Address, name: str, words: str) -> None:
    message = json.loads(get(door, REFUSED[name][0]()).body)["message"]
    assert words in message
    assert "%" not in message


def test_the_scheme_may_be_written_in_capitals(door: Address) -> None:
    assert get(door, None, authorization=f"BEARER {now_token()}").status == 200


def with_two_headers(at: Address, first: str, second: str) -> int:
    connection = http.client.HTTPConnection(at.host, at.port, timeout=20)
    try:
        connection.putrequest("GET", f"/v1/{SITE}")
        for credential in (first, second):
            connection.putheader("authorization", f"Bearer {credential}")
        connection.endheaders()
        return connection.getresponse().status
    finally:
        connection.close()


def test_two_headers_are_refused_even_if_one_or_both_are_valid(door: Address) -> None:
    good, bad = now_token(), now_token(rsa_key("thief"))
    for first, second in ((good, good), (good, bad), (bad, good), (good, OWNER), (OWNER, good), (OWNER, OWNER)):
        assert with_two_headers(door, first, second) == 401
        refusal = reported(door, *bearer(first), *bearer(second))
        assert isinstance(refusal, tuple)
        assert refusal[0] is grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.parametrize(
    "place", ["nowhere", "query", "query as authorization", "cookie", "other header", "other scheme"]
)
def test_a_token_outside_the_header_is_no_token(door: Address, denied: Callable[[], int], place: str) -> None:
    before, token, path = denied(), now_token(), f"/v1/{SITE}"
    found = {
        "nowhere": lambda: get(door, None),
        "query": lambda: get(door, None, f"{path}?access_token={token}"),
        "query as authorization": lambda: get(door, None, f"{path}?authorization=Bearer%20{token}"),
        "cookie": lambda: get(door, None, cookie=f"access_token={token}; authorization=Bearer {token}"),
        "other header": lambda: get(
            door, None, x_authorization=f"Bearer {token}", proxy_authorization=f"Bearer {token}"
        ),
        "other scheme": lambda: get(door, None, authorization=f"Basic {token}"),
    }[place]()
    error = json.loads(found.body)
    assert (found.status, reason_of(error)) == (401, "UNKNOWN_KEY"), found
    assert error["message"] == "no key and no token: send authorization: Bearer <key or token>"
    eventually(lambda: denied() == before + 1, "the refusal is counted")


def test_a_grpc_call_without_a_token_is_unauthenticated(door: Address) -> None:
    assert reported(door) == (grpc.StatusCode.UNAUTHENTICATED, "UNKNOWN_KEY")
    assert reported(door, ("cookie", f"access_token={now_token()}")) == (grpc.StatusCode.UNAUTHENTICATED, "UNKNOWN_KEY")


def test_reflection_v1_is_answered_as_a_path_that_does_not_exist(door: Address) -> None:
    """Clients of reflection then ask for version v1alpha, which the mesh serves without a token."""
    path = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
    assert path in open_paths()
    with grpc.insecure_channel(str(door)) as channel:
        call: grpc.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(path)
        with pytest.raises(grpc.RpcError) as caught:
            list(call(iter([b""]), timeout=20))
    assert isinstance(caught.value, grpc.Call)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


# Tokens that Envoy accepts, and that the service refuses.
SECOND: dict[str, Callable[[], str]] = {
    "no kid": lambda: now_token(header={"kid": None}),
    "own key": lambda: now_token(header={"jku": "https://thief.example/"}),
    "another type": lambda: now_token(header={"typ": "logout+jwt"}),
    "no subject": lambda: now_token(sub=None),
    "no merchant": lambda: now_token(hitmesh_merchant=None),
    "operators as merchant": lambda: now_token(hitmesh_merchant="operators"),
    "role operate": lambda: now_token(hitmesh_roles=["operate"]),
    "issued in the future": lambda: now_token(iat=int(time.time()) + 300),
}


@pytest.mark.parametrize("make", SECOND.values(), ids=SECOND.keys())
def test_the_service_checks_again(door: Address, denied: Callable[[], int], make: Callable[[], str]) -> None:
    before, token = denied(), make()
    answer = get(door, token)
    assert (answer.status, reason_of(json.loads(answer.body))) == (401, "INVALID_TOKEN"), answer
    assert reported(door, *bearer(token)) == (grpc.StatusCode.UNAUTHENTICATED, "INVALID_TOKEN")
    assert denied() == before


def test_a_service_without_envoy_in_front_refuses_wrong_tokens_too(token_door: tuple[Door, TokenDoor]) -> None:
    (reporter,) = token_door[0].reporters
    assert reported(reporter, *bearer(now_token())) is grpc.StatusCode.OK
    for make, reason in REFUSED.values():
        assert reported(reporter, *bearer(make())) == (grpc.StatusCode.UNAUTHENTICATED, reason)
    two = reported(reporter, *bearer(now_token()), *bearer(now_token()))
    assert two == (grpc.StatusCode.UNAUTHENTICATED, "UNKNOWN_KEY")


def test_keys_still_pass(token_door: tuple[Door, TokenDoor]) -> None:
    door = token_door[0]
    assert get(door.http, OWNER).status == 200
    assert reported(door.http, *bearer(OWNER)) is grpc.StatusCode.OK
    unknown = get(door.http, "hms_nobody-knows-this-key")
    assert (unknown.status, reason_of(json.loads(unknown.body))) == (401, "UNKNOWN_KEY")
    assert get(door.operators, OPERATOR, "/v1/reprocessings").status == 200
    assert get(door.operators, now_token(), "/v1/reprocessings").status == 403
    assert get(door.operators, None, "/v1/reprocessings").status == 401


def test_hits_need_no_token(door: Address) -> None:
    body = json.dumps({"ingestKey": "none", "hits": [{"hitId": "h"}]}).encode()
    answer = ask(door, "POST", "/v1/hits:send", body, content_type="application/json")
    assert reason_of(json.loads(answer.body)) == "UNKNOWN_KEY"
    assert "ingest" in answer.body.decode()
    preflight = {"origin": "https://a.example", "access-control-request-method": "POST"}
    assert ask(door, "OPTIONS", "/v1/hits:send", **preflight).status in (200, 204)


NO_TOKEN = "no key and no token"


def message_of(at: Address, path: str) -> str:
    """Call a gRPC method without a token, and return the message of the answer; an empty text if the call succeeds."""
    method = method_at(path)
    _, request = a_request(method, SITE)
    kind = f"{'stream' if method.client_streaming else 'unary'}_{'stream' if method.server_streaming else 'unary'}"
    with grpc.insecure_channel(str(at)) as channel:
        call: Any = getattr(channel, kind)(
            path,
            request_serializer=type(request).SerializeToString,
            response_deserializer=GetMessageClass(method.output_type).FromString,
        )
        try:
            answer = call(iter([request]) if method.client_streaming else request, timeout=20)
            list(answer if method.server_streaming else ())
        except grpc.RpcError as error:
            return str(error.details())
    return ""


@pytest.mark.parametrize("path", sorted(path for path in RULES if path.startswith("/hitmesh.")))
def test_every_rpc_and_route_needs_a_token_unless_everybody_may_call(
    token_door: tuple[Door, TokenDoor], path: str
) -> None:
    method, at = method_at(path), token_door[0].operators
    is_open = RULES[path].role in (None, Role.SEND)
    assert (path in open_paths()) is is_open
    assert (NO_TOKEN in message_of(at, path)) is not is_open
    for verb, route in rest_calls(method, a_request(method, SITE)[0]):
        found = ask(at, verb, route, None if verb == "GET" else b"{}", content_type="application/json")
        assert (found.status == 401 and NO_TOKEN in found.body.decode()) is not is_open, (verb, route, found)


def test_a_token_gives_only_its_roles(door: Address) -> None:
    def create(site: str, roles: list[str]) -> Answer:
        body = json.dumps({"timeZone": "UTC", "currency": "EUR"}).encode()
        token = now_token(hitmesh_roles=roles)
        return ask(
            door,
            "POST",
            f"/v1/merchants/demo/sites?siteId={site}",
            body,
            authorization=f"Bearer {token}",
            content_type="application/json",
        )

    refused = create("with-read", ["read"])
    error = json.loads(refused.body)
    assert (refused.status, reason_of(error)) == (403, "PERMISSION_DENIED"), refused
    assert error["message"].startswith("the token has only the role read")
    assert metadata_of(error)["key_kind"] == "token"
    assert create("with-administer", ["administer"]).status == 200
    assert get(door, now_token(hitmesh_roles=["administer"])).status == 403
    assert reported(door, *bearer(now_token(hitmesh_roles=["administer"])))[0] is grpc.StatusCode.PERMISSION_DENIED  # type: ignore[index]  # a refusal


def test_another_merchants_sites_do_not_exist_for_a_token(door: Address) -> None:
    token = now_token()
    missing = json.loads(get(door, token, "/v1/merchants/rival/sites/none").body)
    found = json.loads(get(door, token, f"/v1/{RIVAL_SITE}").body)
    assert (found["code"], reason_of(found)) == (5, "NOT_FOUND")
    assert found["message"] == missing["message"].replace("/none", "/shop")
    with grpc.insecure_channel(str(door)) as channel:
        stub: Any = admin_pb2_grpc.AdminServiceStub(channel)
        with pytest.raises(grpc.RpcError) as raised:
            stub.GetSite(admin_pb2.GetSiteRequest(name=RIVAL_SITE), metadata=bearer(token), timeout=20)
    assert raised.value.code() is grpc.StatusCode.NOT_FOUND


def test_the_body_cannot_name_another_site_than_the_path(door: Address) -> None:
    token = now_token()

    def post(path: str, site: str) -> Answer:
        body = json.dumps({"site": site, "metrics": ["hits"], "timeRange": {"lastDays": 3}}).encode()
        return ask(
            door,
            "POST",
            f"/v1/{path}:runReport",
            body,
            authorization=f"Bearer {token}",
            content_type="application/json",
        )

    assert post(SITE, SITE).status == 200
    assert (post(SITE, RIVAL_SITE).status, post(RIVAL_SITE, SITE).status) == (400, 400)
    assert post(RIVAL_SITE, RIVAL_SITE).status == 404
    assert get(door, token, f"/v1/{SITE}?name={RIVAL_SITE}").status == 400


@pytest.mark.parametrize("path", TO_RIVAL)
def test_no_spelling_of_a_path_leads_to_another_merchant(door: Address, path: str) -> None:
    answer = get(door, now_token(hitmesh_roles=["read", "administer"]), path)
    assert answer.status in (400, 404), answer
    assert b"timeZone" not in answer.body


@pytest.mark.parametrize("path", TO_OWN)
def test_no_spelling_of_a_path_leads_past_the_token(door: Address, path: str) -> None:
    for headers in ({}, {"x_envoy_original_path": "/v1/metrics"}, {"x_original_url": "/v1/metrics"}):
        answer = get(door, None, path, **headers)
        assert answer.status in (400, 401), answer
        assert b"timeZone" not in answer.body


def test_the_plain_spellings_are_answered(door: Address) -> None:
    assert b"timeZone" in get(door, now_token(), f"/v1/{SITE}").body
    assert b"timeZone" in get(door, now_token(), f"/v1/merchants/./demo//sites/x/../{SITE.rpartition('/')[2]}").body
    assert get(door, None, "/v1/metrics?page_size=1").status in (200, 400)


def test_a_rotation_is_seen_by_envoy_and_the_service_without_a_restart(token_door: tuple[Door, TokenDoor]) -> None:
    door, tokens = token_door
    jwks, watched = Path(tokens.jwks), WatchedKeys(tokens, open_paths())

    def publish(*keys: dict[str, Any]) -> None:
        new = jwks.with_name("new.json")
        new.write_bytes(key_set(*keys))
        new.replace(jwks)
        assert watched.refresh()

    def status(token: str) -> int:
        return get(door.http, token).status

    fresh, old = now_token(rsa_key("fresh"), header={"kid": "r2"}), now_token()
    assert (status(fresh), status(old)) == (401, 200)
    publish(*KEYS, jwk(rsa_key("fresh"), "r2"))
    eventually(lambda: status(fresh) == 200, "the new key is known", 20)
    assert status(old) == 200
    publish(jwk(rsa_key("fresh"), "r2"))
    eventually(lambda: status(old) == 401, "the old key is unknown", 20)
    assert status(fresh) == 200
    publish(*KEYS)
    eventually(lambda: (status(old), status(fresh)) == (200, 401), "the first keys are back", 20)
