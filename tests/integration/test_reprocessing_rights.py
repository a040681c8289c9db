"""Test which keys may call each RPC of ReprocessingService.

Reads need a key on one mesh, and no key on another mesh.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import grpc
import pytest
from google.protobuf.message import Message

from hitmesh.api.control.v1 import reprocessing_pb2 as pb
from hitmesh.api.control.v1 import retired_pb2
from hitmesh.model.reprocessings import State
from hitmesh.model.sites import IngestKey, KeyKind, SiteDay
from tests.support.dates import a_date
from tests.support.published_days import publish_day
from tests.support.rebuilt_days import UTC_DAY, a_reprocessing
from tests.support.reporters import NOW, OPERATOR, OWNER, RIVAL, Mesh, bearer, refusal, start
from tests.support.settled_rows import SITE


@pytest.fixture
def mesh() -> Iterator[Mesh]:
    yield from start(open_reads=False)


@pytest.fixture
def opened() -> Iterator[Mesh]:
    yield from start(open_reads=True)


NAME = "reprocessings/r1"
CHANGES: Mapping[str, Message] = {
    "CreateReprocessing": pb.CreateReprocessingRequest(
        reprocessing=pb.Reprocessing(
            sites=[SITE],
            kind=pb.REPROCESSING_KIND_LOGIC,
            first_utc_date=a_date("2015-05-16"),
            last_utc_date=a_date("2015-05-16"),
        )
    ),
    "RunReprocessing": pb.RunReprocessingRequest(name=NAME),
    "PublishReprocessing": pb.PublishReprocessingRequest(name=NAME),
    "RollbackReprocessing": pb.RollbackReprocessingRequest(name=NAME),
    "CancelReprocessing": pb.CancelReprocessingRequest(name=NAME),
    # A check changes no data, but needs the operator's key, because it delays the calls of all merchants.
    "CheckHistory": pb.CheckHistoryRequest(sites=["merchants/-/sites/-"]),
}
READS: Mapping[str, Message] = {
    "GetReprocessing": pb.GetReprocessingRequest(name=NAME),
    "ListReprocessings": pb.ListReprocessingsRequest(),
    "GetReprocessingDiff": pb.GetReprocessingDiffRequest(name=NAME),
    "ListRetiredGenerations": retired_pb2.ListRetiredGenerationsRequest(),
}
# For each RPC, a state of the reprocessing in which the call is allowed.
STATES = {
    "RunReprocessing": State.PLANNED,
    "PublishReprocessing": State.DIFF_READY,
    "RollbackReprocessing": State.PUBLISHED,
    "CancelReprocessing": State.DIFF_READY,
}


def call(mesh: Mesh, rpc: str, secret: str | None) -> object:
    request = {**CHANGES, **READS}[rpc]
    return getattr(mesh.reprocessings, rpc)(request, metadata=bearer(secret) if secret else None)


def test_every_rpc_changes_or_reads() -> None:
    service = pb.DESCRIPTOR.services_by_name["ReprocessingService"]
    assert {method.name for method in service.methods} == {*CHANGES, *READS}


def prepared(mesh: Mesh, rpc: str) -> None:
    state = STATES.get(rpc, State.DIFF_READY)
    publish_day(mesh.stores.generations, SiteDay(SITE, UTC_DAY - 1), NOW)
    mesh.stores.reprocessings.create(a_reprocessing(state=state, created_at=NOW))
    browser = IngestKey("demo-2", "merchants/demo", KeyKind.BROWSER, site=SITE)
    mesh.stores.directory.create_key(browser, "browser-secret")
    mesh.stores.directory.create_key(IngestKey("demo-3", "merchants/demo", KeyKind.EDGE), "edge-secret")


@pytest.mark.parametrize("rpc", [*CHANGES, *READS])
def test_with_closed_reads_only_an_operator_calls(mesh: Mesh, rpc: str) -> None:
    refuse_strangers(mesh, rpc)
    assert call(mesh, rpc, OPERATOR)


@pytest.mark.parametrize("rpc", CHANGES)
def test_open_reads_permit_no_change(opened: Mesh, rpc: str) -> None:
    refuse_strangers(opened, rpc)
    assert call(opened, rpc, OPERATOR)


@pytest.mark.parametrize("rpc", READS)
def test_with_open_reads_every_caller_reads(opened: Mesh, rpc: str) -> None:
    prepared(opened, rpc)
    for secret in (None, OWNER, RIVAL, OPERATOR):
        assert call(opened, rpc, secret)


def refuse_strangers(mesh: Mesh, rpc: str) -> None:
    prepared(mesh, rpc)
    before = mesh.stores.reprocessings.all()
    found = refusal(lambda: call(mesh, rpc, None))
    assert (found.code, found.field) == (grpc.StatusCode.UNAUTHENTICATED, "authorization")
    assert "send an operator's key" in found.message
    for secret in (OWNER, RIVAL, "browser-secret", "edge-secret"):
        found = refusal(lambda: call(mesh, rpc, secret))  # noqa: B023 called at once
        assert (found.code, found.field) == (grpc.StatusCode.PERMISSION_DENIED, "authorization")
        assert found.message.endswith("file keys/dev-operator in its home)")
    assert mesh.stores.reprocessings.all() == before
