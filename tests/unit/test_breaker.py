"""Test the time at which the circuit breaker allows another call to a failed store."""

from __future__ import annotations

import pytest

from hitmesh.model.errors import RefusedError, Unavailable
from reporter.answer.breaker import PAUSE_MS, Breaker
from tests.support.clock import ManualClock


class Store:
    """A store that fails or answers, as the test decides. The store counts its calls."""

    def __init__(self) -> None:
        self.error: Exception | None = Unavailable("timed out", retry_after_s=5.0)
        self.calls = 0

    def ask(self) -> str:
        self.calls += 1
        if self.error is not None:
            raise self.error
        return "yes"


def test_after_a_failure_a_store_is_not_called_during_the_pause() -> None:
    clock, breaker, store = ManualClock(0), Breaker("Druid"), Store()
    with pytest.raises(Unavailable, match="timed out") as first:
        breaker.call(clock, store.ask)
    assert first.value.retry_after_s == 5.0
    clock.advance(PAUSE_MS - 400)
    assert breaker.is_pausing(clock.now())
    with pytest.raises(Unavailable, match="Druid did not answer a moment ago: timed out") as second:
        breaker.call(clock, store.ask)
    assert second.value.retry_after_s == pytest.approx(0.4)
    assert store.calls == 1


def test_after_the_pause_a_single_caller_tries_the_store() -> None:
    clock, breaker, store = ManualClock(0), Breaker("Druid"), Store()
    with pytest.raises(Unavailable):
        breaker.call(clock, store.ask)
    clock.advance(PAUSE_MS)
    store.error = None

    def ask() -> str:
        with pytest.raises(Unavailable, match="a moment ago"):
            breaker.call(clock, store.ask)
        return store.ask()

    assert breaker.call(clock, ask) == "yes"
    assert not breaker.is_pausing(clock.now())
    assert breaker.call(clock, store.ask) == "yes"


def test_a_refused_question_is_no_failure_of_the_store() -> None:
    clock, breaker, store = ManualClock(0), Breaker("Druid"), Store()
    store.error = RefusedError("no such column")
    for _ in range(2):
        with pytest.raises(RefusedError):
            breaker.call(clock, store.ask)
    assert store.calls == 2
