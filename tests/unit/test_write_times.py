"""Test write timestamps (decision A6).

A write timestamp depends only on the records. With every further record, the timestamp increases. A store keeps the
value with the greatest write timestamp, without reading the previous value. If two values have equal timestamps, the
store may keep either of them. Counts are therefore lost if a timestamp decreases, or if it stays the same while records
arrive.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from random import Random

import polars as pl
import pytest

from hitmesh.model.positions import PartitionId
from processor.stream.live.refusals import RefusalsState, take_refusals
from tests.reference.hits import RefHit
from tests.support.live_mesh import SMALLEST, LiveMesh

SITE = "merchants/demo/sites/alpha"
NOON = 20_000 * 86_400_000 + 12 * 3_600_000
ROUNDS = 8
_REFUSED = {"site": pl.String, "collect_time": pl.Int64, "hits": pl.Int64, "hash": pl.UInt64, "log_time": pl.Int64}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("seed", range(3))
def test_write_timestamp_is_greater_with_every_record_however_the_stream_stops_and_begins(
    seed: int, tmp_path: Path
) -> None:
    dice, known = Random(seed), dict[int, int]()
    with LiveMesh("memory:", tmp_path, NOON, [SITE], partitions=1, limits=SMALLEST) as mesh:

        def note() -> None:
            (state,) = mesh.runner.states
            before = known.setdefault(state.next_offset, state.written)
            assert before == state.written, f"another time of what comes before offset {state.next_offset}"

        for number in range(ROUNDS):
            mesh.clock.advance(dice.choice((0, 1, 60_000)))
            mesh.append([RefHit(SITE, "v", f"hit-{number}", mesh.clock.now(), page_path="/")], 0)
            for _ in range(dice.randint(1, 2)):
                mesh.beat()  # the heartbeats have the same log time as the hit
                if dice.random() < 0.7:
                    mesh.step()
                    note()
            if dice.random() < 0.4:
                mesh.runner.snapshot()
            if dice.random() < 0.5:
                mesh.crash()
                note()
        mesh.step()
        note()
        assert mesh.runner.recoveries >= 1
    times = [written for _, written in sorted(known.items())]
    assert len(times) > 3
    assert all(earlier < other for earlier, other in pairwise(times)), times


@pytest.mark.parametrize("steps", [((0, 0, 0), (0, 0)), ((0,), (1, 0), (0, 0, 1))])
def test_write_timestamp_of_refusals_is_greater_with_every_record(steps: Sequence[Sequence[int]]) -> None:
    state, log_time, offset = RefusalsState(PartitionId("rejected", 0)), 1_000_000, 0
    for waits_ms in steps:
        before, ends = state.written, []
        for wait_ms in waits_ms:
            log_time += wait_ms
            ends.append((offset, log_time))
            offset += 1
        take_refusals(state, ends, pl.DataFrame(schema=_REFUSED), [])
        assert state.written >= before + len(ends)
        assert state.written >= log_time * 1_000
