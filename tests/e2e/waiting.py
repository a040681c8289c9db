"""Waiting for a condition with a deadline: the only place of these tests that sleeps."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PAUSE_S = 0.05


def eventually(probe: Callable[[], T | None], what: str, timeout_s: float = 10.0) -> T:
    """Returns the first result of `probe` that is not None or False.

    Raises:
        AssertionError: there was none within `timeout_s`; says what was waited for.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        result = probe()
        if result is not None and result is not False:
            return result
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_s:.0f} s: {what}")
        time.sleep(PAUSE_S)
