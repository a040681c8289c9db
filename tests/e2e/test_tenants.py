"""Tests that try to reach another merchant's data in every way.

For a merchant, sites of other merchants do not exist.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message

from hitmesh.api.collector.v1 import collector_pb2
from hitmesh.api.control.v1 import admin_pb2, admin_pb2_grpc, operations_pb2, operations_pb2_grpc, rules_pb2
from hitmesh.api.hit.v1 import hit_pb2
from hitmesh.api.reporter.v1 import export_pb2, export_pb2_grpc, reporter_pb2, reporter_pb2_grpc
from hitmesh.model.names import OPERATORS
from hitmesh.model.sites import Site
from tests.e2e.asking import DAY, NOON_MS
from tests.e2e.conftest import NewSite, site_maker
from tests.support.comparison import Question, ask
from tests.support.mesh import Mesh
from tests.support.messages import page_view
from tests.support.pieces import joined
from tests.support.streams import StreamClient
from tests.support.tenants import authorized, new_merchant

NOT_FOUND, DENIED = grpc.StatusCode.NOT_FOUND, grpc.StatusCode.PERMISSION_DENIED
UNAUTHENTICATED = grpc.StatusCode.UNAUTHENTICATED
RIVAL_SITE = "merchants/rival/sites/theirs"


@dataclass(frozen=True)
class Tenants:
    """The mesh's two merchants, demo and rival, with a site and a key of merchant demo."""

    mesh: Mesh
    demo_site: str
    demo_key: str
    rival_key: str


@pytest.fixture(scope="module")
def mesh(closed_mesh: Mesh) -> Mesh:
    return closed_mesh


@pytest.fixture(scope="module")
def new_site(mesh: Mesh) -> NewSite:
    return site_maker(mesh)


@pytest.fixture(scope="module")
def tenants(mesh: Mesh, new_site: NewSite) -> Tenants:
    site = Site(name=RIVAL_SITE, time_zone="UTC", currency="USD", secret=b"another merchant's secret")
    return Tenants(mesh, new_site("tenants"), mesh.key, new_merchant(mesh, "merchants/rival", site))


def status_of(call: Callable[[Any], Message], key: str | None) -> tuple[grpc.StatusCode, str]:
    """Make a call that must fail, and return its status and message. The call has the given key, or no key."""
    with pytest.raises(grpc.RpcError) as raised:
        call(authorized(key) if key else ())
    return raised.value.code(), str(raised.value.details())


def hit(name: str) -> hit_pb2.Hit:
    return page_view(name, NOON_MS, visitor=name)


# -------------------------------------------------------------------------------------------------------- sending hits


@pytest.mark.timeout(60)
@pytest.mark.parametrize("own_batch_key", [False, True], ids=["key of open", "key of batch"])
def test_hits_streamed_with_the_key_of_another_merchant_are_refused_and_not_stored(
    tenants: Tenants, own_batch_key: bool
) -> None:
    mesh = tenants.mesh
    opening_key = tenants.rival_key if own_batch_key else tenants.demo_key
    batch = hit_pb2.HitBatch(hits=[hit("intruder"), hit("second intruder")])
    if own_batch_key:
        batch.ingest_key = tenants.demo_key
    with StreamClient(mesh.channel(), opening_key, RIVAL_SITE) as stream:
        stream.send(batch)
        reported = stream.finish()
    (issue,) = reported.issues
    assert (issue.HasField("index"), issue.reason) == (False, collector_pb2.REASON_UNKNOWN_SITE)
    assert (reported.accepted, list(reported.receipts)) == (0, [])
    question = Question(RIVAL_SITE, DAY, DAY, metrics=("hits",), include_excluded=True)
    assert ask(mesh.reporter(), question, tenants.rival_key) == {}


@pytest.mark.timeout(30)
def test_a_unary_call_with_the_key_of_another_merchant_finds_no_site(tenants: Tenants) -> None:
    batch = hit_pb2.HitBatch(ingest_key=tenants.demo_key, hits=[hit("intruder")])
    request = collector_pb2.SendHitsRequest(batch=batch)

    def send(site: str) -> tuple[grpc.StatusCode, str]:
        collector = tenants.mesh.collector()
        return status_of(lambda _: collector.SendHits(request, metadata=(("hitmesh-site", site),), timeout=10), None)

    foreign, missing = send(RIVAL_SITE), send("merchants/rival/sites/never-made")
    assert foreign[0] is NOT_FOUND
    assert missing[0] is NOT_FOUND
    assert foreign[1].replace("theirs", "never-made") == missing[1], "the two are not told apart"


