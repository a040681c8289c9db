"""Send portions at a fixed pace, and find out for how long nothing moved."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Self

from tests.support.senders import Portion, Senders

LOOK_S = 0.1


class Trickle:
    """A context manager that gives a portion every `pause_s` to the senders, and stops at its end.

    Args:
        senders: the senders.
        shares: the portions.
        pause_s: seconds between two portions.
    """

    def __init__(self, senders: Senders, shares: Sequence[Portion], pause_s: float) -> None:
        self._senders, self._shares, self._pause_s = senders, shares, pause_s
        self._stopping = threading.Event()
        self.given = 0
        self._thread = threading.Thread(target=self._run, name="trickle")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        for share in self._shares:
            self._senders.give(share)
            self.given += 1
            if self._stopping.wait(self._pause_s):
                return


class Standstill:
    """A context manager that measures the longest time in which a growing number did not grow.

    Args:
        number: returns the number. An error counts as a number that did not grow.
    """

    def __init__(self, number: Callable[[], int]) -> None:
        self._number = number
        self._stopping = threading.Event()
        self.longest_s = 0.0
        self.now_s = 0.0
        self._thread = threading.Thread(target=self._run, name="standstill")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        last, moved_s = 0, time.monotonic()
        while not self._stopping.wait(LOOK_S):
            try:
                now = self._number()
            except Exception:  # a store that does not answer is what the test looks for
                now = last
            if now > last:
                last, moved_s = now, time.monotonic()
            self.now_s = time.monotonic() - moved_s
            self.longest_s = max(self.longest_s, self.now_s)
