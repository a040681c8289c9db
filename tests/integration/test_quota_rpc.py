"""Test GetQuota and UpdateQuota, the maximum numbers of sites and keys, and the quota of reports, over gRPC."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

import grpc
import pytest

from control.service import SERVICES as CONTROL_SERVICES
from control.service import build_server as control_server
from hitmesh.api.control.v1 import admin_pb2, admin_pb2_grpc, quotas_pb2
from hitmesh.model.quotas import CollectorReport, HitLimits, Quota, QuotaUse, Use
from tests.support.reporters import (
    OPERATOR,
    OWNER,
    RIVAL,
    Mesh,
    a_question,
    bearer,
    control_backend,
    refusal,
    served,
    some_rows,
    start,
)
from tests.support.settled_rows import SITE

SITE_QUOTA, KEY_QUOTA = f"{SITE}/quota", "merchants/demo/ingestKeys/demo-1/quota"
MERCHANT_QUOTA = "merchants/demo/quota"


@pytest.fixture
def mesh() -> Iterator[Mesh]:
    yield from start(open_reads=False)


def quota(mesh: Mesh, name: str, secret: str = OWNER) -> quotas_pb2.GetQuotaResponse:
    found = mesh.admin.GetQuota(quotas_pb2.GetQuotaRequest(name=name), metadata=bearer(secret))
    assert found.quota.etag
    found.quota.ClearField("etag")
    return found


def etag_of(mesh: Mesh, name: str) -> str:
    return mesh.admin.GetQuota(quotas_pb2.GetQuotaRequest(name=name), metadata=bearer(OWNER)).quota.etag


def changed_at(mesh: Mesh, wanted: quotas_pb2.Quota, at_ms: int) -> quotas_pb2.Quota:
    request = quotas_pb2.UpdateQuotaRequest(quota=wanted)
    request.effective_time.FromMilliseconds(at_ms)
    return mesh.admin.UpdateQuota(request, metadata=bearer(OPERATOR)).quota


def updated(mesh: Mesh, wanted: quotas_pb2.Quota, *paths: str, secret: str = OPERATOR) -> quotas_pb2.Quota:
    request = quotas_pb2.UpdateQuotaRequest(quota=wanted)
    request.update_mask.paths.extend(paths)
    changed = mesh.admin.UpdateQuota(request, metadata=bearer(secret)).quota
    changed.ClearField("etag")
    return changed


def test_a_change_with_an_old_etag_is_refused(mesh: Mesh) -> None:
    etag = etag_of(mesh, SITE_QUOTA)
    updated(mesh, quotas_pb2.Quota(name=SITE_QUOTA, hits_per_second=5, etag=etag))
    assert etag_of(mesh, SITE_QUOTA) != etag
    updated(mesh, quotas_pb2.Quota(name=SITE_QUOTA, hits_per_second=5, etag=etag_of(mesh, SITE_QUOTA)))
    found = refusal(lambda: updated(mesh, quotas_pb2.Quota(name=SITE_QUOTA, hits_per_second=6, etag=etag)))
    assert (found.code, found.reason, found.field) == (grpc.StatusCode.ABORTED, "ETAG_MISMATCH", "quota.etag")
    assert quota(mesh, SITE_QUOTA).quota.hits_per_second == 5


def test_a_change_that_another_caller_overtakes_keeps_both_changes_or_is_refused_by_its_etag(mesh: Mesh) -> None:
    directory = mesh.stores.directory
    read, overtakes = directory.quota, iter([Quota(bytes_s=9), Quota(bytes_s=10), Quota(bytes_s=11)])

    def overtaken(name: str) -> Quota:
        found = read(name)
        other = next(overtakes, None)
        if other is not None:
            directory.change_quota(name, other)
        return found

    etag = etag_of(mesh, SITE_QUOTA)
    directory.quota = overtaken  # type: ignore[method-assign]
    found = refusal(lambda: updated(mesh, quotas_pb2.Quota(name=SITE_QUOTA, hits_per_second=5, etag=etag)))
    assert found.reason == "ETAG_MISMATCH"
    both = quotas_pb2.Quota(name=SITE_QUOTA, hits_per_second=5, bytes_per_second=11)
    assert updated(mesh, quotas_pb2.Quota(name=SITE_QUOTA, hits_per_second=5)) == both


def test_a_later_change_begins_with_the_limits_that_a_pending_change_brought(mesh: Mesh) -> None:
    at = mesh.clock.now() + 1_000
    changed_at(mesh, quotas_pb2.Quota(name=SITE_QUOTA, hits_per_second=7), at)
    mesh.clock.advance(1_000)
    both = quotas_pb2.Quota(name=SITE_QUOTA, hits_per_second=7, bytes_per_second=9)
    assert updated(mesh, quotas_pb2.Quota(name=SITE_QUOTA, bytes_per_second=9)) == both


def test_a_change_takes_effect_at_its_time(mesh: Mesh) -> None:
    day_ms = 86_400_000
    updated(mesh, quotas_pb2.Quota(name=SITE_QUOTA, hits_per_second=5, bytes_per_second=9))
    at = mesh.clock.now() + day_ms
    changed_at(mesh, quotas_pb2.Quota(name=SITE_QUOTA, hits_per_second=6), at + day_ms)
    changed = changed_at(mesh, quotas_pb2.Quota(name=SITE_QUOTA, hits_per_second=7), at)
    assert (changed.hits_per_second, changed.bytes_per_second) == (5, 9)
    pending = changed.pending_change
    assert (pending.effective_time.ToMilliseconds(), pending.hits_per_second, pending.bytes_per_second) == (at, 7, 9)
    mesh.clock.advance(day_ms - 1)
    assert quota(mesh, SITE_QUOTA).quota.hits_per_second == 5
    mesh.clock.advance(1)
    assert quota(mesh, SITE_QUOTA).quota == quotas_pb2.Quota(name=SITE_QUOTA, hits_per_second=7, bytes_per_second=9)
    changed_at(mesh, quotas_pb2.Quota(name=SITE_QUOTA, hits_per_second=8), at + day_ms)
    at_once = quotas_pb2.Quota(name=SITE_QUOTA, hits_per_second=1, bytes_per_second=9)
    assert updated(mesh, at_once) == at_once, "a change at once cancels the pending change"


def test_a_change_may_be_at_most_366_days_ahead(mesh: Mesh) -> None:
    wanted = quotas_pb2.Quota(name=SITE_QUOTA, hits_per_second=5)
    latest = mesh.clock.now() + 366 * 86_400_000
    assert changed_at(mesh, wanted, latest).HasField("pending_change")
    found = refusal(lambda: changed_at(mesh, wanted, latest + 1))
    assert (found.code, found.field) == (grpc.StatusCode.INVALID_ARGUMENT, "effective_time")


@pytest.mark.parametrize(("seconds", "nanos"), [(2**50, 0), (1_800_000_000, -1), (1_800_000_000, 2 * 10**9)])
def test_a_time_that_is_no_time_is_refused(mesh: Mesh, seconds: int, nanos: int) -> None:
    request = quotas_pb2.UpdateQuotaRequest(quota=quotas_pb2.Quota(name=SITE_QUOTA, hits_per_second=5))
    request.effective_time.seconds, request.effective_time.nanos = seconds, nanos
    found = refusal(lambda: mesh.admin.UpdateQuota(request, metadata=bearer(OPERATOR)))
    assert (found.code, found.field) == (grpc.StatusCode.INVALID_ARGUMENT, "effective_time")


def test_a_repeated_change_is_announced_again(mesh: Mesh) -> None:
    """The first call may have failed between the change and its announcement."""
    announced: list[str] = []
    mesh.stores.directory.announce = lambda name: announced.append(name)  # type: ignore[method-assign]
    wanted = quotas_pb2.Quota(name=SITE_QUOTA, hits_per_second=5)
    updated(mesh, wanted)
    assert announced == []
    updated(mesh, wanted)
    assert announced == [SITE]


def test_an_operator_changes_quotas_and_the_merchant_reads_them(mesh: Mesh) -> None:
    assert quota(mesh, SITE_QUOTA).quota == quotas_pb2.Quota(name=SITE_QUOTA)
    wanted = quotas_pb2.Quota(name=SITE_QUOTA, hits_per_second=5, bytes_per_second=9_000)
    assert updated(mesh, wanted) == wanted
    assert updated(mesh, wanted) == wanted
    assert quota(mesh, SITE_QUOTA).quota == quota(mesh, SITE_QUOTA, OPERATOR).quota == wanted
    assert updated(mesh, quotas_pb2.Quota(name=SITE_QUOTA), "hits_per_second") == quotas_pb2.Quota(
        name=SITE_QUOTA, bytes_per_second=9_000
    )
    of_key = quotas_pb2.Quota(name=KEY_QUOTA, hits_per_second=1)
    assert updated(mesh, of_key) == quota(mesh, KEY_QUOTA).quota == of_key
    of_merchant = quotas_pb2.Quota(name=MERCHANT_QUOTA, report_units_per_minute=10**9)
    assert updated(mesh, of_merchant) == quota(mesh, MERCHANT_QUOTA).quota == of_merchant
    site, key = mesh.stores.directory.site(SITE), mesh.stores.directory.key(OWNER)
    assert site is not None
    assert key is not None
    assert (site.quota, key.quota) == (Quota(bytes_s=9_000), Quota(hits_s=1))


def test_only_an_operator_may_change_a_quota(mesh: Mesh) -> None:
    wanted = quotas_pb2.Quota(name=SITE_QUOTA, hits_per_second=5)
    assert refusal(lambda: updated(mesh, wanted, secret=OWNER)).code is grpc.StatusCode.PERMISSION_DENIED
    assert quota(mesh, SITE_QUOTA).quota == quotas_pb2.Quota(name=SITE_QUOTA)


@pytest.mark.parametrize("name", [SITE_QUOTA, KEY_QUOTA, MERCHANT_QUOTA])
def test_quotas_of_other_merchants_look_like_quotas_that_do_not_exist(mesh: Mesh, name: str) -> None:
    other = refusal(lambda: quota(mesh, name, RIVAL))
    assert (other.code, other.field) == (grpc.StatusCode.NOT_FOUND, "name")
    assert refusal(lambda: mesh.admin.GetQuota(quotas_pb2.GetQuotaRequest(name=name))).code is (
        grpc.StatusCode.UNAUTHENTICATED
    )


@pytest.mark.parametrize("name", ["merchants/demo/sites/none/quota", "merchants/demo/ingestKeys/none/quota"])
def test_a_quota_needs_its_site_or_key(mesh: Mesh, name: str) -> None:
    assert refusal(lambda: quota(mesh, name)).code is grpc.StatusCode.NOT_FOUND
    wanted = quotas_pb2.Quota(name=name, hits_per_second=5)
    found = refusal(lambda: updated(mesh, wanted))
    assert (found.code, found.field) == (grpc.StatusCode.NOT_FOUND, "quota.name")


@pytest.mark.parametrize(
    ("wanted", "paths", "field"),
    [
        (quotas_pb2.Quota(name=SITE, hits_per_second=5), [], "quota.name"),
        (quotas_pb2.Quota(name=SITE_QUOTA, hits_per_second=0), [], "quota.hits_per_second"),
        (quotas_pb2.Quota(name=SITE_QUOTA, bytes_per_second=10**9 + 1), [], "quota.bytes_per_second"),
        (quotas_pb2.Quota(name=SITE_QUOTA, report_units_per_minute=5), [], "update_mask"),
        (quotas_pb2.Quota(name=MERCHANT_QUOTA, hits_per_second=5), [], "update_mask"),
        (quotas_pb2.Quota(name=SITE_QUOTA), ["name"], "update_mask"),
    ],
)
def test_a_bad_quota_names_its_field(mesh: Mesh, wanted: quotas_pb2.Quota, paths: list[str], field: str) -> None:
    found = refusal(lambda: updated(mesh, wanted, *paths))
    assert (found.code, found.field) == (grpc.StatusCode.INVALID_ARGUMENT, field)


def test_the_use_of_a_quota_is_the_sum_over_live_collectors(mesh: Mesh) -> None:
    site_default, key_default = HitLimits(100, 1_000), HitLimits(7, 70)
    use = QuotaUse(SITE, HitLimits(100, 1_000), Use(20.0), Use(200.0), 5.0)
    for collector, uses in (("a", (use,)), ("b", (use._replace(refused_hits_s=0.0),)), ("c", ())):
        mesh.stores.collector_reports.put(CollectorReport(collector, site_default, key_default, uses), 5_000)
    updated(mesh, quotas_pb2.Quota(name=SITE_QUOTA, bytes_per_second=9_000))
    found = quota(mesh, SITE_QUOTA)
    assert (found.effective.hits_per_second, found.effective.bytes_per_second) == (100, 9_000)
    assert found.usage == quotas_pb2.QuotaUsage(
        hits_per_second=40.0, bytes_per_second=400.0, refused_hits_per_second=5.0, collectors=3
    )
    assert quota(mesh, KEY_QUOTA).effective.hits_per_second == 7
    assert quota(mesh, KEY_QUOTA).usage.hits_per_second == 0.0


@pytest.fixture
def capped(mesh: Mesh) -> Iterator[admin_pb2_grpc.AdminServiceStub]:
    """Provide a control service whose merchants may have two sites and two keys."""
    backend = control_backend(mesh.stores, mesh.clock, open_reads=False)
    server = control_server(replace(backend, max_sites=2, max_keys=2))
    with grpc.insecure_channel(f"127.0.0.1:{served(server, CONTROL_SERVICES)}") as channel:
        yield admin_pb2_grpc.AdminServiceStub(channel)
    server.stop(None).wait()


def test_a_merchant_has_at_most_so_many_sites_and_keys(capped: admin_pb2_grpc.AdminServiceStub) -> None:
    def site(site_id: str, secret: str = OWNER, merchant: str = "demo") -> admin_pb2.Site:
        request = admin_pb2.CreateSiteRequest(parent=f"merchants/{merchant}", site_id=site_id)
        return capped.CreateSite(request, metadata=bearer(secret)).site

    def key() -> admin_pb2.IngestKey:
        request = admin_pb2.CreateIngestKeyRequest(
            parent="merchants/demo", key=admin_pb2.IngestKey(kind=admin_pb2.KEY_KIND_SERVER)
        )
        return capped.CreateIngestKey(request, metadata=bearer(OWNER)).key

    second = site("second")
    found = refusal(lambda: site("third"))
    assert (found.code, found.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "TOO_MANY_RESOURCES")
    assert (
        "2 sites, counting deleted sites, which is the limit: use an existing site, or ask the operator"
        in found.message
    )
    assert site("second") == second, "the same request has the same answer at the limit"
    site("second", RIVAL, "rival")
    second_key = key()
    found = refusal(key)
    assert (found.code, found.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "TOO_MANY_RESOURCES")
    assert "revoke unused keys" in found.message
    capped.RevokeIngestKey(admin_pb2.RevokeIngestKeyRequest(name=second_key.name), metadata=bearer(OWNER))
    assert key().name != second_key.name
    of_merchant = capped.GetQuota(quotas_pb2.GetQuotaRequest(name=MERCHANT_QUOTA), metadata=bearer(OWNER))
    assert (of_merchant.site_count, of_merchant.max_sites) == (2, 2)
    assert (of_merchant.key_count, of_merchant.max_keys) == (2, 2)


def test_deleted_sites_count(capped: admin_pb2_grpc.AdminServiceStub) -> None:
    parent = "merchants/demo"
    second = admin_pb2.CreateSiteRequest(parent=parent, site_id="second")
    name = capped.CreateSite(second, metadata=bearer(OWNER)).site.name
    capped.DeleteSite(admin_pb2.DeleteSiteRequest(name=name), metadata=bearer(OWNER))
    third = admin_pb2.CreateSiteRequest(parent=parent, site_id="third")
    assert refusal(lambda: capped.CreateSite(third, metadata=bearer(OWNER))).reason == "TOO_MANY_RESOURCES"


def test_a_merchant_beyond_its_report_units_waits_and_another_does_not(mesh: Mesh) -> None:
    some_rows(mesh)
    updated(mesh, quotas_pb2.Quota(name=MERCHANT_QUOTA, report_units_per_minute=2_000))
    rivals = a_question("hits", site="merchants/rival/sites/shop")
    _, call = mesh.reporter.RunReport.with_call(a_question("hits"), metadata=bearer(OWNER))
    headers = dict(call.initial_metadata())
    assert headers["ratelimit-policy"] == '"report_units";q=2000;w=60'
    # Units come back while the report runs, 33 per second.
    left = re.fullmatch(r'"report_units";r=(\d+);t=(\d+)', str(headers["ratelimit"]))
    assert left is not None
    assert int(left[1]) < 1_000
    assert 30 <= int(left[2]) <= 60
    for _ in range(100):
        with pytest.raises(grpc.RpcError) as caught:
            mesh.reporter.RunReport(a_question("hits"), metadata=bearer(OWNER))
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert isinstance(caught.value, grpc.Call)
    headers = dict(caught.value.initial_metadata())
    assert int(headers["retry-after"]) > 0
    assert headers["ratelimit-policy"] == '"report_units";q=2000;w=60'
    found = refusal(lambda: mesh.reporter.RunReport(a_question("hits"), metadata=bearer(OWNER)))
    assert found.reason == "QUOTA"
    assert "the reports of merchants/demo may cost 2,000 units in 60 s" in found.message
    mesh.reporter.RunReport(rivals, metadata=bearer(RIVAL))


def test_the_advice_for_a_limit_out_of_range_restores_the_default(mesh: Mesh) -> None:
    updated(mesh, quotas_pb2.Quota(name=SITE_QUOTA, hits_per_second=7))
    found = refusal(lambda: updated(mesh, quotas_pb2.Quota(name=SITE_QUOTA, hits_per_second=0)))
    assert "name hits_per_second in update_mask and leave the field out of `quota`" in found.message
    assert not updated(mesh, quotas_pb2.Quota(name=SITE_QUOTA), "hits_per_second").HasField("hits_per_second")
