"""Pauses the settler's thread, to leave CPU time to the live stream.

If many hits arrive for closed days, a settler is busy for minutes or hours. The settler shares its process, and often
its cores, with the live stream. The stream's results must remain fresh while the settler works.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

_LONGEST_S: Final = 10.0


class Rests:
    """Pauses (rests) in proportion to the CPU time since the last rest.

    An instance must be used by one thread only.

    Args:
        share: the fraction CPU time / (CPU time + rests); 1 = no rests.
        used_s: returns the CPU time in seconds that has been used so far.
        stop: ends a rest when set.
        shortest_s: a shorter rest is postponed and added to the next rest.
    """

    def __init__(
        self, share: float, used_s: Callable[[], float], stop: threading.Event, shortest_s: float = 0.005
    ) -> None:
        self._per_cpu_s = 1 / share - 1
        self._used_s = used_s
        self._stop = stop
        self._shortest_s = shortest_s
        self._rested_at_s: float | None = None

    def __call__(self) -> None:
        """Rest for at most 10 s, in proportion to the CPU time since the last rest."""
        if not self._per_cpu_s:
            return
        now_s = self._used_s()
        if self._rested_at_s is None:
            self._rested_at_s = now_s
        rest_s = min((now_s - self._rested_at_s) * self._per_cpu_s, _LONGEST_S)
        if rest_s >= self._shortest_s:
            self._stop.wait(rest_s)
            self._rested_at_s = self._used_s()
