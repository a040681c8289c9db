"""Wait for a condition with a deadline. No other module of the tests sleeps."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from tests.support.patience import patient

T = TypeVar("T")

PAUSE_S = 0.05
MAX_PAUSE_S = 1.0
PAUSES_PER_PROBE = 2
"""The pause after a probe is twice as long as the probe, but at most MAX_PAUSE_S.

Many probes start a process. Without a pause, such probes would take a core from the processes that the test waits for.
"""


def eventually(
    probe: Callable[[], T | None],
    goal: str,
    timeout_s: float = 10.0,
    *,
    moving: Callable[[], object] | None = None,
) -> T:
    """Call `probe` until its result is neither None nor False, and return this result.

    Args:
        probe: tells whether the awaited state is reached.
        goal: text of the awaited state, for the error.
        timeout_s: time-out on a fast machine. tests/support/patience.py multiplies the time-out by `PATIENCE`.
        moving: returns a figure that changes as long as there is progress. Every change starts the time-out again.

    Raises:
        AssertionError: the deadline passed.
    """
    ceiling_s = patient(timeout_s)
    deadline = time.monotonic() + ceiling_s
    figure = moving() if moving else None
    while True:
        began = time.monotonic()
        result = probe()
        if result is not None and result is not False:
            return result
        if moving and (now := moving()) != figure:
            figure, deadline = now, time.monotonic() + ceiling_s
        if time.monotonic() > deadline:
            progress = f"; no progress beyond {figure!r}" if moving else ""
            raise AssertionError(f"not within {ceiling_s:.0f} s: {goal}{progress}")
        time.sleep(pause_s(time.monotonic() - began))


def pause_s(took_s: float) -> float:
    """Return the pause after a probe that took `took_s`."""
    return max(PAUSE_S, min(MAX_PAUSE_S, PAUSES_PER_PROBE * took_s))
