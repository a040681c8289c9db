"""Test publications and rollbacks that must recompute a site-day whose raw hits are missing. Published numbers stay."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from hitmesh.model.positions import PartitionId
from hitmesh.model.records import RawRecord
from hitmesh.model.reprocessings import State, Work
from hitmesh.model.sites import SiteDay
from hitmesh.model.zones import DAY_MS
from tests.reference.visits import V0 as V0_RULES
from tests.reference.visits import V1 as V1_RULES
from tests.support.reprocessing import done, imbalance, plan
from tests.support.small_mesh import SmallMesh, differences, expected_rows
from tests.unit.reprocessed import a_settled_mesh, arrive, entries, logics
from tests.unit.settling import DAY, SITE, TOMORROW, a_hit


def lose_raw_hits(mesh: SmallMesh, site_day: SiteDay) -> Any:
    """Hide every raw record with hits of a site-day from scans. Return the original scan function."""
    scan = mesh.stores.raw.scan

    def with_losses(
        site: str, first_day: int, end_day: int, before: Mapping[PartitionId, int] | None = None
    ) -> Iterator[RawRecord]:
        return (record for record in scan(site, first_day, end_day, before) if site_day not in record.site_days)

    mesh.stores.raw.scan = with_losses  # type: ignore[method-assign]  # records that the store lost
    return scan


@pytest.mark.parametrize("work", [Work.PUBLISH, Work.ROLL_BACK])
def test_day_settled_since_keeps_its_numbers_if_raw_hits_are_missing(work: Work) -> None:
    mesh = a_settled_mesh()
    plan(mesh, [SITE])
    done(mesh, Work.RECOMPUTE)
    if work is Work.ROLL_BACK:
        done(mesh, Work.PUBLISH)
    arrive(mesh, a_hit(1_505))
    mesh.settle()
    before = entries(mesh)
    scan = lose_raw_hits(mesh, TOMORROW)
    failed = done(mesh, work)
    assert (failed.state, failed.work) == (State.FAILED, work)
    assert failed.error.startswith(f"{SITE}, UTC day 2024-10-05: raw hits are missing")
    assert "found 0 accepted hits and the published generation has 3; the published numbers stay" in failed.error
    assert entries(mesh)[DAY + 1] == before[DAY + 1]
    assert imbalance(mesh) == 0
    mesh.stores.raw.scan = scan  # type: ignore[method-assign]  # the records are restored
    done(mesh, work)
    mesh.settle()
    policy = V0_RULES if work is Work.PUBLISH else V1_RULES
    assert differences(mesh.rows(), expected_rows(mesh.sent, policy)) == []


def test_rollback_after_the_kept_rows_are_gone_keeps_the_numbers_if_raw_hits_are_missing() -> None:
    mesh = a_settled_mesh()
    plan(mesh, [SITE])
    done(mesh, Work.RECOMPUTE)
    done(mesh, Work.PUBLISH)
    mesh.clock.advance(31 * DAY_MS)
    mesh.settler.run_once()
    before, versions = entries(mesh), logics(mesh)
    lose_raw_hits(mesh, SiteDay(SITE, DAY))
    assert done(mesh, Work.ROLL_BACK).state is State.FAILED
    assert (entries(mesh), logics(mesh)) == (before, versions)
