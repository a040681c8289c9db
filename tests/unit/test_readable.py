"""Test that a wait for readable rows shows that its thread works."""

from __future__ import annotations

import threading

from hitmesh.adapters.factory import open_stores
from processor.settle.readable import ReadableRows
from tests.support.clock import ManualClock


def test_a_wait_rests_at_each_look() -> None:
    clock = ManualClock(0)
    rests: list[int] = []
    rows = ReadableRows(
        open_stores("memory:", clock).sink, clock, threading.Event(), 60.0, rest=lambda: rests.append(0)
    )
    looks = iter([False, False, True])
    rows.wait(lambda: next(looks), "the rows")
    assert len(rests) == 2
