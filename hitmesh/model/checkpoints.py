"""Checkpoints of long work: the places where it looks at whether its result is still wanted.

Work calls its checkpoint between two steps; a step must end within a fraction of a second. Which clock and which call
are behind a checkpoint, its maker decides.
"""

from __future__ import annotations

from collections.abc import Callable

Checkpoint = Callable[[], None]
"""Returns when the work may go on. Raises Abandoned when its result is of no use any more."""


def unwatched() -> None:
    """Let the work go on: nothing waits for it that could leave."""
