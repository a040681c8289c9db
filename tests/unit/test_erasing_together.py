"""Test erasures of several sites that are published together. Each erasure ends, and other work continues."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from structlog.testing import capture_logs

from hitmesh.model.plan import Kind
from hitmesh.model.reprocessings import State, Work
from processor.reprocess.reprocessor import Reprocessor
from processor.settle.lease_keeper import LeaseKeeper, LeasePace
from tests.reference.hits import RefHit
from tests.support.erasing import MAX_TURNS, PACE, a_settler, erasing_reprocessor, plan_erasure, small_portions
from tests.support.reprocessing import done, imbalance, plan, request, stored
from tests.support.small_mesh import SmallMesh, differences, expected_rows, settler_stores
from tests.unit.settling import NOON, a_hit

ERASED_SITES = tuple(f"merchants/m/sites/s{number}" for number in range(3))
OTHER = "merchants/m/sites/other"
WAITING = replace(PACE, marks_known_ms=60_000, proof_wait_ms=5_000)
"""A pace at which an erasure waits longer for its marks than all other stages of all erasures take together."""


def a_mesh(sites: Sequence[str], days: int = 1) -> SmallMesh:
    """Return a mesh in which erasures and a recomputation are requested.

    For each site in `sites`, the publication of an erasure is requested. For the site OTHER, the recomputation of
    `days` days is requested.
    """
    mesh = SmallMesh(NOON, sites=[*sites, OTHER])
    mesh.send([replace(hit, site=site, hit_id=f"{site}-{hit.hit_id}") for site in (*sites, OTHER) for hit in hits()])
    mesh.send([replace(a_hit(1_440 * day, hit_id=f"later-{day}"), site=OTHER) for day in range(1, days)])
    mesh.settle()
    for site in sites:
        plan_erasure(mesh, site, "v", site[-2:])
        done(mesh, Work.RECOMPUTE, site[-2:])
        mesh.clock.advance(1)
    for site in sites:
        request(mesh, Work.PUBLISH, site[-2:])
    plan(mesh, [OTHER], kind=Kind.LOGIC)
    request(mesh, Work.RECOMPUTE)
    return mesh


class SlowEraser:
    """A log eraser with which every search takes longer than the pause between two searches."""

    def __init__(self, mesh: SmallMesh) -> None:
        self._port, self._clock = mesh.stores.log_eraser, mesh.clock

    def overwrite(self) -> None:
        self._clock.advance(2 * WAITING.proof_wait_ms)
        self._port.overwrite()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._port, name)


def hits() -> list[RefHit]:
    return [a_hit(4), a_hit(5, "w"), a_hit(1_436)]


def ends(mesh: SmallMesh, reprocessors: Sequence[Reprocessor], ids: Sequence[str]) -> list[str]:
    """Let stream, settler and reprocessors work in turns until the erasures end.

    Return the ids of the reprocessings in the order in which they end.

    The reprocessing `r` recomputes the site OTHER.
    """
    settler = a_settler(mesh)
    ended: list[str] = []
    for _ in range(MAX_TURNS):
        mesh.clock.advance(1_000)
        mesh.runner.step(0.0)
        settler.run_once()
        for reprocessor in reprocessors:
            reprocessor.run_once()
        ended += [id_ for id_ in (*ids, "r") if id_ not in ended and stored(mesh, id_).state is not State.RUNNING]
        if len(ended) > len(ids):
            break
    assert {stored(mesh, id_).state for id_ in ids} == {State.ERASED}
    return ended


def is_erased(mesh: SmallMesh) -> bool:
    """Return whether reports contain all hits except those of visitor v on the erased sites."""
    mesh.settle()
    kept = [hit for hit in mesh.sent if hit.visitor != "v" or hit.site == OTHER]
    return differences(mesh.rows(), expected_rows(kept)) == [] and imbalance(mesh) == 0


@pytest.mark.parametrize("count", [2, 3])
def test_erasures_that_are_published_together_all_end_and_other_work_goes_on(count: int) -> None:
    mesh = a_mesh(ERASED_SITES[:count])
    ids = [site[-2:] for site in ERASED_SITES[:count]]
    with capture_logs() as logs:
        ended = ends(mesh, [erasing_reprocessor(mesh, WAITING)], ids)
    assert ended == ["r", *ids]
    stages = [(line["id"], line["stage"]) for line in logs if line["event"] == "erased"]
    assert len(stages) == len(set(stages)) == 8 * count
    assert is_erased(mesh)


def test_erasure_beyond_the_limit_waits_until_an_erasure_in_progress_has_ended() -> None:
    mesh = a_mesh(ERASED_SITES)
    ids = [site[-2:] for site in ERASED_SITES]
    with capture_logs() as logs:
        ended = ends(mesh, [erasing_reprocessor(mesh, replace(WAITING, erasures=1))], ids)
    assert ended == ["r", *ids]
    assert [line["id"] for line in logs if line["event"] == "erased"] == [id_ for id_ in ids for _ in range(8)]
    assert is_erased(mesh)


def test_erasures_that_are_published_together_all_end_beside_a_second_settler() -> None:
    mesh = a_mesh(ERASED_SITES)
    both = [LeaseKeeper(mesh.stores.leases, name, LeasePace(10**6), mesh.clock.now) for name in ("a", "b")]
    for keeper in both * 4:
        keeper.turn()
        keeper.begin()
    assert all(map(LeaseKeeper.buckets, both))
    stores = settler_stores(mesh.stores)
    reprocessors = [
        Reprocessor(stores, mesh.stores.reprocessings, mesh.clock, WAITING, marks=marks, share=keeper)
        for marks, keeper in enumerate(both, 8)
    ]
    assert set(ends(mesh, reprocessors, [site[-2:] for site in ERASED_SITES])) == {"r", "s0", "s1", "s2"}
    assert is_erased(mesh)


def test_work_that_a_waiting_erasure_interrupts_is_not_claimed_again() -> None:
    mesh = a_mesh(ERASED_SITES[:1], days=6)
    reprocessor = erasing_reprocessor(mesh, small_portions(replace(PACE, proof_wait_ms=30_000)))
    claims, looks = list[int](), list[int]()
    with capture_logs() as logs:
        while stored(mesh).state is State.RUNNING and len(claims) < MAX_TURNS:
            mesh.clock.advance(20_000)
            reprocessor.run_once()
            claims += [part.began_at for part in stored(mesh).parts]
            looks.append(sum(line["event"] == "erasure_waits" for line in logs))
    assert stored(mesh).state is State.DIFF_READY
    assert (len(set(claims)), stored(mesh, "s0").state) == (1, State.RUNNING)
    assert looks[-1] > 2


def test_long_looks_of_waiting_erasures_leave_time_for_other_work() -> None:
    mesh = a_mesh(ERASED_SITES, days=3)
    eraser: Any = SlowEraser(mesh)
    stores = replace(settler_stores(mesh.stores), log_eraser=eraser)
    pace = small_portions(replace(WAITING, marks_known_ms=0))
    reprocessor = Reprocessor(stores, mesh.stores.reprocessings, mesh.clock, pace, marks=8)
    for _ in range(MAX_TURNS):
        mesh.clock.advance(100)
        mesh.runner.step(0.0)
        reprocessor.run_once()
        if stored(mesh).state is not State.RUNNING:
            break
    assert stored(mesh).state is State.DIFF_READY
    # The erasures wait, because no settler runs.
    assert {stored(mesh, site[-2:]).state for site in ERASED_SITES} == {State.RUNNING}
