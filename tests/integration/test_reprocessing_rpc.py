"""Test reprocessings over gRPC, on in-memory stores: requests for work, states and lists."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import grpc
import pytest

from hitmesh.api.control.v1 import reprocessing_pb2 as pb
from hitmesh.model.reprocessings import State, Work
from tests.support.rebuilt_days import UTC_DAY, a_reprocessing
from tests.support.reporters import NOW, OPERATOR, Mesh, bearer, refusal, start
from tests.support.reprocessing_calls import RIVAL_SITE, create, get, run, settle, variables
from tests.support.settled_rows import DAY, SITE


@pytest.fixture
def mesh() -> Iterator[Mesh]:
    yield from start(open_reads=False)


@pytest.fixture
def settled(mesh: Mesh) -> Mesh:
    """Return a mesh in which one day is settled."""
    settle(mesh, SITE, UTC_DAY - 1, 1)
    return mesh


def test_a_reprocessing_goes_through_its_states(settled: Mesh) -> None:
    stub, stored = settled.reprocessings, settled.stores.reprocessings
    name = create(settled).name
    running = run(settled, name)
    assert (running.state, running.work) == (pb.REPROCESSING_STATE_RUNNING, pb.REPROCESSING_WORK_RECOMPUTE)
    assert not running.HasField("expire_time")
    assert run(settled, name) == running
    finish(settled, name, State.DIFF_READY)
    published = stub.PublishReprocessing(pb.PublishReprocessingRequest(name=name), metadata=bearer(OPERATOR))
    assert published.reprocessing.work == pb.REPROCESSING_WORK_PUBLISH
    finish(settled, name, State.PUBLISHED)
    rolled = stub.RollbackReprocessing(pb.RollbackReprocessingRequest(name=name), metadata=bearer(OPERATOR))
    assert rolled.reprocessing.work == pb.REPROCESSING_WORK_ROLL_BACK
    finish(settled, name, State.ROLLED_BACK)
    refused = lambda: stub.CancelReprocessing(  # noqa: E731 asked twice
        pb.CancelReprocessingRequest(name=name), metadata=bearer(OPERATOR)
    )
    found = refusal(refused)
    assert (found.code, found.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "WRONG_STATE")
    assert found.message == (
        f"{name} is ROLLED_BACK: cancel is possible in PLANNED, RUNNING, DIFF_READY, FAILED; possible now: "
        f"`hitmesh reprocess publish {name.removeprefix('reprocessings/')}`"
    )
    assert variables(refused) == {
        "field": "name",
        "value": name,
        "state": "ROLLED_BACK",
        "states": "PLANNED, RUNNING, DIFF_READY, FAILED",
        "work": "CANCEL",
    }
    assert len(stored.all()) == 1


def finish(mesh: Mesh, name: str, state: State) -> None:
    """Store the state that the reprocessing has when the settler has finished its work."""
    stored = mesh.stores.reprocessings.get(name.partition("/")[2])
    assert stored is not None
    assert mesh.stores.reprocessings.replace(replace(stored, state=state, work=None, version=stored.version + 1))


def test_a_plan_is_cancelled_at_once(settled: Mesh) -> None:
    name = create(settled).name
    request = pb.CancelReprocessingRequest(name=name)
    found = settled.reprocessings.CancelReprocessing(request, metadata=bearer(OPERATOR)).reprocessing
    assert (found.state, found.work) == (pb.REPROCESSING_STATE_CANCELLED, pb.REPROCESSING_WORK_UNSPECIFIED)
    assert settled.reprocessings.CancelReprocessing(request, metadata=bearer(OPERATOR)).reprocessing == found


def test_a_recomputation_that_runs_is_cancelled(settled: Mesh) -> None:
    name = create(settled).name
    run(settled, name)
    request = pb.CancelReprocessingRequest(name=name)
    found = settled.reprocessings.CancelReprocessing(request, metadata=bearer(OPERATOR)).reprocessing
    assert (found.state, found.work) == (pb.REPROCESSING_STATE_RUNNING, pb.REPROCESSING_WORK_CANCEL)
    assert settled.reprocessings.CancelReprocessing(request, metadata=bearer(OPERATOR)).reprocessing == found
    assert refusal(lambda: run(settled, name)).message == (
        f"{name} is RUNNING: the command cancel is still at work, and only a recomputation can be cancelled: "
        "wait for the end (`hitmesh reprocess status`)"
    )


def test_an_overlapping_reprocessing_is_refused_with_the_name_of_the_first(settled: Mesh) -> None:
    first, second = create(settled).name, create(settled, SITE, RIVAL_SITE).name
    run(settled, first)
    found = refusal(lambda: run(settled, second))
    assert (found.code, found.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "REPROCESSING_CONFLICT")
    assert variables(lambda: run(settled, second)) == {
        "field": "name",
        "value": second,
        "reprocessing": first,
        "state": "RUNNING",
    }
    assert get(settled, second).state == pb.REPROCESSING_STATE_PLANNED


def test_a_failure_is_shown_with_its_error_and_progress(mesh: Mesh) -> None:
    failed = a_reprocessing(state=State.FAILED, work=Work.PUBLISH, error="the disk is full", done=3, site_days=9)
    mesh.stores.reprocessings.create(failed)
    found = get(mesh, "reprocessings/r1")
    assert (found.state, found.work) == (pb.REPROCESSING_STATE_FAILED, pb.REPROCESSING_WORK_PUBLISH)
    assert (found.error, found.done_site_days, found.site_days) == ("the disk is full", 3, 9)


def test_an_old_plan_is_shown_as_expired(mesh: Mesh) -> None:
    mesh.stores.reprocessings.create(a_reprocessing(created_at=NOW - 7 * DAY))
    assert get(mesh, "reprocessings/r1").state == pb.REPROCESSING_STATE_EXPIRED


@pytest.mark.parametrize(
    ("name", "code"),
    [("reprocessings/none", "NOT_FOUND"), ("none", "INVALID_ARGUMENT"), ("reprocessings/", "INVALID_ARGUMENT")],
)
def test_a_name_that_is_unknown_or_no_name_is_refused(mesh: Mesh, name: str, code: str) -> None:
    for each in (get, run):
        found = refusal(lambda: each(mesh, name))  # noqa: B023 called at once
        assert (found.code.name, found.field) == (code, "name")


def test_reprocessings_are_listed_in_pages_newest_first(mesh: Mesh) -> None:
    for number in range(5):
        mesh.stores.reprocessings.create(a_reprocessing(f"r{number}", created_at=number // 2))
    found, token = [], ""
    while True:
        request = pb.ListReprocessingsRequest(page_size=2, page_token=token)
        page = mesh.reprocessings.ListReprocessings(request, metadata=bearer(OPERATOR))
        found += [each.name for each in page.reprocessings]
        token = page.next_page_token
        if not token:
            break
    assert found == [f"reprocessings/r{number}" for number in (4, 3, 2, 1, 0)]
    for request, reason in (
        (pb.ListReprocessingsRequest(page_size=-1), "INVALID_FIELD"),
        (pb.ListReprocessingsRequest(page_token="nonsense"), "PAGE_TOKEN_MISMATCH"),
    ):
        refused = refusal(lambda: mesh.reprocessings.ListReprocessings(request, metadata=bearer(OPERATOR)))  # noqa: B023 called at once
        assert refused.reason == reason
