"""Stops a runner if the process stops, or if the stream table names another stream in place of the runner's stream."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from hitmesh.model.errors import RetryError

LOOK_EVERY_S: Final = 0.5


class Until:
    """A Stop that is set if `stop` is set or `is_over` has returned True.

    An instance must be used by one thread only.

    Args:
        stop: is set when the process must stop.
        is_over: returns whether another stream has taken the place of the runner's stream. If a store is unavailable,
            the result counts as False.
        look_every_s: the minimum time in seconds between two calls of `is_over`.
    """

    def __init__(self, stop: threading.Event, is_over: Callable[[], bool], look_every_s: float = LOOK_EVERY_S) -> None:
        self._stop = stop
        self._is_over = is_over
        self._look_every_s = look_every_s
        self._looks_at = 0.0
        self._is_set = False

    def is_set(self) -> bool:
        """Return whether the runner must stop."""
        now = time.monotonic()
        if not self._is_set and now >= self._looks_at:
            self._looks_at = now + self._look_every_s
            with suppress(RetryError):
                self._is_set = self._is_over()
        return self._is_set or self._stop.is_set()

    def wait(self, timeout: float) -> bool:
        """Wait until the process must stop, for at most `timeout` s; then return whether the runner must stop."""
        self._stop.wait(timeout)
        return self.is_set()
