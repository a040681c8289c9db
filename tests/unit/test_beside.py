"""The thread that runs shadow streams continues, whatever error a shadow stream raises."""

from __future__ import annotations

import threading
from typing import Any

import polars as pl
import pytest

from hitmesh.adapters.factory import open_stores
from hitmesh.model.errors import FatalError, Unavailable
from hitmesh.model.streams import Stream, StreamTable
from processor.shadow.beside import Beside, BesidePace
from tests.support.clock import ManualClock
from tests.support.opened import NOON

STREAM = Stream(-1, first_day=NOON // 86_400_000, starts={}, logic="v1", replaces="v0")
PACE = BesidePace(keep_gone_ms=0, keep_shadow_ms=10**9, retry_after_s=0.0, look_every_s=0.0)


@pytest.mark.parametrize(
    "error",
    [pl.exceptions.PanicException("index out of bounds"), FatalError("?"), Unavailable("?"), OSError(28, "no space")],
)
def test_a_shadow_that_fails_begins_again(error: BaseException) -> None:
    clock, stop, begun = ManualClock(NOON), threading.Event(), []
    stores = open_stores("memory:", clock)
    assert stores.streams.replace(StreamTable().started(STREAM, NOON))

    def fails(stream: Stream) -> Any:
        begun.append(stream.generation)
        if len(begun) == 3:
            stop.set()
        raise error

    Beside(stores, fails, "v0", clock, PACE).run(stop)
    assert begun == [-1, -1, -1]
