"""Print the CPU seconds that CPython needs for ten million additions on this machine.

A fast machine needs about 0.5 s, and a slow machine needs about 1.3 s. Compare the durations of two test runs only if
the figures of both runs are similar.
"""

from __future__ import annotations

import sys
import time

ADDITIONS = 10_000_000


def yardstick_s() -> float:
    """Return the CPU seconds for the additions: the minimum of three runs."""
    return min(_once() for _ in range(3))


def _once() -> float:
    began, total = time.process_time(), 0
    for number in range(ADDITIONS):
        total += number
    return time.process_time() - began


if __name__ == "__main__":
    sys.stderr.write(f"test: the yardstick took {yardstick_s():.2f} CPU s (fast machine: 0.5 s, slow machine: 1.3 s)\n")
