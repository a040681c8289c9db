"""Test the pauses between two streams, with random numbers that the test chooses."""

from __future__ import annotations

import pytest

from hitmesh.client.patience import LASTING, Backoff, Patience


def failed(times: int, patience: Patience, random: float = 0.0) -> Backoff:
    backoff = Backoff(patience, lambda: random)
    for _ in range(times):
        backoff.ended(progressed=False)
    return backoff


@pytest.mark.parametrize(
    ("failures", "pause_s"), [(0, 0.0), (1, 0.25), (2, 0.5), (3, 1.0), (4, 2.0), (5, 4.0), (6, 5.0), (7, 5.0)]
)
def test_pause_doubles_up_to_the_longest(failures: int, pause_s: float) -> None:
    assert failed(failures, Patience()).pause_s() == pause_s


@pytest.mark.parametrize(("random", "pause_s"), [(0.0, 1.0), (0.5, 1.25), (1.0, 1.5)])
def test_pause_is_extended_at_random_by_up_to_a_half(random: float, pause_s: float) -> None:
    assert failed(3, Patience(), random).pause_s() == pause_s


def test_pause_stays_the_longest_after_any_number_of_failures() -> None:
    assert failed(5_000, Patience(attempts=6_000)).pause_s() == 5.0


def test_pauses_of_two_senders_differ() -> None:
    numbers = iter((0.25, 0.75))
    backoff = Backoff(Patience(), lambda: next(numbers))
    backoff.ended(progressed=False)
    assert (backoff.pause_s(), backoff.pause_s()) == (0.28125, 0.34375)


def test_stream_with_an_acknowledgement_starts_the_count_anew() -> None:
    backoff = failed(5, Patience())
    backoff.ended(progressed=True)
    assert (backoff.failures, backoff.pause_s()) == (0, 0.0)
    backoff.ended(progressed=False)
    assert backoff.pause_s() == 0.25


def test_mesh_that_never_answered_is_given_up_after_the_attempts() -> None:
    patience = Patience(attempts=3, reconnects=5)
    assert not failed(3, patience).is_exhausted
    assert failed(4, patience).is_exhausted


def test_mesh_that_once_answered_is_given_up_after_the_reconnects() -> None:
    backoff = Backoff(Patience(attempts=3, reconnects=5), lambda: 0.0)
    backoff.ended(progressed=True)
    for _ in range(5):
        backoff.ended(progressed=False)
    assert not backoff.is_exhausted
    backoff.ended(progressed=False)
    assert backoff.is_exhausted


def test_lasting_patience_outlasts_two_minutes_whatever_the_random_numbers_are() -> None:
    backoff = Backoff(LASTING, lambda: 0.0)
    backoff.ended(progressed=True)
    waited_s = 0.0
    while True:
        backoff.ended(progressed=False)
        if backoff.is_exhausted:
            break
        waited_s += backoff.pause_s()
    assert waited_s == 132.75
