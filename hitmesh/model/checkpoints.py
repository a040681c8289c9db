"""Checkpoints: functions that long work calls to check whether its result is still needed.

Long work calls the checkpoint between two steps; each step must end within a fraction of a second. The code that
creates a checkpoint decides which clock and which RPC the checkpoint watches.
"""

from __future__ import annotations

from collections.abc import Callable

Checkpoint = Callable[[], None]
"""Raises Abandoned if the result is no longer needed; otherwise, the work continues."""


def unwatched() -> None:
    """Return at once. Work that no caller can abandon uses this function as its checkpoint.

    Example:
        >>> unwatched()  # returns, so the work continues
    """
