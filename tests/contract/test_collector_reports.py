"""CollectorReports, ReporterReports, and quotas in the directory. Contract tests.

Reports on a server expire by the server's own clock, so the tests wait until reports have expired.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from hitmesh.adapters.factory import Stores
from hitmesh.model.quotas import (
    NO_QUOTA,
    CollectorReport,
    HitLimits,
    PendingQuota,
    Quota,
    QuotaUse,
    ReporterReport,
    UnitsSpent,
    Use,
)
from hitmesh.model.sites import IngestKey, KeyKind, Site
from tests.support.clock import ManualClock
from tests.support.opened import Opener
from tests.support.waiting import eventually

LONG_MS = 600_000
SHORT_MS = 1_000
LIMITS = HitLimits(1_000, 50_000)
SHOP = Site("merchants/m/sites/shop", "UTC", "USD", b"0123456789abcdef", 7, 2)
KEY = IngestKey("k1", "merchants/m", KeyKind.SERVER)
USED = QuotaUse(SHOP.name, LIMITS, Use(12.5, is_short=True), Use(3.0), 0.25)


def a_report(collector: str, *uses: QuotaUse) -> CollectorReport:
    return CollectorReport(collector, LIMITS, HitLimits(1, 2), uses)


class TestCollectorReports:
    def test_reports_are_seen_by_another_process_by_collector(self, opener: Opener) -> None:
        opener().collector_reports.put(a_report("b", USED, replace_resource("merchants/m/ingestKeys/k")), LONG_MS)
        opener().collector_reports.put(a_report("a"), LONG_MS)
        assert list(opener().collector_reports.live()) == [
            a_report("a"),
            a_report("b", USED, replace_resource("merchants/m/ingestKeys/k")),
        ]

    def test_a_later_report_replaces_the_earlier_one(self, stores: Stores) -> None:
        stores.collector_reports.put(a_report("a"), LONG_MS)
        stores.collector_reports.put(a_report("a", USED), LONG_MS)
        assert list(stores.collector_reports.live()) == [a_report("a", USED)]

    def test_a_report_expires_and_a_removed_report_is_gone(self, stores: Stores, clock: ManualClock) -> None:
        for collector in ("a", "b", "c"):
            stores.collector_reports.put(a_report(collector), SHORT_MS if collector == "a" else LONG_MS)
        stores.collector_reports.remove("b")
        stores.collector_reports.remove("b")
        clock.advance(SHORT_MS)
        eventually(lambda: [each.collector for each in stores.collector_reports.live()] == ["c"], "report a expires")


class TestReporterReports:
    def test_reports_are_seen_by_another_process_until_they_expire(self, opener: Opener, clock: ManualClock) -> None:
        spent = UnitsSpent("merchants/m", 7, 10**12, -(10**10))
        first = opener().reporter_reports
        first.put(ReporterReport("b"), LONG_MS)
        first.put(ReporterReport("b", (spent, spent._replace(merchant="merchants/n"))), LONG_MS)
        first.put(ReporterReport("a", (spent,)), SHORT_MS)
        first.put(ReporterReport("c"), LONG_MS)
        first.remove("c")
        first.remove("c")
        second = opener().reporter_reports
        both = ReporterReport("b", (spent, spent._replace(merchant="merchants/n")))
        assert list(second.live()) == [ReporterReport("a", (spent,)), both]
        assert list(opener().collector_reports.live()) == []
        clock.advance(SHORT_MS)
        eventually(lambda: list(second.live()) == [both], "report a expires")


class TestQuotas:
    def test_sites_and_keys_have_their_quota_in_every_process(self, opener: Opener, clock: ManualClock) -> None:
        first, second = opener().directory, opener().directory
        first.create_site(SHOP)
        first.create_site(replace(SHOP, name="merchants/n/sites/other"))
        first.create_key(KEY, "secret")
        assert second.site(SHOP.name) == SHOP
        assert second.key("secret") == KEY
        assert first.quota("merchants/m") == NO_QUOTA
        first.change_quota(SHOP.name, Quota(hits_s=5))
        first.change_quota("merchants/m/ingestKeys/k1", Quota(hits_s=1, bytes_s=7))
        first.change_quota("merchants/m", Quota(report_units_min=10**9))
        limited, limited_key = replace(SHOP, quota=Quota(5)), replace(KEY, quota=Quota(1, 7))
        clock.advance(1_000)
        eventually(lambda: second.site(SHOP.name) == limited, "the other process reads the site again")
        eventually(lambda: second.key("secret") == limited_key, "the other process reads the key again")
        assert list(second.sites(None, "", 9)) == [limited, replace(SHOP, name="merchants/n/sites/other")]
        assert list(second.keys("merchants/m")) == [limited_key]
        assert second.quota("merchants/m") == Quota(report_units_min=10**9)
        assert second.quota("merchants/m/sites/none") == NO_QUOTA

    def test_a_quota_is_replaced_as_a_whole(self, stores: Stores) -> None:
        stores.directory.create_site(SHOP)
        stores.directory.change_quota(SHOP.name, Quota(hits_s=5, bytes_s=6))
        stores.directory.change_quota(SHOP.name, Quota(bytes_s=9))
        assert stores.directory.quota(SHOP.name) == Quota(None, 9)

    def test_a_pending_change_is_stored_with_the_quota(self, opener: Opener, clock: ManualClock) -> None:
        first, second = opener().directory, opener().directory
        first.create_site(SHOP)
        pending = Quota(5, None, None, PendingQuota(clock.now() + 1, Quota(None, 7)))
        assert first.change_quota(SHOP.name, pending)
        assert second.quota(SHOP.name) == pending
        clock.advance(1_000)
        eventually(lambda: second.site(SHOP.name) == replace(SHOP, quota=pending), "the other process reads the change")
        assert first.change_quota(SHOP.name, Quota(6))
        assert second.quota(SHOP.name) == Quota(6)

    def test_a_quota_is_replaced_only_if_its_version_is_as_expected(self, opener: Opener) -> None:
        first, second = opener().directory, opener().directory
        assert first.change_quota("merchants/m", Quota(report_units_min=1), 0)
        assert not second.change_quota("merchants/m", Quota(report_units_min=2), 0)
        assert second.quota("merchants/m") == Quota(report_units_min=1)
        version = second.quota("merchants/m").version
        assert second.change_quota("merchants/m", Quota(report_units_min=3), version)
        assert not first.change_quota("merchants/m", Quota(report_units_min=4), version)
        assert first.change_quota("merchants/m", Quota())
        assert second.quota("merchants/m").version > version
        assert second.quota("merchants/m") == NO_QUOTA

    def test_one_of_several_concurrent_changes_of_a_version_is_stored(self, opener: Opener) -> None:
        directories = [opener().directory for _ in range(4)]
        with ThreadPoolExecutor(4) as pool:
            stored = list(
                pool.map(lambda at: directories[at].change_quota("merchants/m", Quota(hits_s=at + 1), 0), range(4))
            )
        assert sum(stored) == 1
        assert directories[0].quota("merchants/m") == Quota(hits_s=stored.index(True) + 1)


def replace_resource(resource: str) -> QuotaUse:
    return USED._replace(resource=resource)
