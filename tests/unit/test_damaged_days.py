"""If a stored carry or series is damaged, a settlement or a repair can still replace the damaged value."""

from __future__ import annotations

import polars as pl
import pytest

from hitmesh.model.errors import StoreCorrupt
from hitmesh.model.plan import Kind
from hitmesh.model.reprocessings import Change, Work
from hitmesh.model.sites import SiteDay
from processor.rules.carry import Carry
from tests.support.reprocessing import done, imbalance, plan, rebuilt
from tests.support.small_mesh import SmallMesh, differences, expected_rows
from tests.unit.reprocessed import arrive
from tests.unit.settling import DAY, SITE, TODAY, TOMORROW, a_hit, a_mesh, dirty, entry


def a_mesh_with_a_visit_at_midnight() -> SmallMesh:
    mesh = a_mesh(a_hit(1_430), a_hit(1_439), a_hit(1_441), a_hit(1_450), a_hit(2_000))
    mesh.settle()
    return mesh


def damage_carry(mesh: SmallMesh) -> None:
    """Damage the carry (the open visits) of the current generation of TODAY. Later generations are intact."""
    damaged, carry = entry(mesh), mesh.stores.generations.carry

    def rotten(site_day: SiteDay) -> bytes | None:
        return b"rot" if site_day == TODAY and entry(mesh) == damaged else carry(site_day)

    mesh.stores.generations.carry = rotten  # type: ignore[method-assign]  # a damaged value in the store


def damage_series(mesh: SmallMesh) -> None:
    """Damage the series that the current generation of TODAY stores."""
    damaged, read = entry(mesh), mesh.stores.series.read
    assert damaged is not None

    def rotten(site: str, first_day: int, end_day: int, generation: int) -> pl.DataFrame:
        if first_day <= DAY < end_day and generation == damaged.generation:
            raise StoreCorrupt("a series is damaged")
        return read(site, first_day, end_day, generation)

    mesh.stores.series.read = rotten  # type: ignore[method-assign]  # a damaged value in the store


def open_visits(mesh: SmallMesh) -> int:
    """Return the number of open visits that the carry of TODAY contains. The carry must be intact."""
    carry = mesh.stores.generations.carry(TODAY)
    assert carry is not None
    return Carry.from_bytes(carry).open_visits.height


@pytest.mark.parametrize("days", [(DAY, DAY + 2), (DAY, DAY + 1), (DAY + 1, DAY + 2)])
def test_repair_replaces_a_damaged_carry_and_a_damaged_series(days: tuple[int, int]) -> None:
    mesh = a_mesh_with_a_visit_at_midnight()
    damage_carry(mesh)
    damage_series(mesh)
    plan(mesh, [SITE], days, kind=Kind.REPAIR, logic="")
    done(mesh, Work.RECOMPUTE)
    changes = {each.site_day: each.changes["hits"] for each in rebuilt(mesh)}
    assert changes.get(TODAY) == (Change(0, 2) if days[0] == DAY else None)
    # The carry, which is the visits that are open at the end of the first day, is damaged. Therefore the second day is
    # recomputed too.
    assert changes[TOMORROW] == Change(3, 3)
    done(mesh, Work.PUBLISH)
    mesh.settle()
    assert differences(mesh.rows(), expected_rows(mesh.sent)) == []
    assert open_visits(mesh) == 1


@pytest.mark.parametrize("minute", [1_435, 1_445])
def test_settler_settles_a_day_although_its_carry_or_the_carry_from_the_day_before_is_damaged(minute: int) -> None:
    mesh = a_mesh_with_a_visit_at_midnight()
    damage_carry(mesh)
    arrive(mesh, a_hit(minute))
    mesh.settle()
    assert (imbalance(mesh), dirty(mesh), open_visits(mesh)) == (0, [], 1)
    assert differences(mesh.rows(), expected_rows(mesh.sent)) == []
