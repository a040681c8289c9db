"""Fail points kill the process in the middle of a commit. Tests use fail points to test recovery.

The setting `fail_at` selects the commit step (`CommitStep`). SIGKILL simulates a power failure.
"""

from __future__ import annotations

import os
import signal

from processor.stream.commit import CommitStep, Reached, ignore_step


def dying_at(where: str) -> Reached:
    """Return a callback that kills this process when a given step completes for the n-th time.

    Args:
        where: the commit step and n, as `step:n`. If `where` is empty, the callback does nothing.
    """
    if not where:
        return ignore_step
    name, _, times = where.partition(":")
    step, left = CommitStep(name), [int(times)]

    def reached(done: CommitStep) -> None:
        if done is step:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    return reached
