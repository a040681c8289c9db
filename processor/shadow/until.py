"""A stop for a runner that must also end when the stream table wants another stream in its place."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from hitmesh.model.errors import RetryError

LOOK_EVERY_S: Final = 0.5


class Until:
    """Set once `stop` is set or `is_over` has returned True. Confined to one thread.

    Args:
        stop: the process's stop.
        is_over: asked at most every `look_every_s`; a store that is unavailable changes nothing.
        look_every_s: seconds between two questions.
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
        """Wait for the process's stop, at most `timeout` s; return whether the runner must stop."""
        self._stop.wait(timeout)
        return self.is_set()
