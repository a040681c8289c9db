"""Test how a pool of calls counts the calls of each caller."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from hitmesh.runtime.call_limits import CallPool
from tests.support.waiting import eventually


@contextmanager
def running(pool: CallPool, caller: str, count: int) -> Iterator[None]:
    """Let calls of a caller run until the block ends; "" names no caller."""
    release = threading.Event()
    futures = []
    for _ in range(count):
        if caller:
            pool.expect(caller)
        futures.append(pool.submit(release.wait))
    try:
        yield
    finally:
        release.set()
        for future in futures:
            future.result()


def test_a_caller_with_half_of_a_crowded_pool_crowds_it() -> None:
    with CallPool(8) as pool, running(pool, "flood", 4):
        with running(pool, "quiet", 1):
            assert not pool.is_crowded_by("flood"), "less than three quarters of the pool are taken"
        with running(pool, "quiet", 2):
            assert pool.is_crowded_by("flood")
            assert not pool.is_crowded_by("quiet")


def test_ended_calls_of_a_caller_do_not_count() -> None:
    with CallPool(8) as pool:
        with running(pool, "earlier", 8):
            assert pool.is_full
        with running(pool, "flood", 6):
            eventually(lambda: not pool.is_crowded_by("earlier"), "the calls that ended do not count")
            assert pool.is_crowded_by("flood")


def test_a_call_without_a_caller_is_counted_for_no_caller() -> None:
    with CallPool(8) as pool, running(pool, "named", 3), running(pool, "", 4):
        assert not pool.is_crowded_by("named")


@pytest.mark.parametrize(
    ("caller", "half"),
    [("198.51.100.1 Bearer hms_x", "of the same caller"), ("unknown", "without a known key or token")],
)
def test_the_refusal_of_a_caller_that_crowds_a_pool_is_a_sentence_and_names_no_key(caller: str, half: str) -> None:
    with CallPool(8) as pool, running(pool, caller, 6):
        refused = pool.refusal(caller)
        assert refused is not None
        assert refused.why == f"few of the server's 8 places are free, and calls {half} have half of them"
