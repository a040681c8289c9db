"""Test where the keys of tokens come from: a file that is replaced, and a URL whose keys are cached and rotated."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from hitmesh.access.key_sources import FetchTimes, FileKeys, UrlKeys
from hitmesh.access.token_keys import MAX_SET_BYTES
from hitmesh.access.tokens import TokenRules, verified
from hitmesh.model.errors import HitmeshError, RefusedError, Unauthenticated, Unavailable
from tests.support.tokens import AUDIENCE, ISSUER, NOW_S, a_token, ec_key, jwk, key_set, rsa_key
from tests.support.waiting import eventually

RULES = TokenRules(ISSUER, frozenset({AUDIENCE}))
OLD, NEW = jwk(rsa_key(), "r1"), jwk(ec_key(), "e1")
TIMES = FetchTimes(refresh_s=300, retry_s=30, wait_s=20, keep_s=3_600)


class Issuer:
    """Answers fetches with a key set, or with an error, and counts fetches. Time passes only with `wait`."""

    def __init__(self) -> None:
        self.answer: bytes | HitmeshError = key_set(OLD)
        self.fetches = 0
        self.seconds = 1_000.0
        self.is_open = threading.Event()
        self.is_open.set()

    def fetch(self) -> bytes:
        self.fetches += 1
        self.is_open.wait(20)
        if isinstance(self.answer, HitmeshError):
            raise self.answer
        return self.answer

    def wait(self, seconds: float) -> None:
        self.seconds += seconds


def is_accepted(keys: UrlKeys | FileKeys, token: str) -> bool:
    try:
        return bool(verified(token, keys.find, RULES, NOW_S))
    except Unauthenticated:
        return False


@pytest.fixture
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture
def keys(issuer: Issuer) -> UrlKeys:
    found = UrlKeys(issuer.fetch, TIMES, lambda: issuer.seconds)
    assert is_accepted(found, a_token())
    return found


def replaced(path: Path, content: bytes) -> None:
    """Replace a file as writers should: with another file under the same name."""
    new = path.with_name("new")
    new.write_bytes(content)
    new.replace(path)


def test_keys_are_fetched_once_for_many_tokens(issuer: Issuer, keys: UrlKeys) -> None:
    assert [is_accepted(keys, a_token()) for _ in range(5)] == [True] * 5
    assert issuer.fetches == 1


def test_a_rotation_is_seen_at_the_first_token_with_the_new_key(issuer: Issuer, keys: UrlKeys) -> None:
    issuer.answer = key_set(OLD, NEW)
    issuer.wait(TIMES.retry_s)
    assert is_accepted(keys, a_token(ec_key()))
    issuer.answer = key_set(NEW)
    issuer.wait(TIMES.refresh_s)
    assert is_accepted(keys, a_token(ec_key()))
    eventually(lambda: not is_accepted(keys, a_token()), "the removed key is refused")
    assert issuer.fetches == 3


def test_unknown_key_ids_cause_at_most_one_fetch_in_the_minimum_time(issuer: Issuer, keys: UrlKeys) -> None:
    for number in range(20):
        assert not is_accepted(keys, a_token(header={"kid": f"unknown-{number}"}))
    assert issuer.fetches == 1
    issuer.wait(TIMES.retry_s)
    for number in range(20):
        assert not is_accepted(keys, a_token(header={"kid": f"unknown-{number}"}))
    assert issuer.fetches == 2


def test_old_keys_are_fetched_again_while_calls_use_them(issuer: Issuer, keys: UrlKeys) -> None:
    issuer.is_open.clear()
    issuer.wait(TIMES.refresh_s)
    assert is_accepted(keys, a_token())
    assert is_accepted(keys, a_token())
    issuer.is_open.set()
    assert issuer.fetches == 2


@pytest.mark.parametrize("answer", [Unavailable("down"), b"<html>", b'{"keys": []}'], ids=["down", "not JSON", "empty"])
def test_keys_are_kept_while_the_url_has_no_usable_keys(
    issuer: Issuer, keys: UrlKeys, answer: bytes | HitmeshError
) -> None:
    issuer.answer = answer
    for _ in range(10):
        issuer.wait(TIMES.refresh_s)
        assert is_accepted(keys, a_token())
        eventually(lambda: not keys.is_fetching, "the fetch ends")
    assert issuer.fetches == 11


def test_keys_are_not_kept_for_ever(issuer: Issuer, keys: UrlKeys) -> None:
    issuer.answer = Unavailable("down")
    issuer.wait(TIMES.keep_s + 1)
    with pytest.raises(Unavailable, match="keys of the token's issuer are not available at the moment"):
        is_accepted(keys, a_token())
    issuer.answer = key_set(OLD)
    issuer.wait(TIMES.retry_s)
    assert is_accepted(keys, a_token())


def test_before_the_first_fetch_succeeds_a_token_gets_the_time_to_come_back(issuer: Issuer) -> None:
    issuer.answer = Unavailable("down")
    keys = UrlKeys(issuer.fetch, TIMES, lambda: issuer.seconds)
    with pytest.raises(Unavailable):
        is_accepted(keys, a_token())
    issuer.wait(10)
    with pytest.raises(Unavailable) as caught:
        is_accepted(keys, a_token())
    assert caught.value.retry_after_s == TIMES.retry_s - 10
    assert issuer.fetches == 1
    issuer.answer = key_set()
    issuer.wait(caught.value.retry_after_s)
    assert is_accepted(keys, a_token())


def test_only_the_call_that_started_a_fetch_waits_for_a_slow_url(issuer: Issuer, keys: UrlKeys) -> None:
    issuer.answer = key_set(NEW)
    issuer.wait(TIMES.retry_s)
    issuer.is_open.clear()
    accepted: list[bool] = []
    starter = threading.Thread(target=lambda: accepted.append(is_accepted(keys, a_token(ec_key()))))
    starter.start()
    eventually(lambda: issuer.fetches == 2, "the first call fetches")
    with pytest.raises(Unavailable) as caught:
        is_accepted(keys, a_token(ec_key()))
    assert caught.value.retry_after_s == 1.0
    assert is_accepted(keys, a_token())
    issuer.is_open.set()
    starter.join(20)
    assert accepted == [True]
    assert issuer.fetches == 2


def test_a_call_waits_for_a_slow_url_no_longer_than_its_limit(issuer: Issuer) -> None:
    issuer.is_open.clear()
    keys = UrlKeys(issuer.fetch, FetchTimes(wait_s=0.05), lambda: issuer.seconds)
    with pytest.raises(Unavailable):
        is_accepted(keys, a_token())
    issuer.is_open.set()


def test_a_replaced_file_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "jwks.json"
    path.write_bytes(key_set(OLD))
    keys = FileKeys(path)
    assert (is_accepted(keys, a_token()), is_accepted(keys, a_token(ec_key()))) == (True, False)
    replaced(path, key_set(OLD, NEW))
    assert (is_accepted(keys, a_token()), is_accepted(keys, a_token(ec_key()))) == (True, True)
    replaced(path, key_set(NEW))
    assert (is_accepted(keys, a_token()), is_accepted(keys, a_token(ec_key()))) == (False, True)


def test_a_link_to_another_file_is_followed(tmp_path: Path) -> None:
    """Kubernetes changes a mounted file by changing a link to its directory."""
    for name, content in (("old", key_set(OLD)), ("new", key_set(NEW))):
        (tmp_path / name).mkdir()
        (tmp_path / name / "jwks.json").write_bytes(content)
    (tmp_path / "current").symlink_to("old")
    keys = FileKeys(tmp_path / "current" / "jwks.json")
    (tmp_path / "next").symlink_to("new")
    (tmp_path / "next").replace(tmp_path / "current")
    assert (is_accepted(keys, a_token()), is_accepted(keys, a_token(ec_key()))) == (False, True)


def remove(path: Path) -> None:
    path.unlink()


def make_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


UNUSABLE: dict[str, Callable[[Path], None]] = {
    "removed": remove,
    "empty": lambda path: replaced(path, b""),
    "cut": lambda path: replaced(path, key_set(OLD)[:-3]),
    "too large": lambda path: replaced(path, key_set(OLD) + b" " * MAX_SET_BYTES),
    "a directory": make_directory,
}


@pytest.mark.parametrize("change", UNUSABLE.values(), ids=UNUSABLE.keys())
def test_keys_are_kept_while_the_file_is_not_usable(tmp_path: Path, change: Callable[[Path], None]) -> None:
    path = tmp_path / "jwks.json"
    path.write_bytes(key_set(OLD))
    keys = FileKeys(path)
    change(path)
    assert [is_accepted(keys, a_token()) for _ in range(3)] == [True] * 3


@pytest.mark.parametrize(("content", "kind"), [(None, Unavailable), (b"", RefusedError), (b"{}", RefusedError)])
def test_a_service_does_not_start_without_usable_keys(
    tmp_path: Path, content: bytes | None, kind: type[HitmeshError]
) -> None:
    path = tmp_path / "jwks.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(kind):
        FileKeys(path)


def test_an_unchanged_file_is_not_read_again(tmp_path: Path) -> None:
    path = tmp_path / "jwks.json"
    path.write_bytes(key_set(OLD))
    keys = FileKeys(path)
    before = path.stat()
    path.write_bytes(b"x" * before.st_size)  # the same inode and size
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert is_accepted(keys, a_token())
