"""Plans, runs, publishes and rolls back reprocessings through the control service of a mesh."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import grpc

from hitmesh.api.control.v1 import reprocessing_pb2 as pb
from hitmesh.api.control.v1 import retired_pb2
from hitmesh.client.mesh import CALL_TIMEOUT_S, Mesh
from hitmesh.client.visibility import Wait

DEFAULT_WAIT: Final = Wait(timeout_s=60.0, poll_s=1.0)
"""Default limits: poll every second, and give up if the control service does not answer for a minute."""

_PREFIX: Final = "reprocessings/"
_PAGE_SIZE: Final = 500
_DAYS: Final = 1_000
# Temporary status codes while the control service or the proxy restarts.
_PASSING: Final = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED})


def is_passing(error: grpc.RpcError) -> bool:
    """Return whether the error is temporary, so that the same call may soon succeed."""
    return error.code() in _PASSING


def full_name(id_or_name: str) -> str:
    """Return the name `reprocessings/{id}` for an id; a name is returned unchanged."""
    return id_or_name if id_or_name.startswith(_PREFIX) else f"{_PREFIX}{id_or_name}"


def short_id(name: str) -> str:
    """Return the id in a name `reprocessings/{id}`."""
    return name.removeprefix(_PREFIX)


def create_reprocessing(mesh: Mesh, wanted: pb.Reprocessing, *, validate_only: bool) -> pb.Reprocessing:
    """Store a plan, and return it; with `validate_only`, return the plan without storing it."""
    request = pb.CreateReprocessingRequest(reprocessing=wanted, validate_only=validate_only)
    return mesh.reprocessings.CreateReprocessing(
        request, timeout=CALL_TIMEOUT_S, metadata=mesh.credentials
    ).reprocessing


def planned_erasure(mesh: Mesh, wanted: pb.Reprocessing) -> pb.CreateReprocessingResponse:
    """Return the plan of an erasure without storing it, and the result of a search for the visitor."""
    request = pb.CreateReprocessingRequest(reprocessing=wanted, validate_only=True)
    return mesh.reprocessings.CreateReprocessing(request, timeout=CALL_TIMEOUT_S, metadata=mesh.credentials)


def get_reprocessing(mesh: Mesh, name: str) -> pb.Reprocessing:
    """Return a reprocessing."""
    request = pb.GetReprocessingRequest(name=name)
    return mesh.reprocessings.GetReprocessing(request, timeout=CALL_TIMEOUT_S, metadata=mesh.credentials).reprocessing


def list_reprocessings(mesh: Mesh) -> Iterator[pb.Reprocessing]:
    """Yield all reprocessings, the newest first."""
    token = ""
    while True:
        request = pb.ListReprocessingsRequest(page_size=_PAGE_SIZE, page_token=token)
        page = mesh.reprocessings.ListReprocessings(request, timeout=CALL_TIMEOUT_S, metadata=mesh.credentials)
        yield from page.reprocessings
        token = page.next_page_token
        if not token:
            return


def list_retired_generations(mesh: Mesh, site: str) -> Iterator[retired_pb2.RetiredGeneration]:
    """Yield the retired generations of a site, or of all sites for an empty name."""
    token = ""
    while True:
        request = retired_pb2.ListRetiredGenerationsRequest(site=site, page_size=_PAGE_SIZE, page_token=token)
        page = mesh.reprocessings.ListRetiredGenerations(request, timeout=CALL_TIMEOUT_S, metadata=mesh.credentials)
        yield from page.retired_generations
        token = page.next_page_token
        if not token:
            return


def run_reprocessing(mesh: Mesh, name: str) -> pb.Reprocessing:
    """Request that the site-days are recomputed."""
    request = pb.RunReprocessingRequest(name=name)
    return mesh.reprocessings.RunReprocessing(request, timeout=CALL_TIMEOUT_S, metadata=mesh.credentials).reprocessing


def publish_reprocessing(mesh: Mesh, name: str) -> pb.Reprocessing:
    """Publish: request that the new generations become current."""
    request = pb.PublishReprocessingRequest(name=name)
    return mesh.reprocessings.PublishReprocessing(
        request, timeout=CALL_TIMEOUT_S, metadata=mesh.credentials
    ).reprocessing


def rollback_reprocessing(mesh: Mesh, name: str) -> pb.Reprocessing:
    """Roll back: request that the old generations become current again."""
    request = pb.RollbackReprocessingRequest(name=name)
    return mesh.reprocessings.RollbackReprocessing(
        request, timeout=CALL_TIMEOUT_S, metadata=mesh.credentials
    ).reprocessing


def cancel_reprocessing(mesh: Mesh, name: str) -> pb.Reprocessing:
    """Cancel a reprocessing's plan, or request that the reprocessing's new generations are removed."""
    request = pb.CancelReprocessingRequest(name=name)
    return mesh.reprocessings.CancelReprocessing(
        request, timeout=CALL_TIMEOUT_S, metadata=mesh.credentials
    ).reprocessing


def whole_diff(mesh: Mesh, request: pb.GetReprocessingDiffRequest) -> pb.GetReprocessingDiffResponse:
    """Return the whole difference of a reprocessing, with the days from all pages."""
    first = _diff_page(mesh, request, "")
    token = first.next_page_token
    while token:
        page = _diff_page(mesh, request, token)
        first.days.extend(page.days)
        token = page.next_page_token
    first.next_page_token = ""
    return first


def wait_while_running(
    mesh: Mesh,
    running: pb.Reprocessing,
    on_progress: Callable[[pb.Reprocessing], None],
    wait: Wait | None = None,
    on_silence: Callable[[float], None] = lambda timeout_s: None,
) -> pb.Reprocessing:
    """Block until the settler has finished the requested work on a reprocessing, and return the reprocessing.

    Args:
        mesh: the mesh.
        running: the reprocessing after the request.
        on_progress: called with `running`, and with the reprocessing after each poll.
        wait: `poll_s` is the poll interval, and `timeout_s` is the longest tolerated outage of the control service. The
            reprocessing itself has no time limit. Default: DEFAULT_WAIT.
        on_silence: called with `timeout_s` when the control service stops answering; no progress is reported until the
            service answers again.

    Raises:
        grpc.RpcError: the control service refuses the call, or has not answered for `timeout_s` seconds.
    """
    wait = wait or DEFAULT_WAIT
    found, answered_s, is_silent = running, wait.clock_s(), False
    while True:
        if not is_silent:
            on_progress(found)
        if found.state != pb.REPROCESSING_STATE_RUNNING:
            return found
        wait.sleep(wait.poll_s)
        try:
            found = get_reprocessing(mesh, running.name)
            answered_s, is_silent = wait.clock_s(), False
        except grpc.RpcError as error:
            if not is_passing(error) or wait.clock_s() - answered_s > wait.timeout_s:
                raise
            if not is_silent:
                is_silent = True
                on_silence(wait.timeout_s)


def _diff_page(mesh: Mesh, request: pb.GetReprocessingDiffRequest, token: str) -> pb.GetReprocessingDiffResponse:
    of_page = pb.GetReprocessingDiffRequest()
    of_page.CopyFrom(request)
    of_page.page_size, of_page.page_token = _DAYS, token
    return mesh.reprocessings.GetReprocessingDiff(of_page, timeout=CALL_TIMEOUT_S, metadata=mesh.credentials)


def check_history(mesh: Mesh, request: pb.CheckHistoryRequest) -> Iterator[pb.CheckHistoryResponse]:
    """Yield the pages of a history check; a page may contain no site-day."""
    token = ""
    while True:
        of_page = pb.CheckHistoryRequest()
        of_page.CopyFrom(request)
        of_page.page_token = token
        page = mesh.reprocessings.CheckHistory(of_page, timeout=CALL_TIMEOUT_S, metadata=mesh.credentials)
        yield page
        token = page.next_page_token
        if not token:
            return
