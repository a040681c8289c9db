"""Test how a caller is found from the metadata of a call: by a key, by a token, or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hitmesh.access.callers import Caller, TokenReader, caller_of, credential_of, open_tokens
from hitmesh.access.checks import authorise
from hitmesh.adapters.factory import Stores, open_stores
from hitmesh.api.reporter.v1 import reporter_pb2
from hitmesh.model.errors import PermissionDenied, RefusedError, Unauthenticated
from hitmesh.model.sites import IngestKey, KeyKind, Role
from hitmesh.runtime.token_settings import TokenSettings
from tests.support.clock import ManualClock
from tests.support.tokens import AUDIENCE, ISSUER, NOW_S, a_token, key_set

SECRET = "hms_secret-of-the-owner"


@pytest.fixture
def stores() -> Iterator[Stores]:
    stores = open_stores("memory:", ManualClock(NOW_S * 1_000))
    stores.directory.create_key(IngestKey("k-1", "merchants/demo", KeyKind.SERVER), SECRET)
    yield stores
    stores.close()


@pytest.fixture
def tokens(tmp_path: Path) -> TokenReader | None:
    path = tmp_path / "jwks.json"
    path.write_bytes(key_set())
    settings = TokenSettings(store="memory:", jwks=str(path), jwt_issuer=ISSUER, jwt_audiences=f"x, {AUDIENCE},")
    return open_tokens(settings, ManualClock(NOW_S * 1_000))


def test_a_token_gives_a_caller_with_its_merchant_and_roles(stores: Stores, tokens: TokenReader) -> None:
    for scheme in ("Bearer", "bearer", "BEARER"):
        found = caller_of(stores.directory, [("authorization", f"{scheme} {a_token()}")], tokens, now=NOW_S * 1_000)
        assert found == Caller("merchants/demo", frozenset({Role.READ}), "token", "user-7", None)
        assert credential_of(found.kind) == "token"


def test_a_key_gives_a_caller_beside_tokens(stores: Stores, tokens: TokenReader) -> None:
    for reader in (tokens, None):
        found = caller_of(stores.directory, [("authorization", f"Bearer {SECRET}")], reader, now=NOW_S * 1_000)
        assert found is not None
        assert (found.id, found.kind, credential_of(found.kind)) == ("k-1", "server", "server key")


def test_a_call_without_the_header_has_no_caller(stores: Stores, tokens: TokenReader) -> None:
    metadata = [("cookie", a_token()), ("x-authorization", f"Bearer {a_token()}"), ("access_token", a_token())]
    assert caller_of(stores.directory, metadata, tokens, now=NOW_S * 1_000) is None


@pytest.mark.parametrize("first", [a_token, lambda: SECRET])
@pytest.mark.parametrize("second", [a_token, lambda: SECRET])
def test_two_headers_are_refused(stores: Stores, tokens: TokenReader, first: object, second: object) -> None:
    metadata = [("authorization", f"Bearer {make()}") for make in (first, second)]  # type: ignore[operator]  # functions
    with pytest.raises(Unauthenticated, match="several authorization headers: send a single key or token"):
        caller_of(stores.directory, metadata, tokens, now=NOW_S * 1_000)


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Basic a.b.c", "Bearer unknown", b"Bearer \xff", "a.b.c"])
def test_other_headers_have_no_known_key(stores: Stores, tokens: TokenReader, header: str | bytes) -> None:
    with pytest.raises(Unauthenticated) as caught:
        caller_of(stores.directory, [("authorization", header)], tokens, now=NOW_S * 1_000)
    assert caught.value.reason == "UNKNOWN_KEY"


def test_a_mesh_without_an_issuer_refuses_tokens(stores: Stores) -> None:
    assert open_tokens(TokenSettings(store="memory:"), ManualClock(0)) is None
    with pytest.raises(Unauthenticated, match="this mesh accepts no tokens: send a key") as caught:
        caller_of(stores.directory, [("authorization", f"Bearer {a_token()}")], now=NOW_S * 1_000)
    assert caught.value.reason == "INVALID_TOKEN"


def test_messages_about_a_token_do_not_call_it_a_key(stores: Stores, tokens: TokenReader) -> None:
    metadata = [("authorization", f"Bearer {a_token(hitmesh_roles=['administer'])}")]
    caller = caller_of(stores.directory, metadata, tokens, now=NOW_S * 1_000)
    question = reporter_pb2.RunReportRequest(site="merchants/demo/sites/shop")
    with pytest.raises(PermissionDenied, match="the token has only the role administer, and this call needs the role"):
        authorise(caller, question, False)


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"jwks": "jwks.json"}, "JWKS"),
        ({"jwks": "https://issuer.example/a b"}, "JWKS"),
        ({"jwks": "ftp://issuer.example/keys"}, "JWKS"),
        ({"jwt_issuer": ""}, "JWT_ISSUER"),
        ({"jwt_audiences": " , "}, "JWT_AUDIENCES"),
        ({"jwks": ""}, "JWT_ISSUER"),
        ({"jwks_timeout_s": 31}, "JWKS_TIMEOUT_S"),
    ],
)
def test_incomplete_settings_are_refused_by_name(changes: dict[str, str], name: str) -> None:
    from control.settings import ControlSettings
    from hitmesh.runtime.config import load

    complete = {"store": "memory:", "jwks": "/jwks.json", "jwt_issuer": ISSUER, "jwt_audiences": AUDIENCE}
    wanted = {f"HITMESH_CONTROL_{key.upper()}": str(value) for key, value in (complete | changes).items()}
    with pytest.raises(RefusedError, match=rf"HITMESH_CONTROL_{name}\b") as caught:
        load(ControlSettings, wanted)
    assert caught.value.reason == "INVALID_CONFIG"


def test_a_url_that_is_not_allowed_is_refused_at_the_start() -> None:
    settings = TokenSettings(
        store="memory:", jwks="http://issuer.example/keys", jwt_issuer=ISSUER, jwt_audiences=AUDIENCE
    )
    with pytest.raises(RefusedError, match="give an https URL"):
        open_tokens(settings, ManualClock(0))
