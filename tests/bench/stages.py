"""How much processor time each stage takes, without a profiler: functions are wrapped where they are looked up.

A stage's time is what its own thread and the threads that work for it (those of Polars) used while it ran, without
the stages inside it. Reading the clocks costs about 10 µs, so only what runs once a micro-batch or a record is
wrapped.
"""

from __future__ import annotations

import functools
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

# clock_gettime(3) of another thread of the same process: the complement of its id, CPUCLOCK_PERTHREAD | _SCHED.
_THREAD_CLOCK = 6
_HELPERS = ("polars",)


def helper_threads() -> list[int]:
    """Returns the ids of the threads of Polars' pool (Linux only; none elsewhere)."""
    found = []
    for task in Path("/proc/self/task").glob("*"):
        if (task / "comm").read_text().startswith(_HELPERS):
            found.append(int(task.name))
    return found


class StageTimer:
    """Adds up seconds per stage; used by one thread. Call `start` once the pool's threads exist."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._helpers: list[int] = []
        self._inside: list[float] = []

    def start(self) -> None:
        """Finds the helpers and forgets what was measured."""
        self._helpers = helper_threads()
        self.seconds.clear()

    def wrap(self, owner: object, attribute: str, stage: str, seen: Callable[[Any], None] | None = None) -> None:
        """Replaces a function of a module or a method of a class by one that is timed; `seen` gets what it returns."""
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
        clocks = (time.clock_gettime((~helper << 3) | _THREAD_CLOCK) for helper in self._helpers)
        return time.thread_time() + sum(clocks)


def per_hit_us(seconds: float, hits: int) -> float:
    """Returns µs a hit, to the nanosecond."""
    return round(seconds / max(hits, 1) * 1e6, 3)