@pytest.mark.timeout(30)
def test_a_key_for_one_site_does_not_open_another_site_of_its_merchant(tenants: Tenants, new_site: NewSite) -> None:
    mesh = tenants.mesh
    request = admin_pb2.CreateIngestKeyRequest(
        parent="merchants/demo",
        key=admin_pb2.IngestKey(kind=admin_pb2.KEY_KIND_SERVER, site=tenants.demo_site, unbounded_history=True),
    )
    secret = mesh.admin().CreateIngestKey(request, metadata=authorized(tenants.demo_key), timeout=10).secret
    with StreamClient(mesh.channel(), secret, new_site("not-mine")) as stream:
        stream.send(hit_pb2.HitBatch(hits=[hit("wrong-site")]))
        (issue,) = stream.finish().issues
    assert issue.reason == collector_pb2.REASON_UNKNOWN_SITE
    with StreamClient(mesh.channel(), secret, "") as stream:
        stream.send(hit_pb2.HitBatch(hits=[hit("right-site")]))
        assert stream.finish().accepted == 1


@pytest.mark.timeout(30)
def test_the_same_visitor_and_hit_id_on_two_merchants_sites_are_two(tenants: Tenants, new_site: NewSite) -> None:
    mesh, demo_site = tenants.mesh, new_site("same-ids")
    for key, site in ((tenants.demo_key, demo_site), (tenants.rival_key, RIVAL_SITE)):
        with StreamClient(mesh.channel(), key, site) as stream:
            stream.send(hit_pb2.HitBatch(batch_id="same", hits=[hit("same")]))
            reported = stream.finish()
        assert reported.accepted == 1
        mesh.wait_visible(site, reported.receipts, key=key)
        answer = ask(mesh.reporter(), Question(site, DAY, DAY, metrics=("hits", "visitors", "duplicate_hits")), key)
        assert answer == {("",): {"hits": 1, "visitors": 1, "duplicate_hits": 0}}


# ------------------------------------------------------------------------------------------------------------- admin


def _admin_calls(mesh: Mesh, parent: str, key_name: str) -> dict[str, Callable[[Any], Message]]:
    """Return every admin call that changes or lists a merchant's resources."""
    admin = mesh.admin()
    site = admin_pb2.CreateSiteRequest(parent=parent, site_id="planted")
    key = admin_pb2.CreateIngestKeyRequest(parent=parent, key=admin_pb2.IngestKey(kind=admin_pb2.KEY_KIND_SERVER))
    revoke = admin_pb2.RevokeIngestKeyRequest(name=key_name)
    keys = admin_pb2.ListIngestKeysRequest(parent=parent)
    renamed = admin_pb2.UpdateIngestKeyRequest(key=admin_pb2.IngestKey(name=key_name, display_name="taken"))
    policy = admin_pb2.ScheduleVisitPolicyRequest(name=f"{parent}/sites/shop")
    update = admin_pb2.UpdateSiteRequest(site=admin_pb2.Site(name=RIVAL_SITE, store_network=True))
    rule = rules_pb2.ExclusionRule(kind=rules_pb2.EXCLUSION_RULE_KIND_PAGE, value=".")
    add = rules_pb2.CreateExclusionRuleRequest(parent=RIVAL_SITE, rule=rule)
    delete = rules_pb2.DeleteExclusionRuleRequest(name=f"{RIVAL_SITE}/exclusionRules/1")
    return {
        "CreateSite": lambda metadata: admin.CreateSite(site, metadata=metadata, timeout=10),
        "CreateIngestKey": lambda metadata: admin.CreateIngestKey(key, metadata=metadata, timeout=10),
        "RevokeIngestKey": lambda metadata: admin.RevokeIngestKey(revoke, metadata=metadata, timeout=10),
        "GetIngestKey": lambda metadata: admin.GetIngestKey(
            admin_pb2.GetIngestKeyRequest(name=key_name), metadata=metadata, timeout=10
        ),
        "ListIngestKeys": lambda metadata: admin.ListIngestKeys(keys, metadata=metadata, timeout=10),
        "UpdateIngestKey": lambda metadata: admin.UpdateIngestKey(renamed, metadata=metadata, timeout=10),
        "DeleteIngestKey": lambda metadata: admin.DeleteIngestKey(
            admin_pb2.DeleteIngestKeyRequest(name=key_name), metadata=metadata, timeout=10
        ),
        "RotateIngestKey": lambda metadata: admin.RotateIngestKey(
            admin_pb2.RotateIngestKeyRequest(name=key_name), metadata=metadata, timeout=10
        ),
        "ScheduleVisitPolicy": lambda metadata: admin.ScheduleVisitPolicy(policy, metadata=metadata, timeout=10),
        "UpdateSite": lambda metadata: admin.UpdateSite(update, metadata=metadata, timeout=10),
        "DeleteSite": lambda metadata: admin.DeleteSite(
            admin_pb2.DeleteSiteRequest(name=RIVAL_SITE), metadata=metadata, timeout=10
        ),
        "UndeleteSite": lambda metadata: admin.UndeleteSite(
            admin_pb2.UndeleteSiteRequest(name=RIVAL_SITE), metadata=metadata, timeout=10
        ),
        "CreateExclusionRule": lambda metadata: admin.CreateExclusionRule(add, metadata=metadata, timeout=10),
        "DeleteExclusionRule": lambda metadata: admin.DeleteExclusionRule(delete, metadata=metadata, timeout=10),
    }


