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
    """A countdown that raises an error once, when it ends. Each write counts twice: before and after it takes effect.

    Attributes:
        chances: number of counts left before the failure. error: creates the exception to raise. only: names of the
        write methods that count. If `only` is empty, all write methods count. blown: "before" or "after" with the name
        of the write that failed. Before the failure, `blown` is empty.
    """

    chances: int
    error: Callable[[], BaseException] = Killed
    only: frozenset[str] = frozenset()
    blown: str = ""
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
    """A port whose write methods count down a fuse."""

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
    """Return the stores with ports whose write methods count down the fuse."""
    ports: dict[str, Any] = {field.name: getattr(stores, field.name) for field in fields(stores)}
    guarded: dict[str, Any] = {
        name: port if callable(port) or isinstance(port, bool) else _Fused(port, fuse) for name, port in ports.items()
    }
    return replace(stores, **guarded)
