"""Checkpoints: functions that a long computation calls to check whether the result is still needed.

A long computation calls the checkpoint between two steps. Each step must end within a fraction of a second. The code
that creates a checkpoint decides which clock and which RPC the checkpoint watches.
"""

from __future__ import annotations

from collections.abc import Callable

Checkpoint = Callable[[], None]
"""A function that raises Abandoned if a computation's result is no longer needed, and otherwise returns."""


def unwatched() -> None:
    """Return at once. A computation that no caller can abandon uses this function as the checkpoint.

    Example:
        >>> unwatched()  # returns, so the work continues
    """
