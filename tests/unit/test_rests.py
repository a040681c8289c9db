"""Test the rests (pauses) of the settler's thread, which limit the CPU time that settlement uses."""

from __future__ import annotations

import threading

import pytest

from hitmesh.runtime.thread_clocks import WorkClock
from processor.settle.memory import SettleMemory
from processor.settle.pace import SettlePace
from processor.settle.rests import Rests
from processor.settle.settler import Settler
from tests.support.small_mesh import SmallMesh, differences, expected_rows, settler_stores
from tests.unit.settling import NOON, SITE, a_hit


class _Stop(threading.Event):
    """An event that records the rests instead of waiting."""

    def __init__(self) -> None:
        super().__init__()
        self.rests: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self.rests.append(round(timeout, 6))
        return False


@pytest.mark.parametrize(
    ("share", "used_s", "rests"),
    [
        (1.0, [0, 5, 9], []),
        (0.5, [0, 1, 1, 4, 4], [1.0, 3.0]),  # with a share of 0.5, a rest is as long as the work
        (0.25, [0, 0.5, 0.5], [1.5]),
        (0.5, [0, 0.003, 0.006, 0.006], [0.006]),  # two short rests become one longer rest
        (0.01, [0, 60, 60], [10.0]),  # a rest lasts at most 10 s
    ],
)
def test_a_rest_is_in_proportion_to_the_cpu_time_since_the_last_rest(
    share: float, used_s: list[float], rests: list[float]
) -> None:
    stop, used = _Stop(), iter(used_s)
    rest = Rests(share, lambda: next(used), stop)
    calls = len(used_s) - len(rests) if share < 1 else 3
    for _ in range(calls):
        rest()
    assert stop.rests == rests


def test_a_rest_ends_when_the_settler_is_stopped() -> None:
    stop, used = threading.Event(), iter([0.0, 1_000.0, 1_000.0])
    rest = Rests(0.001, lambda: next(used), stop)
    stop.set()
    rest()
    rest()  # this call would wait for 10 s if it ignored `stop`
    assert next(used, None) is None


def test_the_clock_counts_the_cpu_time_of_the_thread() -> None:
    clock = WorkClock()
    before = clock()
    sum(range(100_000))
    assert 0 < clock() - before < 60


@pytest.mark.parametrize("range_hits", [1, 1_000])
def test_a_settlement_rests_between_its_portions(range_hits: int) -> None:
    rests = 0

    def rest() -> None:
        nonlocal rests
        rests += 1

    mesh = SmallMesh(NOON, sites=[SITE])
    memory = SettleMemory(range_hits, groups_log2=1, rest=rest)
    mesh.settler = Settler(settler_stores(mesh.stores), mesh.clock, SettlePace(resettle_after_ms=0), memory=memory)
    mesh.send([a_hit(minute, f"v{minute}") for minute in range(6)])
    mesh.settle()
    assert differences(mesh.rows(), expected_rows(mesh.sent)) == []
    assert rests >= (6 if range_hits == 1 else 2)
