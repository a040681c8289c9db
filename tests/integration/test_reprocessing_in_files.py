"""Test a reprocessing on the embedded stores, with a restart of all stores between its steps."""

from __future__ import annotations

from pathlib import Path

import pytest

from hitmesh.model.logic import V0
from hitmesh.model.reprocessings import State, Work
from hitmesh.model.zones import DAY_MS
from tests.reference.hits import RefHit
from tests.reference.visits import V0 as V0_RULES
from tests.support.reprocessing import done, imbalance, plan, rebuilt
from tests.support.small_mesh import SmallMesh, differences, expected_rows

SITE = "merchants/demo/sites/shop"
DAY = 20_000
MINUTE = 60_000
LATER = (DAY + 5) * DAY_MS


def a_hit(minute: int, visitor: str = "v") -> RefHit:
    return RefHit(SITE, visitor, f"{visitor}-{minute}", DAY * DAY_MS + minute * MINUTE, page_path=f"/{minute}")


def reopened(mesh: SmallMesh, url: str) -> SmallMesh:
    """Close all stores, and return a new mesh on the same files."""
    mesh.runner.close()
    mesh.stores.close()
    again = SmallMesh(mesh.clock.now(), logic=V0, url=url)
    again.sent = mesh.sent
    return again


@pytest.mark.timeout(60)
def test_corrected_days_are_published_rolled_back_and_published_again(tmp_path: Path) -> None:
    url = f"embedded:{tmp_path}"
    mesh = SmallMesh(LATER, sites=[SITE], logic=V0, url=url)
    mesh.send([a_hit(minute) for minute in (0, 10, 1_430, 1_445, 1_460, 2_885)])
    mesh.settle()
    assert differences(mesh.rows(), expected_rows(mesh.sent, V0_RULES)) == []
    plan(mesh, [SITE], logic="v1")
    done(mesh, Work.RECOMPUTE)
    assert [each.changes["visits"].new for each in rebuilt(mesh)] == [2, 0, 1]
    for late, (work, policy) in enumerate(
        ((Work.PUBLISH, None), (Work.ROLL_BACK, V0_RULES), (Work.PUBLISH, None)), start=1
    ):
        mesh = reopened(mesh, url)
        assert done(mesh, work).state in (State.PUBLISHED, State.ROLLED_BACK)
        expected = expected_rows(mesh.sent) if policy is None else expected_rows(mesh.sent, policy)
        assert differences(mesh.rows(), expected) == []
        mesh.send([a_hit(1_432 + late)])
        mesh.heartbeat()
        mesh.stream()
        assert imbalance(mesh) == 0
        mesh.settle()
        assert imbalance(mesh) == 0
    assert differences(mesh.rows(), expected_rows(mesh.sent)) == []
    mesh.runner.close()
    mesh.stores.close()


@pytest.mark.timeout(60)
def test_a_replaced_generation_is_listed_with_its_rows_and_their_size_on_disk(tmp_path: Path) -> None:
    mesh = SmallMesh(LATER, sites=[SITE], logic=V0, url=f"embedded:{tmp_path}")
    mesh.send([a_hit(minute) for minute in (0, 10, 700)])
    mesh.settle()
    plan(mesh, [SITE], logic="v1")
    done(mesh, Work.RECOMPUTE)
    done(mesh, Work.PUBLISH)
    (found,) = mesh.stores.generations.retired(SITE, None, 10)
    of_files = sum(file.stat().st_size for file in (tmp_path / "segments").iterdir())
    assert found.rows is not None
    assert found.rows >= 3
    assert found.size is not None
    assert 100 < found.size < of_files
    mesh.runner.close()
    mesh.stores.close()
