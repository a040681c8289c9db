"""Checkpoints: functions that end an RPC if its deadline has passed or the caller has cancelled the call."""

from __future__ import annotations

import time
from collections.abc import Callable

import grpc

from hitmesh.model.checkpoints import Checkpoint
from hitmesh.model.errors import Abandoned
from hitmesh.model.reasons import ErrorReason


def checkpoint_of(
    context: grpc.ServicerContext, max_s: float, monotonic: Callable[[], float] = time.monotonic
) -> Checkpoint:
    """Return a call's checkpoint. The call may run until its own deadline, but for at most `max_s` seconds.

    The checkpoint raises Abandoned, with DEADLINE_EXCEEDED if the time has passed, and with CANCELLED if the caller has
    cancelled the call.
    """
    left_s = context.time_remaining()
    allowed_s = max_s if left_s is None else min(max_s, left_s)
    end = monotonic() + allowed_s

    def checkpoint() -> None:
        if monotonic() > end:
            raise Abandoned(
                f"the answer takes longer than the call's limit of {allowed_s:.1f} s; the server's limit is "
                f"{max_s:g} s: ask for a shorter range, fewer dimensions or a simpler filter, or set a longer deadline",
                reason=ErrorReason.DEADLINE_EXCEEDED,
                timeout_s=allowed_s,
                limit=max_s,
            )
        if not context.is_active():
            raise Abandoned("the caller cancelled the call before the answer was ready")

    return checkpoint