OF_OWNERS = ("CreateSite", "ScheduleVisitPolicy")
OF_KEYS = (
    "CreateIngestKey",
    "GetIngestKey",
    "ListIngestKeys",
    "UpdateIngestKey",
    "DeleteIngestKey",
    "RotateIngestKey",
    "RevokeIngestKey",
)
OF_SITES_AND_RULES = ("UpdateSite", "DeleteSite", "UndeleteSite", "CreateExclusionRule", "DeleteExclusionRule")
OF_OWNERS_AND_OPERATORS = (*OF_SITES_AND_RULES, *OF_KEYS)


@pytest.mark.timeout(30)
@pytest.mark.parametrize("rpc", [*OF_OWNERS, *OF_OWNERS_AND_OPERATORS])
def test_sites_keys_and_rules_of_another_merchant_cannot_be_changed(tenants: Tenants, rpc: str) -> None:
    mesh = tenants.mesh
    request = admin_pb2.CreateIngestKeyRequest(
        parent="merchants/rival", key=admin_pb2.IngestKey(kind=admin_pb2.KEY_KIND_SERVER)
    )
    made = mesh.admin().CreateIngestKey(request, metadata=authorized(tenants.rival_key), timeout=10)
    call = _admin_calls(mesh, "merchants/rival", made.key.name)[rpc]
    assert status_of(call, tenants.demo_key)[0] is NOT_FOUND
    assert status_of(call, "hms_nobody")[0] is UNAUTHENTICATED
    assert status_of(call, None)[0] is UNAUTHENTICATED
    still = hit_pb2.HitBatch(ingest_key=made.secret, hits=[hit(f"still-valid-{rpc}")])
    answer = mesh.collector().SendHits(
        collector_pb2.SendHitsRequest(batch=still), metadata=(("hitmesh-site", RIVAL_SITE),), timeout=10
    )
    assert answer.accepted_count == 1
    rules = mesh.admin().ListExclusionRules(
        rules_pb2.ListExclusionRulesRequest(parent=RIVAL_SITE), metadata=authorized(tenants.rival_key), timeout=10
    )
    assert rules.rules_version == 0


@pytest.mark.timeout(30)
def test_a_key_of_another_merchant_is_not_revoked_under_ones_own_name(tenants: Tenants) -> None:
    mesh = tenants.mesh
    request = admin_pb2.CreateIngestKeyRequest(
        parent="merchants/rival", key=admin_pb2.IngestKey(kind=admin_pb2.KEY_KIND_SERVER)
    )
    made = mesh.admin().CreateIngestKey(request, metadata=authorized(tenants.rival_key), timeout=10)
    disguised = made.key.name.replace("merchants/rival", "merchants/demo")
    call = _admin_calls(mesh, "merchants/demo", disguised)["RevokeIngestKey"]
    assert status_of(call, tenants.demo_key)[0] is NOT_FOUND


