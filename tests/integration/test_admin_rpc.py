"""Test sites, keys and the permissions of each kind of key, over gRPC, on in-memory stores."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date, timedelta
from typing import Any

import grpc
import pytest

from control.rpc.admin.key_messages import ROLES
from hitmesh.access.roles import is_valid_sender, roles_of
from hitmesh.api.control.v1 import admin_pb2
from hitmesh.api.reporter.v1 import export_pb2, reporter_pb2
from hitmesh.model.days import date_text
from hitmesh.model.merchants import Merchant
from hitmesh.model.sites import MAX_POLICY_CHANGES, IngestKey, KeyKind, PolicyChange
from tests.support.dates import a_date
from tests.support.pieces import joined
from tests.support.reporters import NOW, OWNER, RIVAL, Mesh, a_question, a_site, bearer, refusal, start
from tests.support.settled_rows import SITE

SEND, READ, ADMINISTER = admin_pb2.KEY_ROLE_SEND, admin_pb2.KEY_ROLE_READ, admin_pb2.KEY_ROLE_ADMINISTER


@pytest.fixture
def mesh() -> Iterator[Mesh]:
    yield from start(open_reads=True)


@pytest.fixture
def closed() -> Iterator[Mesh]:
    yield from start(open_reads=False)


def create_site(mesh: Mesh, secret: str | None, parent: str = "merchants/demo", **site: object) -> admin_pb2.Site:
    request = admin_pb2.CreateSiteRequest(
        parent=parent,
        site_id="new",
        site=admin_pb2.Site(**site),  # type: ignore[arg-type]  # protobuf checks the fields
    )
    return mesh.admin.CreateSite(request, metadata=bearer(secret) if secret else None).site


def test_the_currency_of_a_site_may_be_written_in_any_case(mesh: Mesh) -> None:
    assert create_site(mesh, OWNER, currency="eur").currency == "EUR"
    assert create_site(mesh, OWNER, currency="EUR").currency == "EUR"
    assert refusal(lambda: create_site(mesh, OWNER, currency="abc")).reason == "UNKNOWN_CURRENCY"


def test_a_site_is_created_with_defaults_and_again_is_the_same(mesh: Mesh) -> None:
    site = create_site(mesh, OWNER)
    assert (site.name, site.time_zone, site.currency, site.spread) == ("merchants/demo/sites/new", "UTC", "USD", 1)
    assert site.create_time.ToMilliseconds() == NOW
    assert create_site(mesh, OWNER) == site
    assert mesh.admin.GetSite(admin_pb2.GetSiteRequest(name=site.name)).site == site
    found = refusal(lambda: create_site(mesh, OWNER, currency="EUR"))
    assert (found.code, found.reason) == (grpc.StatusCode.ALREADY_EXISTS, "ALREADY_EXISTS")


def test_a_policy_is_named_by_what_differs(mesh: Mesh) -> None:
    create_site(mesh, OWNER, visit_policy=admin_pb2.VisitPolicy(split_at_local_midnight=True))
    stored = mesh.stores.directory.site("merchants/demo/sites/new")
    assert stored is not None
    assert (stored.policy.version, stored.policy.split_at_local_midnight) == ("v1-midnight", True)
    assert len(stored.secret) >= 32


@pytest.mark.parametrize("option", ["cookieless_counting", "identify_by_user_id"])
def test_each_option_of_privacy_is_stored_and_shown_by_itself(mesh: Mesh, option: str) -> None:
    shown = create_site(mesh, OWNER, **{option: True})  # type: ignore[arg-type]  # protobuf checks the fields
    stored = mesh.stores.directory.site(shown.name)
    assert stored is not None
    for site in (shown, stored):
        assert [name for name in ("cookieless_counting", "identify_by_user_id") if getattr(site, name)] == [option]


def test_campaign_keeps_visit_is_stored_in_the_policy(mesh: Mesh) -> None:
    shown = create_site(mesh, OWNER, visit_policy=admin_pb2.VisitPolicy(campaign_keeps_visit=True))
    stored = mesh.stores.directory.site(shown.name)
    assert stored is not None
    assert (stored.policy.version, stored.policy.campaign_splits) == ("v1-campaign-keeps", False)
    assert shown.visit_policy.campaign_keeps_visit


@pytest.mark.parametrize(
    ("site", "field"),
    [
        ({"time_zone": "Berlin"}, "site.time_zone"),
        ({"currency": "usx"}, "site.currency"),
        ({"spread": 65}, "site.spread"),
        ({"spread": 0}, "site.spread"),
    ],
)
def test_a_bad_site_names_its_field(mesh: Mesh, site: dict[str, object], field: str) -> None:
    found = refusal(lambda: create_site(mesh, OWNER, "merchants/demo", **site))
    assert (found.code, found.field) == (grpc.StatusCode.INVALID_ARGUMENT, field)


def test_a_key_is_created_used_and_revoked(mesh: Mesh) -> None:
    request = admin_pb2.CreateIngestKeyRequest(
        parent="merchants/demo",
        key=admin_pb2.IngestKey(kind=admin_pb2.KEY_KIND_SERVER, unbounded_history=True, roles=[ADMINISTER]),
    )
    created = mesh.admin.CreateIngestKey(request, metadata=bearer(OWNER))
    assert created.secret
    assert created.secret not in str(created.key)
    assert not created.key.HasField("site")
    create_site(mesh, created.secret)
    revoke = admin_pb2.RevokeIngestKeyRequest(name=created.key.name)
    revoked = mesh.admin.RevokeIngestKey(revoke, metadata=bearer(OWNER)).key
    assert revoked.revoke_time.ToMilliseconds() == NOW
    mesh.clock.advance(5_000)
    assert mesh.admin.RevokeIngestKey(revoke, metadata=bearer(OWNER)).key == revoked
    found = refusal(lambda: create_site(mesh, created.secret))
    assert (found.code, found.reason) == (grpc.StatusCode.UNAUTHENTICATED, "KEY_REVOKED")


def create_key(
    mesh: Mesh, secret: str | None, parent: str = "merchants/demo", **fields: object
) -> admin_pb2.CreateIngestKeyResponse:
    filled: dict[str, object] = {"kind": admin_pb2.KEY_KIND_BROWSER, "site": SITE} | fields
    key = admin_pb2.IngestKey(**filled)  # type: ignore[arg-type]  # protobuf checks the fields
    request = admin_pb2.CreateIngestKeyRequest(parent=parent, key=key)
    return mesh.admin.CreateIngestKey(request, metadata=bearer(secret) if secret else None)


def test_calls_without_a_key_of_the_merchant_that_may_administer_change_nothing(mesh: Mesh) -> None:
    for secret, code, reason in (
        (None, grpc.StatusCode.UNAUTHENTICATED, "UNKNOWN_KEY"),
        ("guess", grpc.StatusCode.UNAUTHENTICATED, "UNKNOWN_KEY"),
        (RIVAL, grpc.StatusCode.NOT_FOUND, "NOT_FOUND"),
        (create_key(mesh, OWNER).secret, grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED"),
        (create_key(mesh, OWNER, kind=admin_pb2.KEY_KIND_EDGE).secret, grpc.StatusCode.PERMISSION_DENIED, ""),
        (create_key(mesh, OWNER, kind=admin_pb2.KEY_KIND_SERVER).secret, grpc.StatusCode.PERMISSION_DENIED, ""),
    ):
        revoke = admin_pb2.RevokeIngestKeyRequest(name="merchants/demo/ingestKeys/demo-1")
        metadata = bearer(secret) if secret else None
        for found in (
            refusal(lambda: create_site(mesh, secret)),  # noqa: B023 called at once
            refusal(lambda: create_key(mesh, secret)),  # noqa: B023 called at once
            refusal(lambda: mesh.admin.RevokeIngestKey(revoke, metadata=metadata)),  # noqa: B023 called at once
        ):
            assert found.code is code
            assert found.reason == (reason or "PERMISSION_DENIED")
    assert mesh.stores.directory.site("merchants/demo/sites/new") is None
    owner = mesh.stores.directory.key(OWNER)
    assert owner is not None
    assert owner.revoked_at is None


def test_a_key_for_a_rivals_site_is_not_found_as_one_for_none(mesh: Mesh) -> None:
    for site in ("merchants/rival/sites/shop", "merchants/rival/sites/none", "merchants/demo/sites/none"):
        found = refusal(lambda: create_key(mesh, OWNER, site=site))  # noqa: B023 called at once
        assert (found.code, found.field) == (grpc.StatusCode.NOT_FOUND, "key.site")
        assert found.message.startswith(f"site {site!r} does not exist or is not yours: ")


def test_a_key_of_another_merchant_is_not_found_under_ones_own(mesh: Mesh) -> None:
    revoke = admin_pb2.RevokeIngestKeyRequest(name="merchants/demo/ingestKeys/rival-1")
    found = refusal(lambda: mesh.admin.RevokeIngestKey(revoke, metadata=bearer(OWNER)))
    assert found.code is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"kind": admin_pb2.KEY_KIND_UNSPECIFIED}, "key.kind"),
        ({"site": ""}, "key.site"),
        ({"site": None}, "key.site"),
        ({"kind": admin_pb2.KEY_KIND_SERVER, "site": ""}, "key.site"),
        ({"parent": "demo"}, "parent"),
        ({"unbounded_history": True}, "key.unbounded_history"),
        ({"kind": admin_pb2.KEY_KIND_EDGE, "unbounded_history": True}, "key.unbounded_history"),
        ({"roles": [admin_pb2.KEY_ROLE_UNSPECIFIED]}, "key.roles"),
        ({"roles": [99]}, "key.roles"),
        ({"roles": [READ]}, "key.roles"),
        ({"kind": admin_pb2.KEY_KIND_EDGE, "roles": [SEND, READ]}, "key.roles"),
        ({"kind": admin_pb2.KEY_KIND_SERVER, "roles": [ADMINISTER]}, "key.roles"),
    ],
)
def test_a_bad_key_names_its_field(mesh: Mesh, fields: dict[str, Any], field: str) -> None:
    found = refusal(lambda: create_key(mesh, OWNER, **fields))
    assert (found.code, found.field) == (grpc.StatusCode.INVALID_ARGUMENT, field)


@pytest.mark.parametrize(
    ("wanted", "roles"),
    [([], [SEND]), ([READ], [READ]), ([READ, SEND, READ], [SEND, READ]), ([ADMINISTER], [ADMINISTER])],
)
def test_a_key_has_the_roles_that_it_was_created_with_and_without_roles_it_sends(
    mesh: Mesh, wanted: list[admin_pb2.KeyRole.ValueType], roles: list[admin_pb2.KeyRole.ValueType]
) -> None:
    created = create_key(mesh, OWNER, kind=admin_pb2.KEY_KIND_SERVER, site=None, roles=wanted)
    assert list(created.key.roles) == roles
    key = mesh.stores.directory.key(created.secret)
    assert key is not None
    assert roles_of(key) == {ROLES[number] for number in roles}
    revoke = admin_pb2.RevokeIngestKeyRequest(name=created.key.name)
    assert mesh.admin.RevokeIngestKey(revoke, metadata=bearer(OWNER)).key.roles == roles


def test_a_server_key_without_further_roles_neither_reads_nor_administers(closed: Mesh) -> None:
    secret = create_key(closed, OWNER, kind=admin_pb2.KEY_KIND_SERVER, site=None).secret
    for call in (*reads(closed, SITE, secret), lambda: create_site(closed, secret), lambda: create_key(closed, secret)):
        found = refusal(call)
        assert (found.code, found.field) == (grpc.StatusCode.PERMISSION_DENIED, "authorization")
        assert found.message.startswith("the server key has only the role send, and this call needs the role ")


def test_a_key_of_an_earlier_version_sends_only(closed: Mesh) -> None:
    closed.stores.directory.create_key(IngestKey("old", "merchants/demo", KeyKind.SERVER), "old-secret")
    for call in reads(closed, SITE, "old-secret"):
        assert refusal(call).code is grpc.StatusCode.PERMISSION_DENIED
    key = closed.stores.directory.key("old-secret")
    assert is_valid_sender(key, closed.clock.now())


def test_a_key_that_reads_creates_no_key_and_no_key_with_unbounded_history(closed: Mesh) -> None:
    secret = create_key(closed, OWNER, kind=admin_pb2.KEY_KIND_SERVER, site=None, roles=[SEND, READ]).secret
    for fields in ({"roles": [ADMINISTER]}, {"unbounded_history": True}, {}):
        wanted = {"kind": admin_pb2.KEY_KIND_SERVER, "site": None} | fields
        found = refusal(lambda: create_key(closed, secret, **wanted))  # noqa: B023 called at once
        assert found.code is grpc.StatusCode.PERMISSION_DENIED
        assert found.message.startswith("the server key has only the roles read, send, ")


def reads(mesh: Mesh, site: str, secret: str | None) -> list[Callable[[], object]]:
    """Return a request for every RPC that reads data of a site."""
    metadata = bearer(secret) if secret else None
    exported = export_pb2.ExportReportRequest(site=site, metrics=["hits"], last="1d")
    listed = admin_pb2.ListSitesRequest(parent=site.split("/sites/")[0])
    return [
        lambda: mesh.reporter.RunReport(a_question(site=site), metadata=metadata),
        lambda: mesh.reporter.RunReport(a_question(site=site.rsplit("/", 1)[0] + "/-"), metadata=metadata),
        lambda: joined(mesh.exports.ExportReport(exported, metadata=metadata)),
        lambda: mesh.reporter.GetFreshness(reporter_pb2.GetFreshnessRequest(site=site), metadata=metadata),
        lambda: mesh.admin.GetSite(admin_pb2.GetSiteRequest(name=site), metadata=metadata),
        lambda: mesh.admin.ListSites(listed, metadata=metadata),
    ]


def test_closed_reads_need_a_server_key_of_the_merchant(closed: Mesh) -> None:
    for call in reads(closed, SITE, OWNER):
        call()
    for call in reads(closed, SITE, RIVAL):
        assert refusal(call).code is grpc.StatusCode.NOT_FOUND
    for call in reads(closed, SITE, None):
        assert refusal(call).code is grpc.StatusCode.UNAUTHENTICATED
    for call in reads(closed, SITE, create_key(closed, OWNER).secret):
        found = refusal(call)
        assert (found.code, found.field) == (grpc.StatusCode.PERMISSION_DENIED, "authorization")
        assert found.message.startswith("the browser key has only the role send, and this call needs the role read: ")


def test_a_rivals_site_and_a_missing_site_have_the_same_error_message(closed: Mesh) -> None:
    messages = {
        refusal(call).message.replace(name, "NAME")
        for name in ("merchants/rival/sites/shop", "merchants/rival/sites/none")
        for call in (reads(closed, name, OWNER)[0], reads(closed, name, OWNER)[3], reads(closed, name, OWNER)[4])
    }
    (message,) = messages
    assert message.startswith("site 'NAME' does not exist or is not yours: ")


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_scheme_of_a_key_may_be_written_in_any_case(closed: Mesh, scheme: str) -> None:
    request = admin_pb2.ListSitesRequest(parent="merchants/demo")
    assert closed.admin.ListSites(request, metadata=(("authorization", f"{scheme} {OWNER}"),)).sites
    other = (("authorization", f"Basic! {OWNER}"),)
    assert refusal(lambda: closed.admin.ListSites(request, metadata=other)).code is grpc.StatusCode.UNAUTHENTICATED


def test_a_key_for_one_site_reads_no_other(closed: Mesh) -> None:
    closed.stores.directory.create_site(a_site("merchants/demo/sites/blog"))
    secret = create_key(closed, OWNER, kind=admin_pb2.KEY_KIND_SERVER, roles=[READ]).secret
    closed.reporter.RunReport(a_question(), metadata=bearer(secret))
    other = a_question(site="merchants/demo/sites/blog")
    assert refusal(lambda: closed.reporter.RunReport(other, metadata=bearer(secret))).code is grpc.StatusCode.NOT_FOUND
    every = a_question(site="merchants/demo/sites/-")
    assert refusal(lambda: closed.reporter.RunReport(every, metadata=bearer(secret))).code is grpc.StatusCode.NOT_FOUND
    for parent in ("merchants/-", "merchants/demo"):
        listed = closed.admin.ListSites(admin_pb2.ListSitesRequest(parent=parent), metadata=bearer(secret))
        assert [site.name for site in listed.sites] == [SITE]


def test_sites_are_listed_by_name_in_pages(mesh: Mesh) -> None:
    for name in ("a", "b", "c"):
        mesh.stores.directory.create_site(a_site(f"merchants/demo/sites/{name}"))
    found: list[str] = []
    token = ""
    while True:
        request = admin_pb2.ListSitesRequest(parent="merchants/demo", page_size=2, page_token=token)
        page = mesh.admin.ListSites(request)
        found += [site.name.rsplit("/", 1)[1] for site in page.sites]
        token = page.next_page_token
        if not token:
            break
    assert found == ["a", "b", "c", "shop"]
    everyone = mesh.admin.ListSites(admin_pb2.ListSitesRequest(parent="merchants/-", page_size=5_000)).sites
    assert len(everyone) == 5


def test_a_request_of_more_than_a_mebibyte_is_refused(mesh: Mesh) -> None:
    request = admin_pb2.ListSitesRequest(parent="merchants/demo", page_token="A" * (1 << 20))
    with pytest.raises(grpc.RpcError) as caught:
        mesh.admin.ListSites(request)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_page_has_at_most_1000_sites(mesh: Mesh) -> None:
    mesh.stores.merchants.create_merchant(Merchant("merchants/many"))
    for number in range(1_001):
        mesh.stores.directory.create_site(a_site(f"merchants/many/sites/s{number:04}"))
    page = mesh.admin.ListSites(admin_pb2.ListSitesRequest(parent="merchants/many", page_size=5_000))
    assert (len(page.sites), bool(page.next_page_token)) == (1_000, True)


def test_a_page_token_of_another_list_is_refused(mesh: Mesh) -> None:
    mesh.stores.directory.create_site(a_site("merchants/demo/sites/a"))
    token = mesh.admin.ListSites(admin_pb2.ListSitesRequest(parent="merchants/demo", page_size=1)).next_page_token
    for bad in (token, "???", "AAAA"):
        request = admin_pb2.ListSitesRequest(parent="merchants/rival", page_token=bad)
        assert refusal(lambda: mesh.admin.ListSites(request)).reason == "PAGE_TOKEN_MISMATCH"  # noqa: B023 called at once
    negative = admin_pb2.ListSitesRequest(parent="merchants/demo", page_size=-1)
    assert refusal(lambda: mesh.admin.ListSites(negative)).field == "page_size"


def test_listing_all_sites_returns_only_those_of_the_owner(closed: Mesh) -> None:
    listed = closed.admin.ListSites(admin_pb2.ListSitesRequest(parent="merchants/-"), metadata=bearer(OWNER))
    assert [site.name for site in listed.sites] == [SITE]


def schedule(mesh: Mesh, day: str, secret: str | None = OWNER, name: str = SITE, **policy: bool) -> admin_pb2.Site:
    change = admin_pb2.VisitPolicyChange(first_utc_date=a_date(day), visit_policy=admin_pb2.VisitPolicy(**policy))
    request = admin_pb2.ScheduleVisitPolicyRequest(name=name, change=change)
    return mesh.admin.ScheduleVisitPolicy(request, metadata=bearer(secret) if secret else None).site


def test_a_change_of_the_visit_policy_is_stored_shown_and_never_edited(mesh: Mesh) -> None:
    day = date_text(mesh.clock.now() // 86_400_000 + 9)
    site = schedule(mesh, day, campaign_keeps_visit=True)
    (change,) = site.visit_policy_changes
    assert (change.first_utc_date, change.visit_policy.campaign_keeps_visit) == (a_date(day), True)
    assert schedule(mesh, day, campaign_keeps_visit=True) == site
    assert mesh.admin.GetSite(admin_pb2.GetSiteRequest(name=SITE), metadata=bearer(OWNER)).site == site
    assert refusal(lambda: schedule(mesh, day, split_at_local_midnight=True)).code is grpc.StatusCode.ALREADY_EXISTS


def test_a_change_of_the_visit_policy_begins_hours_ahead(mesh: Mesh) -> None:
    midnight = mesh.clock.now() - mesh.clock.now() % 86_400_000
    today = date.fromisoformat(date_text(midnight // 86_400_000))
    tomorrow = str(today + timedelta(days=1))
    mesh.clock.advance(midnight + 22 * 3_600_000 - mesh.clock.now())
    assert schedule(mesh, tomorrow).visit_policy_changes[0].first_utc_date == a_date(tomorrow)
    mesh.clock.advance(1)
    for day in (str(today), tomorrow, str(today + timedelta(days=367))):
        found = refusal(lambda: schedule(mesh, day))  # noqa: B023 called at once
        assert (found.code, found.field) == (grpc.StatusCode.INVALID_ARGUMENT, "change.first_utc_date")
        assert "must begin at least 2 hours and at most 366 days from now" in found.message


def test_only_the_owner_changes_the_visit_policy(mesh: Mesh) -> None:
    for secret, code in ((RIVAL, grpc.StatusCode.NOT_FOUND), (None, grpc.StatusCode.UNAUTHENTICATED)):
        assert refusal(lambda: schedule(mesh, "2016-01-01", secret)).code is code  # noqa: B023 called at once
    none = "merchants/demo/sites/none"
    found = refusal(lambda: schedule(mesh, date_text(mesh.clock.now() // 86_400_000 + 5), name=none))
    assert found.code is grpc.StatusCode.NOT_FOUND
    stored = mesh.stores.directory.site(SITE)
    assert stored is not None
    assert not stored.policy_changes


def test_a_change_without_a_policy_or_a_date_is_refused(mesh: Mesh) -> None:
    day = a_date(date_text(mesh.clock.now() // 86_400_000 + 5))
    for change, field in (
        (admin_pb2.VisitPolicyChange(first_utc_date=day), "change.visit_policy"),
        (admin_pb2.VisitPolicyChange(visit_policy=admin_pb2.VisitPolicy()), "change.first_utc_date"),
    ):
        request = admin_pb2.ScheduleVisitPolicyRequest(name=SITE, change=change)
        found = refusal(lambda: mesh.admin.ScheduleVisitPolicy(request, metadata=bearer(OWNER)))  # noqa: B023 called at once
        assert (found.code, found.field) == (grpc.StatusCode.INVALID_ARGUMENT, field)


def test_a_site_has_a_limited_number_of_changes_of_its_visit_policy(mesh: Mesh) -> None:
    today = mesh.clock.now() // 86_400_000
    for number in range(MAX_POLICY_CHANGES):
        mesh.stores.directory.change_policy(SITE, PolicyChange(today + 2 + number, number % 2 == 0, False))
    found = refusal(lambda: schedule(mesh, date_text(today + 2 + MAX_POLICY_CHANGES)))
    assert (found.code, found.field) == (grpc.StatusCode.INVALID_ARGUMENT, "change")
    assert len(schedule(mesh, date_text(today + 2)).visit_policy_changes) == MAX_POLICY_CHANGES
