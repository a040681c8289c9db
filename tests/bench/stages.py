"""Measure the CPU time of each stage without a profiler.

A timer replaces each measured function in the module that calls the function. The time of a stage is the CPU time of
the stage's thread and of Polars' threads. The time of a nested stage does not count for the outer stage. Reading the
clocks costs about 10 µs. Therefore, only functions that are called once per micro-batch or per record are wrapped.
"""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from hitmesh.runtime.thread_clocks import cpu_s, helper_threads


class StageTimer:
    """Add up the CPU seconds of each stage.

    Use a timer in a single thread. Call `start` only after Polars has started its threads.
    """

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._helpers: list[int] = []
        self._inside: list[float] = []

    def start(self) -> None:
        """Find the helper threads and reset all sums."""
        self._helpers = helper_threads()
        self.seconds.clear()

    def wrap(self, owner: object, attribute: str, stage: str, seen: Callable[[Any], None] | None = None) -> None:
        """Wrap a module's function or a class's method in a timer. The wrapper calls `seen` with each return value."""
        inner: Callable[..., Any] = getattr(owner, attribute)

        @functools.wraps(inner)
        def timed(*args: Any, **kwargs: Any) -> Any:
            began = self._cpu()
            self._inside.append(0.0)
            try:
                returned = inner(*args, **kwargs)
                if seen is not None:
                    seen(returned)
                return returned
            finally:
                took = self._cpu() - began
                self.seconds[stage] += took - self._inside.pop()
                if self._inside:
                    self._inside[-1] += took

        setattr(owner, attribute, timed)

    def _cpu(self) -> float:
        return cpu_s(self._helpers)


def per_hit_us(seconds: float, hits: int) -> float:
    """Return the microseconds per hit, rounded to nanoseconds."""
    return round(seconds / max(hits, 1) * 1e6, 3)
