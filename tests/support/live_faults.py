"""Stores that fail at the n-th write: the runner's own stores, and a fuse in front of each of their writes.

A write may fail before it is done or after, which the writer cannot tell apart. Nothing is made up: what is written is
written to the real store.
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
"""The methods of ports that write, in the order of the effects of a step, and of a snapshot behind it."""


class Killed(BaseException):
    """The process is gone; no handler of errors may catch it."""


@dataclass
class Fuse:
    """Raises once, after so many chances to: each write has one before it and one behind it.

    Attributes:
        chances: how many pass before it blows.
        error: what is raised.
        only: names of the writes that count; empty: all.
        blown: the write that failed, and whether it was done.
    """

    chances: int
    error: Callable[[], BaseException] = Killed
    only: frozenset[str] = frozenset()
    blown: str = ""
    passed: list[str] = field(default_factory=list)

    def pass_by(self, place: str) -> None:
        """Lets one chance go by, or raises."""
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
    """Returns the same stores, with the fuse in front of their writes."""
    ports: dict[str, Any] = {one.name: getattr(stores, one.name) for one in fields(stores)}
    guarded: dict[str, Any] = {name: port if callable(port) else _Fused(port, fuse) for name, port in ports.items()}
    return replace(stores, **guarded)
