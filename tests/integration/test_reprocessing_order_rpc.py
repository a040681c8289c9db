"""Test over gRPC that a reprocessing that was published later prevents work on an earlier reprocessing.

The error message must name the later reprocessing.
"""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest

from hitmesh.api.control.v1 import reprocessing_pb2 as pb
from hitmesh.model.reprocessings import State
from tests.support.rebuilt_days import a_reprocessing
from tests.support.reporters import OPERATOR, Mesh, bearer, refusal, start


@pytest.fixture
def mesh() -> Iterator[Mesh]:
    yield from start(open_reads=False)


@pytest.mark.parametrize("state", [State.PUBLISHED, State.ROLLED_BACK])
def test_a_rollback_or_a_further_publication_below_a_later_publication_is_refused(mesh: Mesh, state: State) -> None:
    for id_, there, published_at in (
        ("first", state, 5),
        ("later", State.PUBLISHED, 6),
        ("latest", State.PUBLISHED, 7),
    ):
        mesh.stores.reprocessings.create(a_reprocessing(id_, state=there, published_at=published_at))

    def ask() -> object:
        if state is State.PUBLISHED:
            request = pb.RollbackReprocessingRequest(name="reprocessings/first")
            return mesh.reprocessings.RollbackReprocessing(request, metadata=bearer(OPERATOR))
        again = pb.PublishReprocessingRequest(name="reprocessings/first")
        return mesh.reprocessings.PublishReprocessing(again, metadata=bearer(OPERATOR))

    found = refusal(ask)
    assert (found.code, found.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "REPROCESSING_CONFLICT")
    assert "reprocessings/latest, which was published later: roll reprocessings/latest back first" in found.message
    stored = mesh.stores.reprocessings.get("first")
    assert stored is not None
    assert stored.state is state
