"""Fail points: kill a process in the middle of a commit, for recovery tests; set by `fail_at`.

SIGKILL stands for a power cut. The commit sequence itself names the places.
"""

from __future__ import annotations

import os
import signal

from processor.stream.commit import CommitStep, Reached, ignore_step


def dying_at(where: str) -> Reached:
    """Return a callback that kills this process when a step completes for the n-th time.

    Args:
        where: `step:n`; empty for never.
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
