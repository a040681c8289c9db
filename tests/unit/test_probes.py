"""Test the pauses of tests that wait for a condition."""

from __future__ import annotations

import pytest

from tests.support.waiting import MAX_PAUSE_S, PAUSE_S, pause_s


@pytest.mark.parametrize(("took_s", "expected_s"), [(0.0, PAUSE_S), (0.2, 0.4), (30.0, MAX_PAUSE_S)])
def test_the_pause_follows_the_time_of_the_probe_within_limits(took_s: float, expected_s: float) -> None:
    assert pause_s(took_s) == expected_s
