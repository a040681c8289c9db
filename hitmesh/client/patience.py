"""Exponential backoff between streams. Decides how long the sender pauses, and when the sender gives up.

This module reads no clock; the source of random numbers is an argument.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

JITTER: Final = 0.5
"""Maximum random extension of a pause, as a fraction of the pause."""
_MAX_DOUBLINGS: Final = 62


@dataclass(frozen=True, slots=True)
class Patience:
    """Limits for retries without success; times are in seconds.

    The sender stops if more than `attempts` streams in a row end without an acknowledgement. The sender also stops if
    the collector asks for a retry of the same hits `attempts` times. After the first acknowledgement, the mesh is known
    to exist. The limit for streams without an acknowledgement is then the greater of `attempts` and `reconnects`. The
    pause between streams starts at `first_s`, doubles up to `max_s`, and is extended at random by up to half. The
    sender cancels a stream if an expected response does not arrive for `stall_s`.
    """

    attempts: int = 8
    reconnects: int = 0
    first_s: float = 0.25
    max_s: float = 5.0
    stall_s: float = 60.0


LASTING: Final = Patience(reconnects=30)
"""Default limits, with which a sender retries for more than two minutes while a mesh restarts."""


class Backoff:
    """Counts the successive streams that ended without an acknowledgement, and computes the pauses between streams.

    A restart of the mesh breaks all streams at the same moment. Pauses are extended at random, so that the senders do
    not reconnect at the same moment.

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
        """Count a stream that ended. `progressed` is true if the stream acknowledged a batch."""
        self._has_worked = self._has_worked or progressed
        self.failures = 0 if progressed else self.failures + 1

    @property
    def is_exhausted(self) -> bool:
        """Whether too many streams in a row ended without an acknowledgement."""
        patience = self._patience
        allowed = max(patience.attempts, patience.reconnects) if self._has_worked else patience.attempts
        return self.failures > allowed

    def pause_s(self) -> float:
        """Return the pause in seconds before the next stream; 0 if the last stream acknowledged a batch."""
        if not self.failures:
            return 0.0
        doubled_s = self._patience.first_s * 2.0 ** min(self.failures - 1, _MAX_DOUBLINGS)
        return min(self._patience.max_s, doubled_s) * (1.0 + JITTER * self._random())
