"""The port to the current time."""

from __future__ import annotations

from typing import Protocol


class Clock(Protocol):
    """The only source of wall-clock time on which results depend."""

    def now(self) -> int:
        """Return the current time in UTC ms."""
