"""Test the RPCs for merchants, over gRPC, on in-memory stores."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NoReturn

import grpc
import pytest

from control.rpc.admin.delete_merchant import delete_merchant
from control.rpc.admin.list_sites import list_sites
from hitmesh.access.callers import TOKEN_KIND, Caller
from hitmesh.api.control.v1 import admin_pb2, merchants_pb2, quotas_pb2
from hitmesh.model.errors import Abandoned, NotFound, Unavailable
from hitmesh.model.merchants import Merchant
from hitmesh.model.sites import Role
from tests.support.reporters import NOW, OPERATOR, OWNER, RIVAL, Mesh, a_site, bearer, control_backend, refusal, start
from tests.support.settled_rows import SITE

DEMO = "merchants/demo"


@pytest.fixture
def mesh() -> Iterator[Mesh]:
    yield from start(open_reads=False)


def create(mesh: Mesh, merchant_id: str = "acme", **values: str) -> merchants_pb2.Merchant:
    request = merchants_pb2.CreateMerchantRequest(
        merchant_id=merchant_id,
        merchant=merchants_pb2.Merchant(**values),  # type: ignore[arg-type]  # protobuf checks the fields
    )
    return mesh.admin.CreateMerchant(request, metadata=bearer(OPERATOR)).merchant


def get(mesh: Mesh, name: str, secret: str) -> merchants_pb2.Merchant:
    return mesh.admin.GetMerchant(merchants_pb2.GetMerchantRequest(name=name), metadata=bearer(secret)).merchant


def update(mesh: Mesh, merchant: merchants_pb2.Merchant, *paths: str) -> merchants_pb2.Merchant:
    request = merchants_pb2.UpdateMerchantRequest(merchant=merchant)
    request.update_mask.paths.extend(paths)
    return mesh.admin.UpdateMerchant(request, metadata=bearer(OPERATOR)).merchant


def delete(mesh: Mesh, name: str, *, force: bool = False, etag: str = "") -> tuple[int, int]:
    """Return the numbers of deleted sites and revoked keys."""
    request = merchants_pb2.DeleteMerchantRequest(name=name, force=force, etag=etag)
    answer = mesh.admin.DeleteMerchant(request, metadata=bearer(OPERATOR))
    return answer.deleted_sites, answer.revoked_keys


def create_key(mesh: Mesh, merchant: str, secret: str = OPERATOR) -> admin_pb2.CreateIngestKeyResponse:
    key = admin_pb2.IngestKey(
        kind=admin_pb2.KEY_KIND_SERVER, roles=[admin_pb2.KEY_ROLE_ADMINISTER, admin_pb2.KEY_ROLE_READ]
    )
    return mesh.admin.CreateIngestKey(
        admin_pb2.CreateIngestKeyRequest(parent=merchant, key=key), metadata=bearer(secret)
    )


def create_site(mesh: Mesh, merchant: str, secret: str, site_id: str = "shop") -> admin_pb2.Site:
    request = admin_pb2.CreateSiteRequest(parent=merchant, site_id=site_id)
    return mesh.admin.CreateSite(request, metadata=bearer(secret)).site


def test_operator_creates_a_merchant_and_its_first_key_with_which_the_merchant_works(mesh: Mesh) -> None:
    created = create(mesh, display_name="Acme Ltd")
    assert (created.name, created.display_name) == ("merchants/acme", "Acme Ltd")
    assert created.create_time.ToMilliseconds() == created.update_time.ToMilliseconds() == NOW
    assert create(mesh, display_name="Acme Ltd") == created
    secret = create_key(mesh, created.name).secret
    assert get(mesh, created.name, secret) == get(mesh, created.name, OPERATOR) == created
    assert create_site(mesh, created.name, secret).name == "merchants/acme/sites/shop"


def test_creation_refuses_other_values_and_invalid_values(mesh: Mesh) -> None:
    create(mesh)
    taken = refusal(lambda: create(mesh, display_name="Other"))
    assert (taken.code, taken.reason) == (grpc.StatusCode.ALREADY_EXISTS, "ALREADY_EXISTS")
    for merchant_id in ("", "Acme", "-a", "a" * 65, "a/sites/b"):
        assert refusal(lambda: create(mesh, merchant_id)).field == "merchant_id"  # noqa: B023 called at once
    assert refusal(lambda: create(mesh, "b", display_name="x" * 201)).field == "merchant.display_name"
    assert refusal(lambda: create(mesh, "b", display_name="a\nb")).field == "merchant.display_name"


def test_only_operators_create_change_list_and_delete(mesh: Mesh) -> None:
    calls: list[Callable[[], object]] = [
        lambda: mesh.admin.CreateMerchant(merchants_pb2.CreateMerchantRequest(), metadata=bearer(OWNER)),
        lambda: mesh.admin.ListMerchants(merchants_pb2.ListMerchantsRequest(), metadata=bearer(OWNER)),
        lambda: mesh.admin.UpdateMerchant(
            merchants_pb2.UpdateMerchantRequest(merchant=merchants_pb2.Merchant(name=DEMO)), metadata=bearer(OWNER)
        ),
        lambda: mesh.admin.DeleteMerchant(merchants_pb2.DeleteMerchantRequest(name=DEMO), metadata=bearer(OWNER)),
    ]
    assert [refusal(call).code for call in calls] == [grpc.StatusCode.PERMISSION_DENIED] * len(calls)


def test_merchant_of_another_key_is_refused_in_the_words_for_a_missing_merchant(mesh: Mesh) -> None:
    def found(name: str, secret: str) -> str:
        answer = refusal(lambda: get(mesh, name, secret))
        assert (answer.code, answer.reason) == (grpc.StatusCode.NOT_FOUND, "NOT_FOUND")
        return answer.message.replace(name, "merchants/…")

    assert found(DEMO, RIVAL) == found("merchants/none", RIVAL) == found("merchants/none", OPERATOR)
    delete(mesh, DEMO, force=True)
    assert found(DEMO, RIVAL) == found(DEMO, OPERATOR)


def test_merchants_are_listed_by_name_in_pages(mesh: Mesh) -> None:
    for merchant_id in "cab":
        create(mesh, merchant_id)
    request = merchants_pb2.ListMerchantsRequest(page_size=2)
    pages = []
    while True:
        page = mesh.admin.ListMerchants(request, metadata=bearer(OPERATOR))
        pages.append([each.name.removeprefix("merchants/") for each in page.merchants])
        request.page_token = page.next_page_token
        if not request.page_token:
            break
    assert pages == [["a", "b"], ["c", "demo"], ["rival"]]
    request.page_token = "bm90IGEgdG9rZW4"
    wrong = refusal(lambda: mesh.admin.ListMerchants(request, metadata=bearer(OPERATOR)))
    assert wrong.reason == "PAGE_TOKEN_MISMATCH"


def test_update_takes_a_mask_and_an_etag(mesh: Mesh) -> None:
    created = create(mesh, display_name="Acme")
    mesh.clock.advance(1_000)
    named = merchants_pb2.Merchant(name=created.name, display_name="Acme Ltd", etag=created.etag)
    changed = update(mesh, named, "display_name")
    assert (changed.display_name, changed.update_time.ToMilliseconds()) == ("Acme Ltd", NOW + 1_000)
    assert changed.etag != created.etag
    stale = refusal(lambda: update(mesh, merchants_pb2.Merchant(name=created.name, etag=created.etag), "*"))
    assert (stale.code, stale.reason, stale.field) == (grpc.StatusCode.ABORTED, "ETAG_MISMATCH", "merchant.etag")
    assert update(mesh, merchants_pb2.Merchant(name=created.name)) == changed  # without a mask, set fields only
    assert update(mesh, merchants_pb2.Merchant(name=created.name), "*").display_name == ""
    named.ClearField("etag")
    for path in ("name", "create_time", "nonsense"):
        assert refusal(lambda: update(mesh, named, path)).field == "update_mask"  # noqa: B023 called at once


def test_update_that_another_caller_overtakes_is_refused_by_its_etag(mesh: Mesh) -> None:
    created, merchants = create(mesh), mesh.stores.merchants
    change, others = merchants.change_merchant, iter(["First", "Second"])

    def overtaken(stored: Merchant, changed: Merchant) -> bool:
        other = next(others, None)
        if other is not None:
            change(stored, replace(stored, display_name=other, revision=stored.revision + 1))
        return change(stored, changed)

    merchants.change_merchant = overtaken  # type: ignore[method-assign]
    named = merchants_pb2.Merchant(name=created.name, display_name="Late", etag=created.etag)
    assert refusal(lambda: update(mesh, named)).reason == "ETAG_MISMATCH"
    assert get(mesh, created.name, OPERATOR).display_name == "First"
    named.ClearField("etag")
    assert update(mesh, named).display_name == "Late"


def test_merchant_with_sites_and_keys_is_deleted_only_with_force(mesh: Mesh) -> None:
    kept = refusal(lambda: delete(mesh, DEMO))
    assert (kept.code, kept.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "WRONG_STATE")
    assert "1 site and 1 valid key" in kept.message
    assert get(mesh, DEMO, OWNER).name == DEMO
    assert refusal(lambda: delete(mesh, DEMO, force=True, etag="other")).reason == "ETAG_MISMATCH"
    assert delete(mesh, DEMO, force=True, etag=get(mesh, DEMO, OWNER).etag) == (1, 1)
    assert delete(mesh, DEMO, force=True) == delete(mesh, DEMO) == (0, 0)
    assert mesh.stores.directory.site(SITE) is None
    assert refusal(lambda: get(mesh, DEMO, OWNER)).reason == "KEY_REVOKED"
    assert refusal(lambda: create(mesh, "demo")).reason == "ALREADY_EXISTS"
    assert refusal(lambda: create_key(mesh, DEMO)).reason == "NOT_FOUND"


def test_empty_merchant_is_deleted_without_force(mesh: Mesh) -> None:
    created = create(mesh)
    assert delete(mesh, created.name, etag=created.etag) == (0, 0)
    assert refusal(lambda: get(mesh, created.name, OPERATOR)).reason == "NOT_FOUND"
    assert refusal(lambda: delete(mesh, "merchants/never")).reason == "NOT_FOUND"


def test_merchant_whose_keys_have_all_expired_is_deleted_without_force_and_the_keys_are_revoked(mesh: Mesh) -> None:
    created = create(mesh)
    key = admin_pb2.IngestKey(kind=admin_pb2.KEY_KIND_SERVER)
    key.expire_time.FromMilliseconds(NOW + 1)
    request = admin_pb2.CreateIngestKeyRequest(parent=created.name, key=key)
    name = mesh.admin.CreateIngestKey(request, metadata=bearer(OPERATOR)).key.name
    kept = refusal(lambda: delete(mesh, created.name))
    assert "0 sites and 1 valid key" in kept.message
    mesh.clock.advance(1)
    assert delete(mesh, created.name) == (0, 1)
    stored = mesh.stores.directory.key_with_id(created.name, name.rpartition("/")[2])
    assert stored is not None
    assert stored.revoked_at == NOW + 1


def test_interrupted_deletion_is_completed_by_the_same_call(mesh: Mesh) -> None:
    mesh.stores.directory.create_site(a_site(f"{DEMO}/sites/blog"))
    stored = mesh.stores.merchants.merchant(DEMO)
    assert stored is not None
    mesh.stores.merchants.change_merchant(stored, replace(stored, revision=stored.revision + 1, deleted_at=NOW))
    assert refusal(lambda: delete(mesh, DEMO)).reason == "WRONG_STATE"
    assert delete(mesh, DEMO, force=True) == (2, 1)


@pytest.mark.parametrize("step", ["revoke_key", "change_site"])
def test_merchant_whose_deletion_is_interrupted_stays_visible_until_the_call_is_repeated(mesh: Mesh, step: str) -> None:
    mesh.stores.directory.create_site(a_site(f"{DEMO}/sites/blog"))
    with pytest.MonkeyPatch.context() as patched:

        def interrupted(*_values: object) -> NoReturn:
            raise Unavailable("the process ends here")

        patched.setattr(mesh.stores.directory, step, interrupted)
        assert refusal(lambda: delete(mesh, DEMO, force=True)).code is grpc.StatusCode.UNAVAILABLE
    assert get(mesh, DEMO, OPERATOR).name == DEMO
    request = admin_pb2.ListIngestKeysRequest(parent=DEMO, show_revoked=True)
    (key,) = mesh.admin.ListIngestKeys(request, metadata=bearer(OPERATOR)).keys
    assert key.HasField("revoke_time") is (step == "change_site")
    delete(mesh, DEMO, force=True)
    assert refusal(lambda: get(mesh, DEMO, OPERATOR)).code is grpc.StatusCode.NOT_FOUND
    assert not mesh.stores.directory.sites(DEMO, "", 9)
    assert all(key.revoked_at is not None for key in mesh.stores.directory.keys(DEMO))


def test_site_that_is_created_between_the_last_deleted_site_and_the_mark_is_deleted(mesh: Mesh) -> None:
    merchants, change = mesh.stores.merchants, mesh.stores.merchants.change_merchant

    def change_after_the_site(stored: Merchant, changed: Merchant) -> bool:
        mesh.stores.directory.create_site(a_site(f"{DEMO}/sites/late"))
        return change(stored, changed)

    merchants.change_merchant = change_after_the_site  # type: ignore[method-assign]
    assert delete(mesh, DEMO, force=True) == (2, 1)
    assert not mesh.stores.directory.sites(DEMO, "", 9)


def test_sites_are_deleted_page_by_page_until_the_caller_leaves(mesh: Mesh) -> None:
    names = [SITE, *(create_site(mesh, DEMO, OWNER, f"s{number}").name for number in range(3))]
    backend = control_backend(mesh.stores, mesh.clock, open_reads=False)
    request = merchants_pb2.DeleteMerchantRequest(name=DEMO, force=True)
    calls = iter(range(3))

    def leaves() -> None:
        if next(calls, None) is None:
            raise Abandoned("the caller left")

    with pytest.raises(Abandoned):
        delete_merchant(backend, None, request, leaves, page=1)
    left = [name for name in names if mesh.stores.directory.site(name) is not None]
    assert 0 < len(left) < len(names)
    assert delete_merchant(backend, None, request, lambda: None, page=1).deleted_sites == len(left)


def test_site_and_key_that_are_created_during_the_deletion_do_not_remain(mesh: Mesh) -> None:
    """The merchant is deleted between the check for the merchant and the creation."""
    reads = iter(range(9))
    merchants = mesh.stores.merchants
    read = merchants.merchant

    def deleted_after_the_first_read(name: str) -> Merchant | None:
        found = read(name)
        assert found is not None
        return found if next(reads) % 2 == 0 else replace(found, deleted_at=NOW)

    merchants.merchant = deleted_after_the_first_read  # type: ignore[method-assign]
    assert refusal(lambda: create_site(mesh, DEMO, OWNER, "late")).reason == "NOT_FOUND"
    assert mesh.stores.directory.site(f"{DEMO}/sites/late") is None
    assert refusal(lambda: create_key(mesh, DEMO)).reason == "NOT_FOUND"
    assert [key.revoked_at for key in mesh.stores.directory.keys(DEMO)] == [None, NOW]


def test_site_that_is_restored_during_the_deletion_does_not_remain(mesh: Mesh) -> None:
    mesh.admin.DeleteSite(admin_pb2.DeleteSiteRequest(name=SITE), metadata=bearer(OWNER))
    merchants = mesh.stores.merchants
    found = merchants.merchant(DEMO)
    assert found is not None
    reads = iter([found, replace(found, deleted_at=NOW)])

    def deleted_after_the_first_read(name: str) -> Merchant | None:
        return next(reads)

    merchants.merchant = deleted_after_the_first_read  # type: ignore[method-assign]
    restored = refusal(
        lambda: mesh.admin.UndeleteSite(admin_pb2.UndeleteSiteRequest(name=SITE), metadata=bearer(OWNER))
    )
    assert (restored.reason, restored.field) == ("NOT_FOUND", "name")
    assert mesh.stores.directory.site(SITE) is None


def test_key_that_is_replaced_during_the_deletion_gets_no_valid_successor(mesh: Mesh) -> None:
    merchants = mesh.stores.merchants
    found = merchants.merchant(DEMO)
    assert found is not None
    deleted = replace(found, deleted_at=NOW)

    def deleted_with_the_successor(name: str) -> Merchant | None:
        return found if len(mesh.stores.directory.keys(DEMO)) == 1 else deleted

    merchants.merchant = deleted_with_the_successor  # type: ignore[method-assign]
    request = admin_pb2.RotateIngestKeyRequest(name=f"{DEMO}/ingestKeys/demo-1")
    rotated = refusal(lambda: mesh.admin.RotateIngestKey(request, metadata=bearer(OWNER)))
    assert (rotated.reason, rotated.field) == ("NOT_FOUND", "name")
    assert [key.revoked_at for key in mesh.stores.directory.keys(DEMO)] == [None, NOW]


def test_merchant_that_gets_a_site_during_the_deletion_is_not_deleted(mesh: Mesh) -> None:
    """The site is created between the check for sites and the deletion."""
    created, site = create(mesh), a_site("merchants/acme/sites/late")
    merchants = mesh.stores.merchants
    change = merchants.change_merchant

    def change_after_the_site(stored: Merchant, changed: Merchant) -> bool:
        mesh.stores.directory.create_site(site)
        return change(stored, changed)

    merchants.change_merchant = change_after_the_site  # type: ignore[method-assign]
    found = refusal(lambda: delete(mesh, created.name))
    assert (found.reason, found.field) == ("WRONG_STATE", "force")
    assert get(mesh, created.name, OPERATOR).name == created.name
    assert mesh.stores.directory.site(site.name) == site


def test_sites_and_keys_need_a_merchant_and_the_message_names_the_cure(mesh: Mesh) -> None:
    mesh.stores.directory.create_site(a_site("merchants/none/sites/shop"))
    found = refusal(lambda: create_key(mesh, "merchants/none"))
    assert (found.code, found.field) == (grpc.StatusCode.NOT_FOUND, "parent")
    assert "hitmesh merchants create" in found.message


def test_keys_and_sites_of_a_deleted_merchant_are_not_found(mesh: Mesh) -> None:
    delete(mesh, DEMO, force=True)
    key = f"{DEMO}/ingestKeys/demo-1"
    calls: list[Callable[[], object]] = [
        lambda: mesh.admin.GetIngestKey(admin_pb2.GetIngestKeyRequest(name=key), metadata=bearer(OPERATOR)),
        lambda: mesh.admin.UpdateIngestKey(
            admin_pb2.UpdateIngestKeyRequest(key=admin_pb2.IngestKey(name=key)), metadata=bearer(OPERATOR)
        ),
        lambda: mesh.admin.DeleteIngestKey(admin_pb2.DeleteIngestKeyRequest(name=key), metadata=bearer(OPERATOR)),
        lambda: mesh.admin.GetQuota(quotas_pb2.GetQuotaRequest(name=f"{key}/quota"), metadata=bearer(OPERATOR)),
    ]
    for call in calls:
        assert (found := refusal(call)).code is grpc.StatusCode.NOT_FOUND
        assert "does not exist" in found.message


@pytest.mark.parametrize("merchant", ["merchants/demo", "merchants/none"])
@pytest.mark.parametrize("show_deleted", [False, True])
def test_sites_of_a_merchant_that_does_not_exist_are_not_listed(mesh: Mesh, merchant: str, show_deleted: bool) -> None:
    """A token may outlive its merchant, or name a merchant that never existed."""
    delete(mesh, DEMO, force=True)
    caller = Caller(merchant, frozenset({Role.READ}), TOKEN_KIND, "person")
    backend = control_backend(mesh.stores, mesh.clock, open_reads=False)
    request = admin_pb2.ListSitesRequest(parent=merchant, show_deleted=show_deleted)
    with pytest.raises(NotFound):
        list_sites(backend, caller, request)
    request.parent = "merchants/-"
    assert not list_sites(backend, caller, request).sites
