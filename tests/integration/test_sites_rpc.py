"""Test changes and deletions of sites, over gRPC, on in-memory stores."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import grpc
import pytest

from hitmesh.api.control.v1 import admin_pb2, merchants_pb2, operations_pb2, quotas_pb2, rules_pb2
from hitmesh.api.reporter.v1 import reporter_pb2
from hitmesh.model.sites import PolicyChange, Site
from hitmesh.model.zones import DAY_MS
from tests.support.reporters import NOW, OPERATOR, OWNER, RIVAL, Mesh, Refusal, a_question, bearer, refusal, start
from tests.support.settled_rows import SITE

MUTABLE: Mapping[str, Any] = {
    "display_name": "Shop ü",
    "own_hosts": ["shop.example"],
    "allowed_origins": ["https://shop.example"],
    "consent_by_default": False,
    "cookieless_counting": True,
    "identify_by_user_id": True,
    "store_network": True,
}


@pytest.fixture
def mesh() -> Iterator[Mesh]:
    yield from start(open_reads=False)


def get(mesh: Mesh, name: str = SITE, secret: str = OWNER) -> admin_pb2.Site:
    return mesh.admin.GetSite(admin_pb2.GetSiteRequest(name=name), metadata=bearer(secret)).site


def update(mesh: Mesh, *paths: str, secret: str = OWNER, **values: Any) -> admin_pb2.Site:
    site = admin_pb2.Site(**{"name": SITE, **values})
    request = admin_pb2.UpdateSiteRequest(site=site)
    request.update_mask.paths.extend(paths)
    return mesh.admin.UpdateSite(request, metadata=bearer(secret)).site


def delete(mesh: Mesh, name: str = SITE, secret: str = OWNER, etag: str = "") -> admin_pb2.Site:
    request = admin_pb2.DeleteSiteRequest(name=name, etag=etag)
    return mesh.admin.DeleteSite(request, metadata=bearer(secret)).site


def undelete(mesh: Mesh, name: str = SITE, secret: str = OWNER) -> admin_pb2.Site:
    return mesh.admin.UndeleteSite(admin_pb2.UndeleteSiteRequest(name=name), metadata=bearer(secret)).site


def listed(mesh: Mesh, *, show_deleted: bool = False, secret: str = OWNER) -> list[str]:
    request = admin_pb2.ListSitesRequest(parent="merchants/demo", show_deleted=show_deleted)
    return [site.name for site in mesh.admin.ListSites(request, metadata=bearer(secret)).sites]


@pytest.mark.parametrize("field", MUTABLE)
def test_each_field_of_the_mask_is_changed_alone(mesh: Mesh, field: str) -> None:
    before = get(mesh)
    mesh.clock.advance(1_000)
    after = update(mesh, field, **MUTABLE)
    expected = admin_pb2.Site()
    expected.CopyFrom(before)
    expected.ClearField(field)  # type: ignore[arg-type]  # a field name
    expected.MergeFrom(admin_pb2.Site(**{field: MUTABLE[field]}))
    assert after.etag != before.etag
    expected.etag = after.etag
    expected.update_time.FromMilliseconds(NOW + 1_000)
    assert after == expected == get(mesh)


def test_all_fields_are_changed_and_get_their_defaults_again(mesh: Mesh) -> None:
    before = get(mesh)
    changed = update(mesh, "*", **MUTABLE)
    assert {field: getattr(changed, field) for field in MUTABLE} == MUTABLE
    cleared = update(mesh, "*")
    for site in (before, cleared):
        site.ClearField("etag")
        site.ClearField("update_time")
    assert cleared == before


def test_without_a_mask_the_fields_that_are_set_are_changed(mesh: Mesh) -> None:
    update(mesh, "*", **MUTABLE)
    changed = update(mesh, display_name="Other")
    assert {field: getattr(changed, field) for field in MUTABLE} == {**MUTABLE, "display_name": "Other"}
    whole = get(mesh)
    whole.display_name = "Whole"
    request = admin_pb2.UpdateSiteRequest(site=whole)
    assert mesh.admin.UpdateSite(request, metadata=bearer(OWNER)).site.display_name == "Whole"


@pytest.mark.parametrize("field", ["cookieless_counting", "identify_by_user_id"])
def test_a_switch_is_turned_off_by_the_mask_and_not_silently_ignored_without(mesh: Mesh, field: str) -> None:
    off: dict[str, Any] = {field: False}
    before = update(mesh, "*", **MUTABLE)
    found = refusal(lambda: update(mesh, etag=before.etag, **off))
    assert (found.code, found.field) == (grpc.StatusCode.INVALID_ARGUMENT, "update_mask")
    assert field in found.message
    assert get(mesh) == before
    assert not getattr(update(mesh, field, **off), field)


def test_update_that_changes_nothing_keeps_etag_and_time(mesh: Mesh) -> None:
    changed = update(mesh, "display_name", display_name="Shop")
    mesh.clock.advance(1_000)
    assert update(mesh, "display_name", display_name="Shop") == changed


@pytest.mark.parametrize(
    ("path", "cure"),
    [
        ("visit_policy", "hitmesh policy schedule"),
        ("visit_policy_changes", "hitmesh policy schedule"),
        ("time_zone", "leave it out of update_mask"),
        ("spread", "leave it out"),
        ("delete_time", "leave it out"),
        ("etag", "leave it out"),
        ("nonsense", "name only display_name"),
    ],
)
def test_other_fields_are_refused_by_name_with_the_cure(mesh: Mesh, path: str, cure: str) -> None:
    found = refusal(lambda: update(mesh, path))
    assert (found.code, found.field) == (grpc.StatusCode.INVALID_ARGUMENT, "update_mask")
    assert repr(path) in found.message
    assert cure in found.message


def test_other_values_of_immutable_fields_are_refused(mesh: Mesh) -> None:
    for paths in ((), ("*",)):
        found = refusal(lambda: update(mesh, *paths, currency="EUR"))  # noqa: B023 called at once
        assert found.field == "site.currency"


def test_update_and_deletion_with_an_old_etag_are_aborted(mesh: Mesh) -> None:
    old = get(mesh).etag
    update(mesh, "display_name", display_name="Shop", etag=old)
    for field, call in (
        ("site.etag", lambda: update(mesh, "display_name", display_name="Late", etag=old)),
        ("etag", lambda: delete(mesh, etag=old)),
    ):
        found = refusal(call)
        assert (found.code, found.reason, found.field) == (grpc.StatusCode.ABORTED, "ETAG_MISMATCH", field)
    etag = get(mesh).etag
    mesh.stores.directory.change_policy(SITE, PolicyChange(30_000, False, False))
    assert refusal(lambda: delete(mesh, etag=etag)).reason == "ETAG_MISMATCH"
    assert delete(mesh, etag=get(mesh).etag).HasField("delete_time")


def test_of_concurrent_updates_with_the_same_etag_exactly_one_is_stored(mesh: Mesh) -> None:
    etag = get(mesh).etag

    def name(text: str) -> str:
        try:
            return update(mesh, "display_name", display_name=text, etag=etag).display_name
        except grpc.RpcError as error:
            return str(error.code())

    with ThreadPoolExecutor(4) as pool:
        results = sorted(pool.map(name, "abcd"))
    assert results[:3] == [str(grpc.StatusCode.ABORTED)] * 3
    assert get(mesh).display_name == results[3]


def test_update_that_another_caller_overtakes_is_refused_by_its_etag_or_keeps_both_changes(mesh: Mesh) -> None:
    directory, others = mesh.stores.directory, iter(["first.example", "second.example"])
    change = directory.change_site

    def overtaken(stored: Site, changed: Site) -> bool:
        other = next(others, None)
        if other is not None:
            change(stored, replace(stored, own_hosts=(other,), revision=stored.revision + 1))
        return change(stored, changed)

    etag = get(mesh).etag
    directory.change_site = overtaken  # type: ignore[method-assign]
    aborted = refusal(lambda: update(mesh, "display_name", display_name="Late", etag=etag))
    assert (aborted.code, aborted.reason) == (grpc.StatusCode.ABORTED, "ETAG_MISMATCH")
    both = update(mesh, "display_name", display_name="Shop")
    assert (both.display_name, list(both.own_hosts)) == ("Shop", ["second.example"])


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ("https://Shop.Example", "https://shop.example"),
        ("https://shop.example:443", "https://shop.example"),
        ("http://localhost:8080", "http://localhost:8080"),
        ("http://[::1]:8080", "http://[::1]:8080"),
        ("https://*.shop.example:8443", "https://*.shop.example:8443"),
        ("https://bücher.example", "https://xn--bcher-kva.example"),
    ],
)
def test_origins_are_stored_as_browsers_send_them(mesh: Mesh, given: str, stored: str) -> None:
    assert list(update(mesh, "allowed_origins", allowed_origins=[given, given]).allowed_origins) == [stored]


@pytest.mark.parametrize(
    "origin",
    [
        *("", "*", "null", "shop.example", "https://", "https://*", "https://*.com", "https://a.*.example"),
        *("ftp://a.example", "https://a.example/", "https://u@a.example", "https://a.example:0x1"),
        *("https://a.example:65536", "https://a..b"),
        *("https://a.example:0", "http://a.example:00000", "https://a.example:0443", "https://a.example:"),
        *("http\u017f://shop.example", "https://[::1", "https://*.[::1]", "https://[zz]"),
    ],
)
def test_text_that_is_not_an_origin_is_refused(mesh: Mesh, origin: str) -> None:
    assert refusal(lambda: update(mesh, "allowed_origins", allowed_origins=[origin])).field == "site.allowed_origins"


def test_hosts_are_stored_in_lower_case_ascii(mesh: Mesh) -> None:
    hosts = update(mesh, "own_hosts", own_hosts=["Shop.Example.", "bücher.example", "shop.example"]).own_hosts
    assert list(hosts) == ["shop.example", "xn--bcher-kva.example"]
    for host in ("", "https://a.example", "a.example:80", "a.example/x", "*.a.example", "a b", "x" * 254):
        assert refusal(lambda: update(mesh, "own_hosts", own_hosts=[host])).field == "site.own_hosts"  # noqa: B023
    many = [f"h{number}.example" for number in range(51)]
    assert refusal(lambda: update(mesh, "own_hosts", own_hosts=many)).field == "site.own_hosts"
    assert len(update(mesh, "own_hosts", own_hosts=many[:50]).own_hosts) == 50


def test_new_site_has_the_values_of_the_request(mesh: Mesh) -> None:
    request = admin_pb2.CreateSiteRequest(parent="merchants/demo", site_id="new", site=admin_pb2.Site(**MUTABLE))
    created = mesh.admin.CreateSite(request, metadata=bearer(OWNER)).site
    assert {field: getattr(created, field) for field in MUTABLE} == MUTABLE
    request = admin_pb2.CreateSiteRequest(parent="merchants/demo", site_id="plain")
    plain = mesh.admin.CreateSite(request, metadata=bearer(OWNER)).site
    assert plain.consent_by_default
    assert plain.update_time == plain.create_time


def create(mesh: Mesh, **values: Any) -> admin_pb2.Site:
    request = admin_pb2.CreateSiteRequest(parent="merchants/demo", site_id="new", site=admin_pb2.Site(**values))
    return mesh.admin.CreateSite(request, metadata=bearer(OWNER)).site


OTHER: Mapping[str, Any] = {
    "display_name": "Other",
    "own_hosts": ["other.example"],
    "allowed_origins": ["https://other.example"],
    "consent_by_default": True,
    "store_network": False,
    "spread": 3,
}


@pytest.mark.parametrize("field", OTHER)
def test_name_of_a_site_with_another_value_is_taken(mesh: Mesh, field: str) -> None:
    stored = create(mesh, **MUTABLE)
    found = refusal(lambda: create(mesh, **{**MUTABLE, field: OTHER[field]}))
    assert (found.code, found.field) == (grpc.StatusCode.ALREADY_EXISTS, f"site.{field}")
    assert ("UpdateSite" in found.message) == (field != "spread")
    assert get(mesh, stored.name) == stored


@pytest.mark.parametrize("field", ["cookieless_counting", "identify_by_user_id"])
def test_name_of_a_site_with_a_switch_that_is_off_is_taken(mesh: Mesh, field: str) -> None:
    create(mesh)
    found = refusal(lambda: create(mesh, **{field: True}))
    assert (found.code, found.field) == (grpc.StatusCode.ALREADY_EXISTS, f"site.{field}")


def test_values_that_a_repeated_request_does_not_set_are_not_compared(mesh: Mesh) -> None:
    values = {"own_hosts": ["Shop.Example."], "allowed_origins": ["https://Shop.Example:443"]}
    created = create(mesh, **MUTABLE)
    assert create(mesh) == create(mesh, **values) == create(mesh, **MUTABLE) == created
    changed = update(mesh, "*", name=created.name, own_hosts=["shop.example"], allowed_origins=["https://shop.example"])
    assert create(mesh, **values) == changed


def calls_about(mesh: Mesh, site: str, secret: str) -> dict[str, Callable[[], object]]:
    """Return a call of each RPC about a site."""
    metadata = bearer(secret)
    browser = admin_pb2.IngestKey(kind=admin_pb2.KEY_KIND_BROWSER, site=site)
    change = admin_pb2.VisitPolicyChange(visit_policy=admin_pb2.VisitPolicy())
    return {
        "GetSite": lambda: get(mesh, site, secret),
        "UpdateSite": lambda: update(mesh, name=site, secret=secret),
        "DeleteSite": lambda: delete(mesh, site, secret),
        "ScheduleVisitPolicy": lambda: mesh.admin.ScheduleVisitPolicy(
            admin_pb2.ScheduleVisitPolicyRequest(name=site, change=change), metadata=metadata
        ),
        "CreateIngestKey": lambda: mesh.admin.CreateIngestKey(
            admin_pb2.CreateIngestKeyRequest(parent="merchants/demo", key=browser), metadata=metadata
        ),
        "GetQuota": lambda: mesh.admin.GetQuota(quotas_pb2.GetQuotaRequest(name=f"{site}/quota"), metadata=metadata),
        "ListExclusionRules": lambda: mesh.admin.ListExclusionRules(
            rules_pb2.ListExclusionRulesRequest(parent=site), metadata=metadata
        ),
        "CreateExclusionRule": lambda: mesh.admin.CreateExclusionRule(
            rules_pb2.CreateExclusionRuleRequest(parent=site), metadata=metadata
        ),
        "RunReport": lambda: mesh.reporter.RunReport(a_question(site=site), metadata=metadata),
        "GetFreshness": lambda: mesh.reporter.GetFreshness(
            reporter_pb2.GetFreshnessRequest(site=site), metadata=metadata
        ),
        "GetLedger": lambda: mesh.operations.GetLedger(operations_pb2.GetLedgerRequest(site=site), metadata=metadata),
        "GetDrift": lambda: mesh.operations.GetDrift(operations_pb2.GetDriftRequest(site=site), metadata=metadata),
    }


def in_words(found: Refusal, site: str) -> tuple[grpc.StatusCode, str, str, str]:
    return found.code, found.reason, found.field, found.message.replace(site, "merchants/…")


def test_deleted_site_is_missing_in_the_words_for_a_site_that_never_existed(mesh: Mesh) -> None:
    delete(mesh)
    never = "merchants/demo/sites/never"
    found = {name: in_words(refusal(call), SITE) for name, call in calls_about(mesh, SITE, OWNER).items()}
    expected = {name: in_words(refusal(call), never) for name, call in calls_about(mesh, never, OWNER).items()}
    assert found == expected
    assert {code for code, *_ in found.values()} == {grpc.StatusCode.NOT_FOUND}


@pytest.mark.parametrize("call", [update, delete, undelete])
def test_site_of_another_merchant_is_missing(mesh: Mesh, call: Callable[..., admin_pb2.Site]) -> None:
    never = "merchants/rival/sites/never"
    found = refusal(lambda: call(mesh, secret=RIVAL))
    assert found.code is grpc.StatusCode.NOT_FOUND
    missing = refusal(lambda: call(mesh, name=never, secret=RIVAL))
    assert in_words(found, SITE) == in_words(missing, never)


def test_deleted_site_is_listed_only_on_request_and_its_name_stays_taken(mesh: Mesh) -> None:
    deleted = delete(mesh)
    assert deleted.delete_time.ToMilliseconds() == NOW
    assert listed(mesh) == []
    assert listed(mesh, show_deleted=True) == [SITE]
    request = admin_pb2.CreateSiteRequest(parent="merchants/demo", site_id=SITE.rpartition("/")[2])
    taken = refusal(lambda: mesh.admin.CreateSite(request, metadata=bearer(OWNER)))
    assert taken.code is grpc.StatusCode.ALREADY_EXISTS
    assert "hitmesh sites undelete" in taken.message


def test_site_is_restored_within_30_days(mesh: Mesh) -> None:
    before = get(mesh)
    delete(mesh, secret=OPERATOR)
    mesh.clock.advance(30 * DAY_MS)
    restored = undelete(mesh, secret=OPERATOR)
    assert undelete(mesh) == get(mesh) == restored
    before.etag = restored.etag
    before.update_time.CopyFrom(restored.update_time)
    assert restored == before
    delete(mesh)
    mesh.clock.advance(30 * DAY_MS + 1)
    late = refusal(lambda: undelete(mesh))
    assert (late.code, late.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "WRONG_STATE")
    assert refusal(lambda: undelete(mesh, "merchants/demo/sites/never")).code is grpc.StatusCode.NOT_FOUND


def test_site_of_a_deleted_merchant_is_not_restored(mesh: Mesh) -> None:
    request = merchants_pb2.DeleteMerchantRequest(name="merchants/demo", force=True)
    mesh.admin.DeleteMerchant(request, metadata=bearer(OPERATOR))
    found = refusal(lambda: undelete(mesh, secret=OPERATOR))
    assert found.code is grpc.StatusCode.NOT_FOUND
