"""Lists rejected hits through the control service, and records which rejected hits were replayed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from hitmesh.api.control.v1 import rejected_hits_pb2 as pb
from hitmesh.client.mesh import CALL_TIMEOUT_S, Mesh
from hitmesh.model.refusals import PREFIX

PAGE_SIZE: Final = 200
_MAX_NAMES: Final = 500


def full_name(id_or_name: str) -> str:
    """Return the name `rejectedHits/{id}` for an id; a name is returned unchanged."""
    return id_or_name if id_or_name.startswith(PREFIX) else f"{PREFIX}{id_or_name}"


def short_id(name: str) -> str:
    """Return the id in a name `rejectedHits/{id}`."""
    return name.removeprefix(PREFIX)


def get_rejected_hit(mesh: Mesh, name: str) -> pb.RejectedHit:
    """Return a refusal."""
    request = pb.GetRejectedHitRequest(name=name)
    return mesh.rejected_hits.GetRejectedHit(request, timeout=CALL_TIMEOUT_S, metadata=mesh.credentials).rejected_hit


def pages_of_rejected_hits(
    mesh: Mesh, wanted: pb.ListRejectedHitsRequest, page_size: int = PAGE_SIZE
) -> Iterator[Sequence[pb.RejectedHit]]:
    """Yield the pages of refusals, in the order of the list; a page may be empty."""
    request = pb.ListRejectedHitsRequest()
    request.CopyFrom(wanted)
    request.page_size = page_size
    while True:
        page = mesh.rejected_hits.ListRejectedHits(request, timeout=CALL_TIMEOUT_S, metadata=mesh.credentials)
        yield page.rejected_hits
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token


def mark_replayed(mesh: Mesh, names: Sequence[str]) -> None:
    """Record that the replays of refusals were accepted."""
    for first in range(0, len(names), _MAX_NAMES):
        request = pb.MarkRejectedHitsReplayedRequest(names=names[first : first + _MAX_NAMES])
        mesh.rejected_hits.MarkRejectedHitsReplayed(request, timeout=CALL_TIMEOUT_S, metadata=mesh.credentials)
