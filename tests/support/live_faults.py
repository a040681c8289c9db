"""Stores that fail at the n-th write: wrappers of the runner's stores that may fail before and after each write.

A write may fail before or after its effect; the writer cannot tell which. Completed writes reach the real store.
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
"""Write methods of the ports, in the order of a step's effects and the snapshot after them."""


class Killed(BaseException):
    """Simulated process death; derives from BaseException so that no error handler catches the signal."""


@dataclass
class Fuse:
    """Raise once, after a number of calls. Each write has a chance before its effect and another after.

    Attributes:
        chances: number of calls that succeed before the failure.
        error: makes the exception.
        only: names of the writes that count; empty means all.
        blown: the write that failed, and whether the write took effect.
    """

    chances: int
    error: Callable[[], BaseException] = Killed
    only: frozenset[str] = frozenset()
    blown: str = ""
    passed: list[str] = field(default_factory=list)

    def pass_by(self, place: str) -> None:
        """Count a call, and raise if its turn has come."""
        if self.blown:
            return
        if self.chances == 0:
            self.blown = place
            raise self.error()
        self.chances -= 1
        self.passed.append(place)


class _Fused:
    """A port whose writes go through a fuse."""

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
    """Return the same stores with the fuse around their writes."""
    ports: dict[str, Any] = {field.name: getattr(stores, field.name) for field in fields(stores)}
    guarded: dict[str, Any] = {
        name: port if callable(port) or isinstance(port, bool) else _Fused(port, fuse) for name, port in ports.items()
    }
    return replace(stores, **guarded)
