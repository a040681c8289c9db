"""Test the bootstrap token: stored as a hash, used once, expired after an hour, replaced by the next, no role."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from hitmesh.access.bootstrap import TOKEN_MS, exchange, has_operator, new_bootstrap_token
from hitmesh.access.roles import roles_of
from hitmesh.adapters.directories import OpenedDirectory, open_directory
from hitmesh.model.errors import Unauthenticated
from hitmesh.model.names import BOOTSTRAP, MERCHANT_PATTERN, OPERATORS
from hitmesh.model.reasons import ErrorReason
from hitmesh.model.sites import IngestKey, KeyKind, Role
from hitmesh.ports import SiteDirectory
from tests.support.clock import ManualClock

NOW = 1_700_000_000_000


@pytest.fixture(params=["memory", "embedded"])
def directory(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SiteDirectory]:
    opened = opened_in(tmp_path) if request.param == "embedded" else open_directory("memory:", ManualClock(NOW))
    yield opened.port
    opened.close()


def opened_in(path: Path) -> OpenedDirectory:
    return open_directory(f"embedded:{path}", ManualClock(NOW))


def new_secret() -> str:
    return secrets.token_urlsafe(32)


def refused(directory: SiteDirectory, token: str, now: int = NOW) -> Unauthenticated:
    with pytest.raises(Unauthenticated) as error:
        exchange(directory, token, now, new_secret)
    assert token not in str(error.value.metadata()) + error.value.message
    assert "hitmesh init --bootstrap-token" in error.value.message
    return error.value


def test_a_token_gives_the_key_of_an_operator_once(directory: SiteDirectory) -> None:
    assert not has_operator(directory)
    token = new_bootstrap_token(directory, NOW)
    key, secret = exchange(directory, token, NOW + TOKEN_MS - 1, new_secret)
    assert (key.merchant, key.kind, roles_of(key)) == (OPERATORS, KeyKind.OPERATOR, frozenset({Role.OPERATE}))
    assert directory.key(secret) == key
    assert has_operator(directory)
    assert refused(directory, token).reason == ErrorReason.KEY_REVOKED
    assert directory.keys(OPERATORS) == [key]


def test_a_token_expires(directory: SiteDirectory) -> None:
    token = new_bootstrap_token(directory, NOW)
    assert "expired" in refused(directory, token, NOW + TOKEN_MS).message
    assert not has_operator(directory)


def test_the_next_token_replaces_a_token(directory: SiteDirectory) -> None:
    first, second = new_bootstrap_token(directory, NOW), new_bootstrap_token(directory, NOW + 1)
    assert first != second
    assert refused(directory, first).reason == ErrorReason.KEY_REVOKED
    assert exchange(directory, second, NOW + 2, new_secret)


@pytest.mark.parametrize("merchant", ["merchants/demo", OPERATORS])
def test_neither_a_key_nor_a_guess_is_a_token(directory: SiteDirectory, merchant: str) -> None:
    kind = KeyKind.OPERATOR if merchant == OPERATORS else KeyKind.SERVER
    directory.create_key(IngestKey("k", merchant, kind), "hms_secret")
    assert refused(directory, "hms_secret").reason == ErrorReason.UNKNOWN_KEY
    assert refused(directory, "hmb_guess").reason == ErrorReason.UNKNOWN_KEY


def test_a_token_has_no_role_and_no_merchant(directory: SiteDirectory) -> None:
    known = directory.key(new_bootstrap_token(directory, NOW))
    assert known is not None
    assert roles_of(known) == frozenset()
    assert not MERCHANT_PATTERN.fullmatch(known.merchant)
    assert known.merchant == BOOTSTRAP


def test_an_operator_whose_key_was_revoked_is_no_operator(directory: SiteDirectory) -> None:
    key, _ = exchange(directory, new_bootstrap_token(directory, NOW), NOW, new_secret)
    directory.revoke_key(OPERATORS, key.key_id, NOW)
    assert not has_operator(directory)


def test_tokens_are_stored_as_hashes_only(tmp_path: Path) -> None:
    opened = opened_in(tmp_path)
    token = new_bootstrap_token(opened.port, NOW)
    _, secret = exchange(opened.port, token, NOW, new_secret)
    opened.close()
    stored = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"operator-" in stored
    for text in (token, token.removeprefix("hmb_"), secret):
        assert text.encode() not in stored


def test_of_exchanges_at_the_same_time_in_several_processes_only_one_succeeds(tmp_path: Path) -> None:
    # Every thread has its own directory, like a process: caches and locks are not shared.
    opened = [opened_in(tmp_path) for _ in range(4)]
    token = new_bootstrap_token(opened[0].port, NOW)
    for each in opened:
        assert each.port.key(token) is not None  # each directory has cached the token as valid
    start, outcomes = threading.Barrier(len(opened)), []

    def claim(directory: SiteDirectory) -> None:
        start.wait()
        try:
            outcomes.append(exchange(directory, token, NOW, new_secret)[1])
        except Unauthenticated as error:
            outcomes.append(str(error.reason))

    threads = [threading.Thread(target=claim, args=(each.port,)) for each in opened]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcome == ErrorReason.KEY_REVOKED for outcome in outcomes) == [False, True, True, True]
    assert len(opened[0].port.keys(OPERATORS)) == 1
    for each in opened:
        each.close()
