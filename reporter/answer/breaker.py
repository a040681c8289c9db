"""Circuit breakers in front of stores (journey step 8).

After a failure, the circuit breaker stays open for a second: all calls fail immediately. A second after the failure, a
single trial call goes through, and all other calls fail until the trial call ends.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, TypeVar

from hitmesh.model.errors import Unavailable
from hitmesh.ports import Clock
from hitmesh.runtime.telemetry.traces import step
from reporter.answer.route import Path

PAUSE_MS: Final = 1_000
_ValueT = TypeVar("_ValueT")


@dataclass
class Breaker:
    """A circuit breaker in front of a store. Thread-safe; never waits."""

    store: str
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _cause: str = ""
    _try_at: int = 0

    def call(self, clock: Clock, query: Callable[[], _ValueT]) -> _ValueT:
        """Call the store and return its answer.

        Raises:
            Unavailable: the store does not answer, or the breaker is open because a call failed less than a second ago.
        """
        self._refuse_in_pause(clock.now())
        try:
            with step("read store", {"hitmesh.store": self.store}):
                answer = query()
        except Unavailable as error:
            with self._lock:
                self._cause, self._try_at = error.message or "no answer", clock.now() + PAUSE_MS
            raise
        if self._cause:
            with self._lock:
                self._cause = ""
        return answer

    def is_pausing(self, now_ms: int) -> bool:
        """Return whether the breaker is open: a call at this moment would be refused."""
        with self._lock:
            return bool(self._cause) and now_ms < self._try_at

    def _refuse_in_pause(self, now_ms: int) -> None:
        with self._lock:
            if not self._cause:
                return
            if now_ms >= self._try_at:
                self._try_at = now_ms + PAUSE_MS  # this call is the trial; other calls fail until the trial ends
                return
            raise Unavailable(
                f"{self.store} did not answer a moment ago: {self._cause}",
                retry_after_s=(self._try_at - now_ms) / 1_000,
                store=str(self.store),
                cause=str(self._cause),
            )


@dataclass(frozen=True, slots=True)
class Breakers:
    """The circuit breakers of a reporter; stores on the same server share a breaker.

    `books` guards the stores that hold settlement state.
    """

    series: Breaker = field(default_factory=lambda: Breaker("the series store"))
    metrics: Breaker = field(default_factory=lambda: Breaker("the metric store"))
    books: Breaker = field(default_factory=lambda: Breaker("the generation store"))

    def of(self, path: Path) -> Breaker:
        """Return the breaker in front of a path's store."""
        return self.series if path is Path.SERIES else self.metrics
