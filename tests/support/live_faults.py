"""Wrap the stores of a runner so that the n-th write fails.

The write fails either before or after its effect, and the writer cannot tell which. All writes before the n-th take
effect in the real store.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import Any

from processor.stream.stores import StreamStores

WRITES = frozenset(
    {
        "put",
        "mark",
        "await_close",
        "claim",
        "first",
        "transaction",
        "put_partials",
        "note_flushed",
        "save_chunks",
        "save_manifest",
    }
)
"""Write methods of the ports, in the order in which a step and its snapshot call them."""


class Killed(BaseException):
    """The simulated death of a process.

    The class derives from BaseException, so that no `except Exception` catches the error.
    """


@dataclass
class Fuse:
    """A countdown of writes that raises an error once, at its end.

    Each write counts twice: before and after the write takes effect.
    """

    chances: int
    """Number of counts that are left before the failure."""
    error: Callable[[], BaseException] = Killed
    """Function that creates the exception to raise."""
    only: frozenset[str] = frozenset()
    """Names of the write methods that count. If `only` is empty, all write methods count."""
    blown: str = ""
    """"before" or "after" with the name of the write that failed. Before the failure, `blown` is empty."""
    passed: list[str] = field(default_factory=list)

    def pass_by(self, place: str) -> None:
        """Count once, and raise the error if the countdown has ended."""
        if self.blown:
            return
        if self.chances == 0:
            self.blown = place
            raise self.error()
        self.chances -= 1
        self.passed.append(place)


class _Fused:
    """A port that calls `fuse.pass_by` before and after each write."""

    def __init__(self, port: Any, fuse: Fuse) -> None:
        self._port = port
        self._fuse = fuse

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._port, name)
        if name not in (self._fuse.only or WRITES):
            return method

        def guarded(*arguments: Any, **named: Any) -> Any:
            self._fuse.pass_by(f"before {name}")
            done = method(*arguments, **named)
            self._fuse.pass_by(f"after {name}")
            return done

        return guarded


def fused(stores: StreamStores, fuse: Fuse) -> StreamStores:
    """Return the stores with ports that call `fuse.pass_by` before and after each write."""
    ports: dict[str, Any] = {field.name: getattr(stores, field.name) for field in fields(stores)}
    guarded: dict[str, Any] = {
        name: port if callable(port) or isinstance(port, bool) else _Fused(port, fuse) for name, port in ports.items()
    }
    return replace(stores, **guarded)
