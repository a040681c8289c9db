"""Opens a resource at its first use.

A process that never uses the resource never opens the resource.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class OpenedLater(Generic[T]):
    """Opens a resource at the first `get`; after an error, the next `get` tries again. Thread-safe.

    Args:
        open_: opens the resource.
        close: closes an opened resource.
    """

    def __init__(self, open_: Callable[[], T], close: Callable[[T], None]) -> None:
        self._open = open_
        self._close = close
        self._lock = threading.Lock()
        self._opened: list[T] = []

    def get(self) -> T:
        """Return the resource; open the resource if it is not open. Errors that `open_` raises are not caught."""
        with self._lock:
            if not self._opened:
                self._opened.append(self._open())
            return self._opened[0]

    def close(self) -> None:
        """Close the resource if it is open. A second call changes nothing."""
        with self._lock:
            while self._opened:
                self._close(self._opened.pop())
