"""Fail points kill, stop or break the stream in the middle of a commit. Tests use fail points.

The setting `fail_at` selects the commit step (`CommitStep`). SIGKILL simulates a power failure. A panic is an error
that no code expects; a thread that hangs never returns.
"""

from __future__ import annotations

import os
import signal
import threading

from processor.stream.commit import CommitStep, Reached, ignore_step


def dying_at(where: str) -> Reached:
    """Return a callback that fails when a given step completes for the n-th time. By default, it kills this process.

    Args:
        where: the commit step and n, as `step:n`; `step:n:panic` raises an error instead, and `step:n:hang` blocks the
            thread for ever. If `where` is empty, the callback does nothing.
    """
    if not where:
        return ignore_step
    name, times, how = [*where.split(":"), "kill"][:3]
    step, left = CommitStep(name), [int(times)]

    def reached(done: CommitStep) -> None:
        if done is step:
            left[0] -= 1
            if left[0] == 0:
                _fail(how)

    return reached


class Panic(BaseException):
    """An error that no code expects, such as a panic in Rust code."""


def _fail(how: str) -> None:
    if how == "panic":
        raise Panic("the setting HITMESH_PROCESSOR_FAIL_AT asks for a panic")
    if how == "hang":
        threading.Event().wait()
    os.kill(os.getpid(), signal.SIGKILL)
