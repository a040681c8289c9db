"""Test that if the settler crashes at any effect, a restart repeats work but gives the same result."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields
from typing import Any

import pytest

from processor.settle.pace import SettlePace
from processor.settle.settler import Settler
from processor.settle.stores import SettlerStores
from tests.support.small_mesh import SmallMesh, settler_stores
from tests.unit.settling import (
    NOON,
    SITE,
    a_hit,
    an_order,
    dirty,
)

EFFECTS = ("begin", "write", "put", "mark", "publish", "set_duplicates", "clear", "drop", "forget")


class Crash(BaseException):
    """The simulated end of the process.

    The class derives from BaseException, so that no `except Exception` catches the error.
    """


class Crashing:
    """A port that crashes before or after the n-th effect. Effects are counted over all ports of a settler."""

    def __init__(self, port: object, countdown: Iterator[int], *, after: bool) -> None:
        self._port, self._countdown, self._after = port, countdown, after

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._port, name)
        return self._effect(found) if name in EFFECTS else found

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return self._port(*arguments, **named)  # type: ignore[operator]  # called only if the port is a function

    def _effect(self, effect: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **named: Any) -> Any:
            last = next(self._countdown) == 0
            if last and not self._after:
                raise Crash
            result = effect(*arguments, **named)
            if last:
                raise Crash
            return result

        return run


def crashing(stores: SettlerStores, effects: int, *, after: bool) -> SettlerStores:
    countdown = iter(range(effects, -(10**6), -1))
    ports = {port.name: getattr(stores, port.name) for port in fields(stores)}
    return SettlerStores(**{name: Crashing(port, countdown, after=after) for name, port in ports.items()})


ROUNDS = (
    [a_hit(-10), a_hit(30), an_order(1_500, "o"), a_hit(60, "w", "x"), a_hit(0, "u")],
    [a_hit(5), an_order(90, "o", "w", "x"), an_order(-20, "p"), an_order(40, "p", "u")],
)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.timeout(60)
def test_crash_at_any_effect_changes_no_report(after: bool) -> None:
    whole = SmallMesh(NOON, sites=[SITE])
    for hits in ROUNDS:
        whole.send(hits)
        whole.settle()
    expected = whole.rows()
    # Only every other effect is tried. A crash after an effect leaves the stores in the same state as a crash before
    # the next effect.
    for effects in range(int(after), 40, 2):
        mesh = SmallMesh(NOON, sites=[SITE])
        for hits in ROUNDS:
            mesh.send(hits)
            mesh.heartbeat()
            mesh.stream()
            settler = Settler(
                crashing(settler_stores(mesh.stores), effects, after=after), mesh.clock, SettlePace(resettle_after_ms=0)
            )
            try:
                while dirty(mesh):
                    mesh.clock.advance(1)
                    settler.run_once()
            except Crash:
                mesh.settler = Settler(settler_stores(mesh.stores), mesh.clock, SettlePace(resettle_after_ms=0))
            mesh.settle()
        assert mesh.rows() == expected, f"after a crash at effect {effects}"
