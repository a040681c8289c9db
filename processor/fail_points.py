"""Where a process can be made to die in the middle of a commit: for tests of recovery, set by `fail_at`.

The process gets the signal of a power cut, at a place that the commit sequence itself names.
"""

from __future__ import annotations

import os
import signal

from processor.stream.commit import CommitStep, Reached, nowhere


def dying_at(where: str) -> Reached:
    """Return what kills this process when a step is done for the n-th time.

    Args:
        where: `step:n`; empty for never.
    """
    if not where:
        return nowhere
    name, _, times = where.partition(":")
    step, left = CommitStep(name), [int(times)]

    def reached(done: CommitStep) -> None:
        if done is step:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    return reached
