"""When a store that did not answer is asked again (step 8 of the journey).

Decides that for a second after a failure nobody waits for it, and that then one caller tries while the others do not.
Knows nothing of what the store is.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, TypeVar

from hitmesh.model.errors import Unavailable
from hitmesh.ports import Clock
from reporter.answer.route import Path

PAUSE_MS: Final = 1_000
_ValueT = TypeVar("_ValueT")


@dataclass
class Breaker:
    """Stands before one store. Thread-safe; waits for nothing."""

    store: str
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _cause: str = ""
    _try_at: int = 0

    def call(self, clock: Clock, ask: Callable[[], _ValueT]) -> _ValueT:
        """Returns what the store answers.

        Raises:
            Unavailable: the store does not answer, or did not within the last second: then it is not asked.
        """
        self._refuse_in_pause(clock.now())
        try:
            answer = ask()
        except Unavailable as error:
            with self._lock:
                self._cause, self._try_at = error.message or "no answer", clock.now() + PAUSE_MS
            raise
        if self._cause:
            with self._lock:
                self._cause = ""
        return answer

    def is_pausing(self, now_ms: int) -> bool:
        """Returns whether the store would not be asked now."""
        with self._lock:
            return bool(self._cause) and now_ms < self._try_at

    def _refuse_in_pause(self, now_ms: int) -> None:
        with self._lock:
            if not self._cause:
                return
            if now_ms >= self._try_at:
                self._try_at = now_ms + PAUSE_MS  # this caller tries, the others wait for what it finds
                return
            raise Unavailable(
                f"{self.store} did not answer a moment ago: {self._cause}",
                retry_after_s=(self._try_at - now_ms) / 1_000,
            )


@dataclass(frozen=True, slots=True)
class Breakers:
    """Those of a reporter; where one server is behind several stores, they share one.

    `books`: of what says how sites stand with settlement.
    """

    series: Breaker = field(default_factory=lambda: Breaker("the store of series"))
    metrics: Breaker = field(default_factory=lambda: Breaker("the store of metrics"))
    books: Breaker = field(default_factory=lambda: Breaker("the store that says what is settled"))

    def of(self, path: Path) -> Breaker:
        """Returns the one before the store of a path."""
        return self.series if path is Path.SERIES else self.metrics
