"""Measures the CPU time of a thread together with the CPU time of Polars' thread pool.

On systems other than Linux, only the thread itself is measured.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

# For clock_gettime(3), the clock id of another thread consists of the thread id's complement, shifted left by 3, and
# the flags CPUCLOCK_PERTHREAD and CPUCLOCK_SCHED. _THREAD_CLOCK contains both flags.
_THREAD_CLOCK: Final = 6
_HELPERS: Final = ("polars",)
_TASKS: Final = Path("/proc/self/task")


def helper_threads() -> list[int]:
    """Return the thread ids of Polars' pool; the list is empty before Polars is used for the first time."""
    found = []
    for task in _TASKS.glob("*"):
        try:
            name = (task / "comm").read_text()
        except OSError:  # the thread has ended
            continue
        if name.startswith(_HELPERS):
            found.append(int(task.name))
    return found


def cpu_s(helpers: Sequence[int] = ()) -> float:
    """Return the CPU seconds that the calling thread and the threads in `helpers` have used."""
    return time.thread_time() + sum(time.clock_gettime((~helper << 3) | _THREAD_CLOCK) for helper in helpers)


class WorkClock:
    """Measures the CPU seconds of the calling thread and of all Polars threads.

    All calls must come from the thread that is measured.

    Polars' threads work for every thread of the process. The result therefore includes Polars' work for other threads.
    """

    def __init__(self) -> None:
        self._helpers: list[int] = []

    def __call__(self) -> float:
        """Return the CPU seconds that the calling thread and Polars' threads have used since they started."""
        self._helpers = self._helpers or helper_threads()
        return cpu_s(self._helpers)
