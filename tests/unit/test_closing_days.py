"""Test that a day closes only when the stream has stored all partials of this day (decisions A6 and A8)."""

from __future__ import annotations

from pathlib import Path

import pytest

from hitmesh.model.positions import Topic
from hitmesh.model.sites import SiteDay
from processor.building import stream_stores
from processor.stream.pace import StreamPace
from processor.stream.runner import Runner
from tests.reference.hits import RefHit
from tests.support.live_mesh import CLOSES_AFTER_MS, LiveMesh, partition_of
from tests.support.small_mesh import expected_rows

SITE = "merchants/demo/sites/alpha"
DAY = 20_000
NOON = DAY * 86_400_000 + 12 * 3_600_000
NEVER = StreamPace(flush_ms=10**12, snapshot_ms=10**12)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("has_flushed_before", [False, True])
def test_day_is_closed_by_flushed_positions_not_by_committed_ones(tmp_path: Path, has_flushed_before: bool) -> None:
    with LiveMesh("memory:", tmp_path, NOON, [SITE]) as mesh:
        mesh.runner.close()
        mesh.runner = Runner(stream_stores(mesh.stores), mesh.clock, NEVER, home=tmp_path)
        hits = [RefHit(SITE, "v", "first", NOON, page_path="/"), RefHit(SITE, "v", "second", NOON, page_path="/2")]
        mesh.append(hits[:1], partition_of(hits[0]))
        assert mesh.runner.step(0.0) == 1
        if has_flushed_before:
            mesh.runner.flush()
        mesh.append(hits[1:], partition_of(hits[1]))
        mesh.clock.advance(CLOSES_AFTER_MS)
        mesh.beat()
        while mesh.runner.step(0.0) and not _is_all_committed(mesh):
            pass  # stop before a step without records, because an empty step flushes the partials
        assert _is_all_committed(mesh), "what is committed closes the day"
        mesh.clock.advance(1)
        assert mesh.settler.run_once() == 0
        assert mesh.published() == set()
        mesh.runner.flush()
        assert mesh.settler.run_once() == 1
        assert mesh.published() == {SiteDay(SITE, DAY)}
        assert mesh.stores.generations.drifts(SITE, DAY, DAY + 1)[SiteDay(SITE, DAY)].confirmed
        assert mesh.seen(SITE).differences_from(expected_rows(mesh.logged[SITE])) == []


def _is_all_committed(mesh: LiveMesh) -> bool:
    return all(progress.log_time == mesh.clock.now() for progress in mesh.stores.progress.progress(Topic.HITS).values())