@pytest.mark.timeout(30)
def test_a_key_for_the_site_of_another_merchant_cannot_be_made(tenants: Tenants) -> None:
    request = admin_pb2.CreateIngestKeyRequest(
        parent="merchants/demo", key=admin_pb2.IngestKey(kind=admin_pb2.KEY_KIND_BROWSER, site=RIVAL_SITE)
    )
    admin = tenants.mesh.admin()
    status = status_of(lambda metadata: admin.CreateIngestKey(request, metadata=metadata, timeout=10), tenants.demo_key)
    assert status[0] is NOT_FOUND


@pytest.mark.timeout(30)
def test_a_browser_key_and_a_key_for_one_site_change_nothing(tenants: Tenants) -> None:
    admin, metadata = tenants.mesh.admin(), authorized(tenants.demo_key)
    for kind in (admin_pb2.KEY_KIND_BROWSER, admin_pb2.KEY_KIND_EDGE, admin_pb2.KEY_KIND_SERVER):
        request = admin_pb2.CreateIngestKeyRequest(
            parent="merchants/demo", key=admin_pb2.IngestKey(kind=kind, site=tenants.demo_site)
        )
        secret = admin.CreateIngestKey(request, metadata=metadata, timeout=10).secret
        for rpc in ("CreateSite", "CreateIngestKey", "ScheduleVisitPolicy"):
            assert status_of(_admin_calls(tenants.mesh, "merchants/demo", "")[rpc], secret)[0] is DENIED


# -------------------------------------------------------------------------------------------------------------- reads


@pytest.fixture
def closed(tenants: Tenants) -> grpc.Channel:
    """Return a channel to a mesh that requires keys for reads."""
    return tenants.mesh.channel()


def _reads(channel: grpc.Channel, site: str) -> dict[str, Callable[[Any], Message]]:
    """Return every call that reads a site's data."""
    reporter = reporter_pb2_grpc.ReporterServiceStub(channel)
    exporter, admin = export_pb2_grpc.ExportServiceStub(channel), admin_pb2_grpc.AdminServiceStub(channel)
    span = reporter_pb2.TimeRange(last_days=1)
    run = reporter_pb2.RunReportRequest(site=site, metrics=["hits"], time_range=span)
    export = export_pb2.ExportReportRequest(site=site, metrics=["hits"], last="1d")
    freshness = reporter_pb2.GetFreshnessRequest(site=site)
    return {
        "RunReport": lambda metadata: reporter.RunReport(run, metadata=metadata, timeout=10),
        "ExportReport": lambda metadata: joined(exporter.ExportReport(export, metadata=metadata, timeout=10)),
        "GetFreshness": lambda metadata: reporter.GetFreshness(freshness, metadata=metadata, timeout=10),
        "GetSite": lambda metadata: admin.GetSite(admin_pb2.GetSiteRequest(name=site), metadata=metadata, timeout=10),
    }


@pytest.mark.timeout(60)
@pytest.mark.parametrize("rpc", ["RunReport", "ExportReport", "GetFreshness", "GetSite"])
def test_a_site_of_another_merchant_and_one_that_is_not_there_read_the_same(
    tenants: Tenants, closed: grpc.Channel, rpc: str
) -> None:
    open_call = _reads(closed, tenants.demo_site)[rpc]
    assert open_call(authorized(tenants.demo_key))
    assert status_of(open_call, None)[0] is UNAUTHENTICATED
    foreign = status_of(_reads(closed, RIVAL_SITE)[rpc], tenants.demo_key)
    missing = status_of(_reads(closed, "merchants/rival/sites/never-made")[rpc], tenants.demo_key)
    assert foreign[0] is missing[0] is NOT_FOUND
    assert foreign[1].replace("theirs", "never-made") == missing[1]


@pytest.mark.timeout(60)
def test_a_report_on_all_sites_of_another_merchant_is_not_found(tenants: Tenants, closed: grpc.Channel) -> None:
    for rpc in ("RunReport", "ExportReport", "GetFreshness"):
        call = _reads(closed, "merchants/rival/sites/-")[rpc]
        assert status_of(call, tenants.demo_key)[0] is NOT_FOUND


@pytest.mark.timeout(60)
def test_listing_all_sites_shows_only_ones_own(tenants: Tenants, closed: grpc.Channel) -> None:
    admin = admin_pb2_grpc.AdminServiceStub(closed)
    for key, merchant in ((tenants.demo_key, "merchants/demo"), (tenants.rival_key, "merchants/rival")):
        for parent in ("merchants/-", merchant):
            request = admin_pb2.ListSitesRequest(parent=parent, page_size=1_000)
            sites = admin.ListSites(request, metadata=authorized(key), timeout=10).sites
            assert sites
            assert {site.name.partition("/sites/")[0] for site in sites} == {merchant}


