"""Test which stream and which version of the logic the stream table names, when streams follow one another."""

from __future__ import annotations

import pytest

from hitmesh.model.streams import Shadow, ShadowState, Stream, StreamTable

FIRST = Stream(-1, first_day=20, logic="v1", replaces="v0")
SECOND = Stream(-2, first_day=30, logic="v2", replaces="v1")
BESIDE = StreamTable(adopted=(FIRST,), shadow=Shadow(SECOND, ShadowState.PUBLISHED, 0, 0), newest=-2)
BOTH = StreamTable(adopted=(FIRST, SECOND), newest=-2)


@pytest.mark.parametrize("table", [BESIDE, BOTH])
def test_each_day_has_the_latest_stream_that_writes_it(table: StreamTable) -> None:
    assert [table.generation(day) for day in (19, 20, 29, 30)] == [0, -1, -1, -2]
    assert table.generations() == (-2, -1, 0)


def test_a_shadow_that_no_report_reads_has_no_day() -> None:
    beside = BESIDE.moved(ShadowState.RUNNING, 0)
    assert [beside.generation(day) for day in (19, 20, 30)] == [0, -1, -1]
    assert beside.generations() == (-1, -2, 0)


def test_streams_that_were_adopted_one_after_the_other_stay_in_force() -> None:
    assert [BOTH.live_logic(setting) for setting in ("v0", "v1", "v2", "v3")] == ["v2", "v2", "v2", "v3"]


def test_a_change_of_state_has_its_own_time() -> None:
    shadow = StreamTable().started(FIRST, 5).moved(ShadowState.PUBLISHED, 6).shadow
    assert shadow is not None
    assert (shadow.started_at, shadow.changed_at) == (5, 6)
