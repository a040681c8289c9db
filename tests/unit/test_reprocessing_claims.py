"""Tests in which the control service withdraws a request or cancels a recomputation while the reprocessor works."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import polars as pl
import pytest

from hitmesh.model.logic import V0
from hitmesh.model.reprocessings import OnDamage, Reprocessing, State, Work
from processor.reprocess.pace import ReprocessPace
from tests.support.reprocessing import SMALL_PORTIONS, done, plan, rebuilt, reprocessor_of, request, stored, work_off
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
    """Return the reprocessing as the control service stores it when a caller withdraws the request for work."""
    running = stored(mesh)
    return replace(running, state=State.DIFF_READY, work=None, version=running.version + 1)


def test_request_that_is_taken_back_before_the_claim_moves_no_site_day() -> None:
    mesh = a_requested_publication()
    before, read_all = entries(mesh), mesh.stores.reprocessings.all

    def then_taken_back(on_damage: OnDamage | None = None) -> Sequence[Reprocessing]:
        found = read_all(on_damage)
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


def cancel(mesh: SmallMesh) -> None:
    """Cancel a running recomputation, as the control service does."""
    running = stored(mesh)
    assert (running.state, running.work) == (State.RUNNING, Work.RECOMPUTE)
    assert mesh.stores.reprocessings.replace(replace(running, work=Work.CANCEL, done=0, version=running.version + 1))


def is_cancelled(mesh: SmallMesh) -> bool:
    """Return whether the reprocessing is cancelled and the recomputed series are dropped."""
    generations = {each.site_day: each.after.generation for each in rebuilt(mesh)}
    series = [mesh.stores.series.read(SITE, day.day, day.day + 1, number) for day, number in generations.items()]
    return stored(mesh).state is State.CANCELLED and all(each.is_empty() for each in series)


@pytest.mark.parametrize("portions", [1, 2])
@pytest.mark.parametrize("restarts", [False, True])
def test_recomputation_that_is_cancelled_between_portions_leaves_no_rows(portions: int, *, restarts: bool) -> None:
    mesh = a_settled_mesh()
    rows, before = mesh.rows(), entries(mesh)
    plan(mesh, [SITE])
    request(mesh, Work.RECOMPUTE)
    reprocessor = reprocessor_of(mesh, SMALL_PORTIONS)
    for _ in range(portions):
        assert reprocessor.run_once() == 1
    cancel(mesh)
    cancelled = work_off(mesh, reprocessor_of(mesh, SMALL_PORTIONS) if restarts else reprocessor)
    assert (cancelled.work, cancelled.done, len(rebuilt(mesh))) == (None, portions, portions)
    assert is_cancelled(mesh)
    assert (mesh.rows(), entries(mesh)) == (rows, before)


@pytest.mark.parametrize("pace", [SMALL_PORTIONS, ReprocessPace()])
def test_recomputation_that_is_cancelled_during_a_portion_is_cancelled_at_the_next_turn(pace: ReprocessPace) -> None:
    mesh = a_settled_mesh()
    rows, before, write = mesh.rows(), entries(mesh), mesh.stores.sink.write
    plan(mesh, [SITE])
    request(mesh, Work.RECOMPUTE)

    def then_cancelled(traffic: pl.DataFrame, visits: pl.DataFrame) -> None:
        write(traffic, visits)
        cancel(mesh)

    mesh.stores.sink.write = then_cancelled  # type: ignore[method-assign]  # control acts during the portion
    reprocessor = reprocessor_of(mesh, pace)
    recomputed = reprocessor.run_once()
    assert (stored(mesh).state, stored(mesh).work) == (State.RUNNING, Work.CANCEL)
    assert work_off(mesh, reprocessor).done == recomputed == len(rebuilt(mesh))
    assert is_cancelled(mesh)
    assert (mesh.rows(), entries(mesh)) == (rows, before)