@pytest.mark.timeout(60)
def test_the_sites_of_another_merchant_are_not_listed(tenants: Tenants, closed: grpc.Channel) -> None:
    admin = admin_pb2_grpc.AdminServiceStub(closed)
    request = admin_pb2.ListSitesRequest(parent="merchants/rival")
    with pytest.raises(grpc.RpcError) as raised:
        admin.ListSites(request, metadata=authorized(tenants.demo_key), timeout=10)
    assert raised.value.code() is NOT_FOUND


# ---------------------------------------------------------------------------------------------------------- operators


@pytest.mark.timeout(60)
def test_a_key_of_a_merchant_is_refused_the_questions_of_operators(tenants: Tenants) -> None:
    operations = operations_pb2_grpc.OperationsServiceStub(tenants.mesh.channel(for_operators=True))

    def ask_siteless(metadata: Any) -> Message:
        return operations.GetSitelessLedger(operations_pb2.GetSitelessLedgerRequest(), metadata=metadata, timeout=10)

    for key in (tenants.demo_key, tenants.rival_key):
        assert status_of(ask_siteless, key)[0] is DENIED
    assert status_of(ask_siteless, None)[0] is UNAUTHENTICATED
    answer = operations.GetSitelessLedger(
        operations_pb2.GetSitelessLedgerRequest(), metadata=authorized(tenants.mesh.operator_key), timeout=10
    )
    assert answer.totals.imbalance == 0


@pytest.mark.timeout(60)
def test_the_key_of_an_operator_sends_no_hits(tenants: Tenants) -> None:
    mesh, site = tenants.mesh, tenants.demo_site
    batch = hit_pb2.HitBatch(ingest_key=mesh.operator_key, hits=[hit("operator")])
    request, collector = collector_pb2.SendHitsRequest(batch=batch), mesh.collector()

    def send(_: Any) -> Message:
        return collector.SendHits(request, metadata=(("hitmesh-site", site),), timeout=10)

    def open_stream(_: Any) -> Message:
        with StreamClient(mesh.channel(), mesh.operator_key, site) as stream:
            return stream.next()

    code, message = status_of(send, None)
    assert code is DENIED
    assert "may not send hits" in message
    assert status_of(open_stream, None)[0] is DENIED
    question = Question(site, DAY, DAY, metrics=("hits",), include_excluded=True)
    assert "operator" not in str(ask(mesh.reporter(), question, tenants.demo_key))


@pytest.mark.timeout(60)
@pytest.mark.parametrize("rpc", ["RunReport", "ExportReport", "GetFreshness", "GetSite"])
def test_the_key_of_an_operator_reads_no_report_and_creates_no_site(
    tenants: Tenants, closed: grpc.Channel, rpc: str
) -> None:
    key = tenants.mesh.operator_key
    assert status_of(_reads(closed, tenants.demo_site)[rpc], key)[0] is NOT_FOUND
    calls = _admin_calls(tenants.mesh, "merchants/demo", "merchants/demo/ingestKeys/any")
    for owners_call in ("CreateSite", "ScheduleVisitPolicy"):  # an operator may create and revoke keys
        assert status_of(calls[owners_call], key)[0] is NOT_FOUND


@pytest.mark.timeout(60)
def test_no_merchant_creates_a_key_of_an_operator(tenants: Tenants) -> None:
    admin = tenants.mesh.admin()

    def status_for(parent: str, kind: Any) -> grpc.StatusCode:
        request = admin_pb2.CreateIngestKeyRequest(parent=parent, key=admin_pb2.IngestKey(kind=kind))
        return status_of(
            lambda metadata: admin.CreateIngestKey(request, metadata=metadata, timeout=10), tenants.demo_key
        )[0]

    unknown_kind = max(admin_pb2.KeyKind.values()) + 1
    assert status_for("merchants/demo", unknown_kind) is grpc.StatusCode.INVALID_ARGUMENT
    assert status_for(OPERATORS, admin_pb2.KEY_KIND_SERVER) is grpc.StatusCode.INVALID_ARGUMENT
