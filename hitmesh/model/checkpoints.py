"""Checkpoints in long work: the points where the work checks whether its result is still wanted.

Work calls its checkpoint between two steps; a step must end within a fraction of a second. The checkpoint's creator
decides which clock and which call the checkpoint watches.
"""

from __future__ import annotations

from collections.abc import Callable

Checkpoint = Callable[[], None]
"""Return to let the work go on; raise Abandoned when the result is no longer needed."""


def unwatched() -> None:
    """Let the work go on: no caller can abandon it.

    Example:
        >>> unwatched()  # returns, so the work goes on
    """
