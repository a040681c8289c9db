"""Test exclusion rules over gRPC, on in-memory stores: values, permissions, tenants, and plans that apply rules."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import grpc
import pytest
from google.protobuf.message import Message

from hitmesh.access.roles import MERCHANT_ROLES
from hitmesh.api.control.v1 import admin_pb2, reprocessing_pb2, rules_pb2
from hitmesh.model.sites import IngestKey, KeyKind, SiteDay
from hitmesh.model.zones import DAY_MS
from tests.support.dates import a_date
from tests.support.published_days import publish_day
from tests.support.rebuilt_days import UTC_DAY, a_ledger
from tests.support.reporters import NOW, OPERATOR, OWNER, RIVAL, Mesh, bearer, refusal, start
from tests.support.settled_rows import SITE
from tests.support.site_rules import store_networks

RIVAL_SITE = "merchants/rival/sites/shop"
COUNTRY, PAGE, NETWORK = (
    rules_pb2.EXCLUSION_RULE_KIND_COUNTRY,
    rules_pb2.EXCLUSION_RULE_KIND_PAGE,
    rules_pb2.EXCLUSION_RULE_KIND_NETWORK,
)


@pytest.fixture
def mesh() -> Iterator[Mesh]:
    yield from start(open_reads=False)


def create(
    mesh: Mesh,
    kind: rules_pb2.ExclusionRuleKind.ValueType,
    value: str,
    secret: str | None = OWNER,
    *,
    site: str = SITE,
    validate_only: bool = False,
) -> rules_pb2.CreateExclusionRuleResponse:
    request = rules_pb2.CreateExclusionRuleRequest(
        parent=site, rule=rules_pb2.ExclusionRule(kind=kind, value=value), validate_only=validate_only
    )
    return mesh.admin.CreateExclusionRule(request, metadata=bearer(secret) if secret else None)


def listed(mesh: Mesh, secret: str | None = OWNER, site: str = SITE) -> list[tuple[str, str]]:
    request = rules_pb2.ListExclusionRulesRequest(parent=site)
    found = mesh.admin.ListExclusionRules(request, metadata=bearer(secret) if secret else None).rules
    return [(rule.name.rpartition("/")[2], rule.value) for rule in found]


def delete(mesh: Mesh, name: str, secret: str | None = OWNER, *, validate_only: bool = False) -> int:
    request = rules_pb2.DeleteExclusionRuleRequest(name=name, validate_only=validate_only)
    return mesh.admin.DeleteExclusionRule(request, metadata=bearer(secret) if secret else None).rules_version


def store_network(mesh: Mesh, stored: bool, secret: str | None = OWNER, site: str = SITE) -> admin_pb2.Site:
    request = admin_pb2.UpdateSiteRequest(site=admin_pb2.Site(name=site, store_network=stored))
    return mesh.admin.UpdateSite(request, metadata=bearer(secret) if secret else None).site


def test_rules_are_created_listed_and_deleted_by_owner_and_operator(mesh: Mesh) -> None:
    created = create(mesh, PAGE, "^/admin/")
    assert (created.rule.name, created.rules_version) == (f"{SITE}/exclusionRules/1", 1)
    assert created.rule.create_time.ToMilliseconds() == NOW
    assert create(mesh, PAGE, "^/admin/") == created
    assert create(mesh, COUNTRY, "at", OPERATOR).rules_version == 2
    assert listed(mesh) == listed(mesh, OPERATOR) == [("1", "^/admin/"), ("2", "AT")]
    assert delete(mesh, created.rule.name) == 3
    assert refusal(lambda: delete(mesh, created.rule.name)).code is grpc.StatusCode.NOT_FOUND
    assert listed(mesh) == [("2", "AT")]


def test_validate_only_changes_nothing(mesh: Mesh) -> None:
    checked = create(mesh, COUNTRY, "at", validate_only=True)
    assert (checked.rule.name, checked.rule.value, checked.rules_version) == ("", "AT", 0)
    assert listed(mesh) == []
    kept = create(mesh, COUNTRY, "AT").rule
    assert delete(mesh, kept.name, validate_only=True) == 1
    assert listed(mesh) == [("1", "AT")]
    assert refusal(lambda: create(mesh, PAGE, "(", validate_only=True)).reason == "INVALID_REGEXP"


@pytest.mark.parametrize(
    ("call", "field", "reason"),
    [
        (lambda mesh: create(mesh, rules_pb2.EXCLUSION_RULE_KIND_UNSPECIFIED, "x"), "rule.kind", "MISSING_FIELD"),
        (lambda mesh: create(mesh, COUNTRY, "Austria"), "rule.value", "INVALID_FIELD"),
        (lambda mesh: create(mesh, NETWORK, "203.0.113.0/24"), "rule.value", "RULE_NOT_APPLICABLE"),
        (lambda mesh: create(mesh, COUNTRY, "AT", site="shop"), "parent", "INVALID_FIELD"),
        (lambda mesh: delete(mesh, f"{SITE}/exclusionRules/x"), "name", "INVALID_FIELD"),
    ],
)
def test_faulty_value_is_refused_with_its_field(
    mesh: Mesh, call: Callable[[Mesh], object], field: str, reason: str
) -> None:
    found = refusal(lambda: call(mesh))
    assert (found.field, found.reason) == (field, reason)


def test_site_stores_networks_only_where_its_owner_allows(mesh: Mesh) -> None:
    assert not mesh.admin.GetSite(admin_pb2.GetSiteRequest(name=SITE), metadata=bearer(OWNER)).site.store_network
    assert store_network(mesh, True).store_network
    create(mesh, NETWORK, "203.0.113.0/24")
    assert refusal(lambda: store_network(mesh, False)).reason == "RULE_NOT_APPLICABLE"
    request = admin_pb2.UpdateSiteRequest(site=admin_pb2.Site(name=SITE, currency="EUR"))
    request.update_mask.paths.append("currency")
    assert refusal(lambda: mesh.admin.UpdateSite(request, metadata=bearer(OWNER))).field == "update_mask"


def test_site_sent_without_a_mask_changes_only_the_fields_that_it_has(mesh: Mesh) -> None:
    def update(site: admin_pb2.Site) -> admin_pb2.Site:
        return mesh.admin.UpdateSite(admin_pb2.UpdateSiteRequest(site=site), metadata=bearer(OWNER)).site

    known = update(admin_pb2.Site(name=SITE, store_network=True))
    assert known.store_network
    assert update(admin_pb2.Site(name=SITE, currency=known.currency)) == update(known) == known
    other = admin_pb2.Site(name=SITE, time_zone="Asia/Tokyo", store_network=False)
    assert refusal(lambda: update(other)).field == "site.time_zone"
    assert refusal(lambda: update(admin_pb2.Site(name=SITE))).field == "update_mask"
    assert update(admin_pb2.Site(name=SITE, currency=known.currency)).store_network
    assert not update(admin_pb2.Site(name=SITE, store_network=False)).store_network


def calls_on(site: str) -> dict[str, Message]:
    rule = rules_pb2.ExclusionRule(kind=COUNTRY, value="AT")
    return {
        "CreateExclusionRule": rules_pb2.CreateExclusionRuleRequest(parent=site, rule=rule),
        "DeleteExclusionRule": rules_pb2.DeleteExclusionRuleRequest(name=f"{site}/exclusionRules/1"),
        "UpdateSite": admin_pb2.UpdateSiteRequest(site=admin_pb2.Site(name=site, store_network=True)),
    }


@pytest.mark.parametrize("rpc", list(calls_on(SITE)))
def test_merchant_can_change_no_rule_of_another_merchant(mesh: Mesh, rpc: str) -> None:
    kept = create(mesh, COUNTRY, "DE", RIVAL, site=RIVAL_SITE)
    site_key = IngestKey("site-1", "merchants/rival", KeyKind.SERVER, RIVAL_SITE, roles=MERCHANT_ROLES)
    mesh.stores.directory.create_key(site_key, "for one site")
    for secret, code in (
        (OWNER, grpc.StatusCode.NOT_FOUND),
        ("for one site", grpc.StatusCode.PERMISSION_DENIED),
        (None, grpc.StatusCode.UNAUTHENTICATED),
    ):
        request, metadata = calls_on(RIVAL_SITE)[rpc], bearer(secret) if secret else None
        assert refusal(lambda: getattr(mesh.admin, rpc)(request, metadata=metadata)).code is code  # noqa: B023  # called at once
    foreign, missing = (
        refusal(lambda: getattr(mesh.admin, rpc)(calls_on(site)[rpc], metadata=bearer(OWNER)))  # noqa: B023  # called at once
        for site in (RIVAL_SITE, "merchants/rival/sites/none")
    )
    assert foreign.message.replace(RIVAL_SITE, "merchants/rival/sites/none") == missing.message
    assert listed(mesh, RIVAL, RIVAL_SITE) == [(kept.rule.name.rpartition("/")[2], "DE")]


def test_merchant_can_read_no_rule_of_another_merchant(mesh: Mesh) -> None:
    create(mesh, COUNTRY, "DE", RIVAL, site=RIVAL_SITE)
    for site in (RIVAL_SITE, "merchants/rival/sites/none"):
        found = refusal(lambda: listed(mesh, OWNER, site))  # noqa: B023  # called at once
        assert found.code is grpc.StatusCode.NOT_FOUND
    assert refusal(lambda: listed(mesh, None, RIVAL_SITE)).code is grpc.StatusCode.UNAUTHENTICATED


def plan(mesh: Mesh, logic: str | None = None) -> reprocessing_pb2.Reprocessing:
    first, last = a_date("2015-05-15"), a_date("2015-05-16")
    wanted = reprocessing_pb2.Reprocessing(
        sites=[SITE],
        kind=reprocessing_pb2.REPROCESSING_KIND_RULES,
        logic=logic,
        first_utc_date=first,
        last_utc_date=last,
    )
    request = reprocessing_pb2.CreateReprocessingRequest(reprocessing=wanted)
    return mesh.reprocessings.CreateReprocessing(request, metadata=bearer(OPERATOR)).reprocessing


def test_plan_keeps_the_version_of_the_rules_and_counts_hits_without_networks(mesh: Mesh) -> None:
    publish_day(mesh.stores.generations, SiteDay(SITE, UTC_DAY - 1), NOW, a_ledger(1_234))
    create(mesh, COUNTRY, "AT")
    planned = plan(mesh)
    assert (planned.rules_version, list(planned.warnings), planned.HasField("logic")) == (1, [], False)
    store_network(mesh, True)
    create(mesh, NETWORK, "203.0.113.0/24")
    (warning,) = plan(mesh).warnings
    assert (warning.reason, warning.hits) == ("RULE_NOT_APPLICABLE", 1_234)
    stored = mesh.stores.reprocessings.get(planned.name.partition("/")[2])
    assert stored is not None
    assert stored.rules == (1,)
    assert refusal(lambda: plan(mesh, logic="v1")).field == "reprocessing.logic"


def test_hits_on_the_day_on_which_a_site_began_to_store_networks_are_in_the_warning(mesh: Mesh) -> None:
    publish_day(mesh.stores.generations, SiteDay(SITE, UTC_DAY - 1), NOW, a_ledger(1_234))
    store_networks(mesh.stores.directory, SITE, now=(UTC_DAY - 1) * DAY_MS + DAY_MS // 2)
    create(mesh, NETWORK, "203.0.113.0/24")
    (warning,) = plan(mesh).warnings
    assert (warning.reason, warning.hits) == ("RULE_NOT_APPLICABLE", 1_234)
