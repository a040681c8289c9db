"""Back-off between streams: how long to pause, and when to give up. Pure: the random numbers are an argument."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

JITTER: Final = 0.5
"""Maximum random extension of a pause, as a share of the pause."""
_MAX_DOUBLINGS: Final = 62


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to go on without progress.

    The sender stops after `attempts` failed streams in a row, or after `attempts` sends of a batch without success.
    Once a batch was acknowledged, a mesh is known to exist: then up to `reconnects` streams in a row may fail. The
    pause between streams is `first_s`, doubling up to `max_s`, and up to half as much again at random. A stream that
    owes an answer and is silent for `stall_s` is cancelled.
    """

    attempts: int = 8
    reconnects: int = 0
    first_s: float = 0.25
    max_s: float = 5.0
    stall_s: float = 60.0


LASTING: Final = Patience(reconnects=30)
"""Outlasts a restart of the mesh: more than two minutes without a collector."""


class Backoff:
    """Counts the streams in a row without an acknowledgement.

    The pauses are extended at random: after a restart of the mesh, the senders whose streams broke at the same moment
    must not return at the same moment.

    Args:
        patience: pauses and limits.
        random: returns a number in [0, 1).
    """

    def __init__(self, patience: Patience, random: Callable[[], float]) -> None:
        self.failures = 0
        self._patience = patience
        self._random = random
        self._has_worked = False

    def ended(self, *, progressed: bool) -> None:
        """Count a stream that ended, and whether the stream brought an acknowledgement."""
        self._has_worked = self._has_worked or progressed
        self.failures = 0 if progressed else self.failures + 1

    @property
    def is_exhausted(self) -> bool:
        """Whether too many streams in a row failed."""
        patience = self._patience
        allowed = max(patience.attempts, patience.reconnects) if self._has_worked else patience.attempts
        return self.failures > allowed

    def pause_s(self) -> float:
        """Return the pause in seconds before the next stream; 0 after a stream with an acknowledgement."""
        if not self.failures:
            return 0.0
        doubled_s = self._patience.first_s * 2.0 ** min(self.failures - 1, _MAX_DOUBLINGS)
        return min(self._patience.max_s, doubled_s) * (1.0 + JITTER * self._random())
