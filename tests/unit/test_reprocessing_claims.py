"""The control service takes a request back, or cancels a recomputation, while the reprocessor works."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from hitmesh.model.logic import V0
from hitmesh.model.reprocessings import Reprocessing, State, Work
from tests.support.reprocessing import done, plan, reprocessor_of, request, stored
from tests.support.small_mesh import SmallMesh
from tests.unit.reprocessed import a_settled_mesh, entries, logics
from tests.unit.settling import SITE


def a_requested_publication() -> SmallMesh:
    mesh = a_settled_mesh()
    plan(mesh, [SITE])
    done(mesh, Work.RECOMPUTE)
    request(mesh, Work.PUBLISH)
    return mesh


def taken_back(mesh: SmallMesh) -> Reprocessing:
    """Return the value with which the control service takes the request back."""
    running = stored(mesh)
    return replace(running, state=State.DIFF_READY, work=None, version=running.version + 1)


def test_request_that_is_taken_back_before_the_claim_moves_no_site_day() -> None:
    mesh = a_requested_publication()
    before, read_all = entries(mesh), mesh.stores.reprocessings.all

    def then_taken_back() -> Sequence[Reprocessing]:
        found = read_all()
        if stored(mesh).state is State.RUNNING:
            assert mesh.stores.reprocessings.replace(taken_back(mesh))
        return found

    mesh.stores.reprocessings.all = then_taken_back  # type: ignore[method-assign]  # control acts after the reading
    reprocessor = reprocessor_of(mesh)
    assert [reprocessor.run_once() for _ in range(2)] == [0, 0]
    assert (entries(mesh), stored(mesh).state) == (before, State.DIFF_READY)


def test_request_cannot_be_taken_back_after_the_claim() -> None:
    mesh = a_requested_publication()
    late, publish, attempts = taken_back(mesh), mesh.stores.generations.publish, list[bool]()

    def after_attempt(*arguments: Any, **named: Any) -> Any:
        attempts.append(mesh.stores.reprocessings.replace(late))
        return publish(*arguments, **named)

    mesh.stores.generations.publish = after_attempt  # type: ignore[method-assign]  # control acts during the portion
    assert reprocessor_of(mesh).run_once() == 3
    assert attempts == [False] * 3
    assert (stored(mesh).state, logics(mesh)) == (State.PUBLISHED, [V0.number] * 3)
