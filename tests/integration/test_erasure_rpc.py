"""Test erasures over gRPC: who may plan an erasure, and what a plan contains. No plan contains a visitor id."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import grpc
import pytest

from hitmesh.api.control.v1 import reprocessing_pb2 as pb
from hitmesh.model.erasures import Receipt, visitor_digest
from hitmesh.model.keys import visitor_key
from hitmesh.model.plan import Kind
from hitmesh.model.reasons import ErrorReason
from hitmesh.model.reprocessings import State, Work
from tests.support.dates import a_date
from tests.support.rebuilt_days import UTC_DAY, a_rebuilt, a_reprocessing
from tests.support.reporters import NOW, OPERATOR, OWNER, RIVAL, Mesh, bearer, refusal, start
from tests.support.settled_rows import SITE

USERS_SITE = "merchants/demo/sites/users"
"""A site that identifies visitors by user id."""
VISITOR = pb.ErasedVisitor(visitor_ids=["ada"])


@pytest.fixture
def mesh() -> Iterator[Mesh]:
    for mesh in start(open_reads=False):
        site = mesh.stores.directory.site(SITE)
        assert site is not None
        mesh.stores.directory.create_site(replace(site, name=USERS_SITE, identify_by_user_id=True))
        yield mesh


def create(
    mesh: Mesh, *sites: str, visitor: pb.ErasedVisitor = VISITOR, secret: str = OPERATOR, **fields: object
) -> pb.Reprocessing:
    wanted = pb.Reprocessing(sites=sites or [SITE], kind=pb.REPROCESSING_KIND_ERASE, visitor=visitor, **fields)  # type: ignore[arg-type]  # protobuf checks the fields
    request = pb.CreateReprocessingRequest(reprocessing=wanted)
    return mesh.reprocessings.CreateReprocessing(request, metadata=bearer(secret)).reprocessing


def test_a_plan_keeps_a_hash_of_the_visitor_and_never_the_id(mesh: Mesh) -> None:
    key = "00112233445566778899aabbccddeeff"
    visitor = pb.ErasedVisitor(visitor_ids=["lovelace"], user_ids=["lovelace"], visitor_keys=[key])
    planned = create(mesh, USERS_SITE, visitor=visitor)
    assert (planned.kind, planned.state) == (pb.REPROCESSING_KIND_ERASE, pb.REPROCESSING_STATE_PLANNED)
    assert (list(planned.sites), planned.HasField("logic"), planned.HasField("visitor")) == ([USERS_SITE], False, False)
    assert planned.stages[4].retire.keep_days == 0
    (stored,) = mesh.stores.reprocessings.all()
    site = mesh.stores.directory.site(USERS_SITE)
    assert site is not None
    keys = [visitor_key(site.secret, kind, "lovelace") for kind in ("visitor", "user")]
    keys.append((int(key[:16], 16), int(key[16:], 16)))
    secret = mesh.stores.directory.mesh_secret()
    assert set(stored.visitors) == {visitor_digest(secret, USERS_SITE, each) for each in keys}
    assert not any(text in repr(stored) for text in ("lovelace", key))
    assert mesh.stores.erasures.of(USERS_SITE) == []


def test_a_validated_erasure_is_not_stored_and_has_the_result_of_a_search(mesh: Mesh) -> None:
    wanted = pb.Reprocessing(sites=[SITE], kind=pb.REPROCESSING_KIND_ERASE, visitor=VISITOR)
    request = pb.CreateReprocessingRequest(reprocessing=wanted, validate_only=True)
    found = mesh.reprocessings.CreateReprocessing(request, metadata=bearer(OPERATOR))
    assert (found.reprocessing.name, found.HasField("visitor_search"), found.visitor_search.days) == ("", True, 0)
    assert mesh.stores.reprocessings.all() == []
    request.validate_only = False
    stored = mesh.reprocessings.CreateReprocessing(request, metadata=bearer(OPERATOR))
    assert (bool(stored.reprocessing.name), stored.HasField("visitor_search")) == (True, False)


@pytest.mark.parametrize("secret", [OWNER, RIVAL])
def test_only_an_operator_erases(mesh: Mesh, secret: str) -> None:
    assert refusal(lambda: create(mesh, secret=secret)).code is grpc.StatusCode.PERMISSION_DENIED
    assert mesh.stores.reprocessings.all() == []


@pytest.mark.parametrize(
    ("sites", "fields", "words"),
    [
        ((SITE, "merchants/rival/sites/shop"), {}, "exactly one site"),
        (("merchants/demo/sites/-",), {}, "is not a site name: an erasure has exactly one site"),
        ((SITE,), {"visitor": pb.ErasedVisitor()}, "1 to 16"),
        ((SITE,), {"visitor": pb.ErasedVisitor(visitor_ids=["x"] * 17)}, "17 identifiers"),
        ((SITE,), {"visitor": pb.ErasedVisitor(visitor_ids=["x" * 129])}, "129 bytes"),
        ((SITE,), {"visitor": pb.ErasedVisitor(user_ids=["ada"])}, f"{SITE} does not identify visitors by user id"),
        ((SITE,), {"visitor": pb.ErasedVisitor(visitor_keys=["AB"])}, "32 hexadecimal digits"),
        ((SITE,), {"first_utc_date": a_date("2015-05-16")}, "leave first_utc_date out"),
        ((SITE,), {"logic": "v0"}, "leave logic out"),
    ],
)
def test_a_wrong_erasure_is_refused(mesh: Mesh, sites: tuple[str, ...], fields: dict[str, object], words: str) -> None:
    found = refusal(lambda: create(mesh, *sites, **fields))  # type: ignore[arg-type]  # protobuf checks the fields
    assert words in found.message


def test_visitors_of_a_deleted_site_and_of_earlier_user_ids_can_be_erased(mesh: Mesh) -> None:
    site = mesh.stores.directory.site(USERS_SITE)
    assert site is not None
    changed = replace(site, identify_by_user_id=False, revision=1, deleted_at=NOW)
    assert mesh.stores.directory.change_site(site, changed)
    planned = create(mesh, USERS_SITE, visitor=pb.ErasedVisitor(user_ids=["ada"]))
    assert list(planned.sites) == [USERS_SITE]
    (stored,) = mesh.stores.reprocessings.all()
    digest = visitor_digest(mesh.stores.directory.mesh_secret(), USERS_SITE, visitor_key(site.secret, "user", "ada"))
    assert list(stored.visitors) == [digest]


def test_an_erased_visitor_has_a_receipt_no_difference_and_no_rollback(mesh: Mesh) -> None:
    receipt = Receipt(hits=3, open_days=(UTC_DAY,), log_until=NOW, proven_at=NOW, scanned={"snapshots": 4})
    erased = a_reprocessing(state=State.ERASED, kind=Kind.ERASE, receipt=receipt.to_text(), updated_at=NOW)
    mesh.stores.reprocessings.create(erased)
    mesh.stores.reprocessings.put("r1", [a_rebuilt({})])
    name, metadata = "reprocessings/r1", bearer(OPERATOR)
    found = mesh.reprocessings.GetReprocessing(pb.GetReprocessingRequest(name=name), metadata=metadata).reprocessing
    assert (found.state, found.receipt.hits, dict(found.receipt.scanned)) == (
        pb.REPROCESSING_STATE_ERASED,
        3,
        {"snapshots": 4},
    )
    again = mesh.reprocessings.PublishReprocessing(pb.PublishReprocessingRequest(name=name), metadata=metadata)
    assert again.reprocessing == found
    rollback, diff = pb.RollbackReprocessingRequest(name=name), pb.GetReprocessingDiffRequest(name=name)
    for call in (
        lambda: mesh.reprocessings.RollbackReprocessing(rollback, metadata=metadata),
        lambda: mesh.reprocessings.GetReprocessingDiff(diff, metadata=metadata),
    ):
        assert "is ERASED" in refusal(call).message


def test_a_failed_erasure_can_only_continue(mesh: Mesh) -> None:
    mesh.stores.reprocessings.create(
        a_reprocessing(state=State.FAILED, work=Work.PUBLISH, kind=Kind.ERASE, error="why")
    )
    rollback = pb.RollbackReprocessingRequest(name="reprocessings/r1")
    found = refusal(lambda: mesh.reprocessings.RollbackReprocessing(rollback, metadata=bearer(OPERATOR)))
    assert "after the failure only `hitmesh reprocess publish " in found.message


@pytest.mark.parametrize("state", [State.RUNNING, State.FAILED])
def test_a_published_erasure_shows_no_difference_before_its_end(mesh: Mesh, state: State) -> None:
    mesh.stores.reprocessings.create(a_reprocessing(state=state, work=Work.PUBLISH, kind=Kind.ERASE))
    mesh.stores.reprocessings.put("r1", [a_rebuilt({"hits": (3, 2)})])
    diff = pb.GetReprocessingDiffRequest(name="reprocessings/r1")
    found = refusal(lambda: mesh.reprocessings.GetReprocessingDiff(diff, metadata=bearer(OPERATOR)))
    assert found.reason == ErrorReason.WRONG_STATE
