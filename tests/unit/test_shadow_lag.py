"""Test the lag of a shadow stream. Druid's ingested positions are known only some time after the first question."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from control.__main__ import bookkeeping_of
from control.backend import Bookkeeping
from control.rpc.shadow.requests import shadow_lag_ms
from hitmesh.adapters.factory import open_stores
from hitmesh.model.positions import PartitionId, PartitionProgress, Topic
from hitmesh.model.streams import Stream, StreamTable, reads_from
from hitmesh.ports import StreamStore
from tests.support.clock import ManualClock
from tests.support.opened import NOON

FIRST_DAY = NOON // 86_400_000
TABLE = StreamTable().started(Stream(-1, first_day=FIRST_DAY, logic="v1", replaces="v0"), NOON)
NOTHING = NOON - reads_from(FIRST_DAY)
Reached = Mapping[PartitionId, PartitionProgress]


def books_with(answers: list[int], shadow_at: int) -> Bookkeeping:
    """Return a store whose live stream is at offset 9, and whose shadow stream is at `shadow_at`.

    Each call for ingested positions returns the next of `answers`.
    """
    stores = open_stores("memory:", ManualClock(NOON))
    partitions = list(stores.progress.progress(Topic.HITS))
    stores.outbox.transaction(stores.outbox.take_over(), [], dict.fromkeys(partitions, PartitionProgress(9, NOON)))
    reached = dict.fromkeys(partitions, PartitionProgress(shadow_at, NOON))
    shadow = stores.stream(-1, is_shadow=True)
    if shadow_at:
        shadow.outbox.transaction(shadow.outbox.take_over(), [], reached)
        shadow.series.note_flushed(reached)

    def ingested() -> Reached:
        at = answers.pop(0) if len(answers) > 1 else answers[0]
        return dict.fromkeys(partitions, PartitionProgress(at, NOON if at else 0))

    def stream(generation: int, *, is_shadow: bool) -> StreamStore:
        return replace(stores.stream(generation, is_shadow=is_shadow), ingested_through=ingested)

    return replace(bookkeeping_of(stores), stream=stream)


@pytest.mark.parametrize(
    ("answers", "shadow_at", "expected"),
    [
        pytest.param([0, 0, 9], 9, 0, id="known after a while"),
        pytest.param([9], 9, 0, id="known at once"),
        pytest.param([0], 9, NOTHING, id="never known"),
        pytest.param([0, 9], 0, NOTHING, id="the shadow has not begun"),
    ],
)
def test_lag_waits_for_the_first_ingested_positions(answers: list[int], shadow_at: int, expected: int) -> None:
    assert shadow_lag_ms(books_with(answers, shadow_at), TABLE, wait_s=0.5) == expected
