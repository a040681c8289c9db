"""Reprocessings on a small mesh.

Tests store and request a reprocessing as the control service does. The reprocessing runs in portions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from control.ledger import site_ledger
from hitmesh.model.plan import Kind
from hitmesh.model.reprocessings import REQUESTABLE, Rebuilt, Reprocessing, State, Work
from processor.reprocess.pace import ReprocessPace
from processor.reprocess.reprocessor import Reprocessor
from tests.support.small_mesh import SmallMesh, settler_stores

MAX_PORTIONS = 200
SMALL_PORTIONS = ReprocessPace(portion_ms=-1, page_site_days=1, wave_site_days=1, unavailable_ms=0)
"""A pace at which each portion of work, each page and each wave of publications has one site-day.

If a store is unavailable, the reprocessor tries again without a delay.
"""


def plan(
    mesh: SmallMesh,
    sites: Sequence[str],
    days: tuple[int, int] = (0, 10**6),
    *,
    logic: str = "v0",
    kind: Kind = Kind.LOGIC,
    id_: str = "r",
) -> Reprocessing:
    """Store a planned reprocessing of the days [first, end) of the given sites."""
    now = mesh.clock.now()
    planned = Reprocessing(id_, kind, logic, tuple(sites), *days, created_at=now, updated_at=now)
    mesh.stores.reprocessings.create(planned)
    return planned


def request(mesh: SmallMesh, work: Work, id_: str = "r") -> None:
    """Request work on a reprocessing, as an operator does."""
    there = stored(mesh, id_)
    assert there.state in REQUESTABLE[work], there
    begun_at = there.begun_at if there.state is State.FAILED else 0
    running = replace(there, state=State.RUNNING, work=work, error="", begun_at=begun_at, version=there.version + 1)
    assert mesh.stores.reprocessings.replace(running)


def stored(mesh: SmallMesh, id_: str = "r") -> Reprocessing:
    """Return the reprocessing as it is stored now."""
    found = mesh.stores.reprocessings.get(id_)
    assert found is not None
    return found


def rebuilt(mesh: SmallMesh, id_: str = "r") -> list[Rebuilt]:
    """Return the site-days that the reprocessing has recomputed."""
    return list(mesh.stores.reprocessings.rebuilt(id_))


def reprocessor_of(mesh: SmallMesh, pace: ReprocessPace | None = None) -> Reprocessor:
    """Return a new reprocessor, as after a restart of the process."""
    return Reprocessor(settler_stores(mesh.stores), mesh.stores.reprocessings, mesh.clock, pace, marks=7)


def work_off(mesh: SmallMesh, reprocessor: Reprocessor, id_: str = "r") -> Reprocessing:
    """Run portions until the requested work has ended, and return the reprocessing."""
    for _ in range(MAX_PORTIONS):
        mesh.clock.advance(1)
        if stored(mesh, id_).state is not State.RUNNING:
            return stored(mesh, id_)
        reprocessor.run_once()
    raise AssertionError(f"still running after {MAX_PORTIONS} portions: {stored(mesh, id_)}")


def done(mesh: SmallMesh, work: Work, id_: str = "r", pace: ReprocessPace | None = None) -> Reprocessing:
    """Request work on a reprocessing, finish the work, and return the stored reprocessing."""
    request(mesh, work, id_)
    return work_off(mesh, reprocessor_of(mesh, pace), id_)


def imbalance(mesh: SmallMesh) -> int:
    """Return the imbalance of the ledger, added up over all sites."""
    mesh.runner.flush()
    stores = mesh.stores
    return sum(
        site_ledger(
            stores.ledger.read(site),
            stores.generations.current(site, 0, 10**6),
            stores.generations.ledger(site, 0, 10**6),
            stores.dirty.marks(site),
        ).imbalance
        for site in sorted({hit.site for hit in mesh.sent})
    )
