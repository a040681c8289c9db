"""Test quotas in one collector, and that several collectors together keep a quota, whatever the traffic at each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import pytest

from collector.admission import Grant, Sender
from collector.hit_quotas import Charged, HitQuotas
from hitmesh.adapters.memory.collector_reports import MemoryCollectorReports
from hitmesh.model.errors import QuotaExceeded, Unavailable
from hitmesh.model.quotas import CollectorReport, HitLimits, PendingQuota, Quota, QuotaKind
from hitmesh.model.sites import IngestKey, KeyKind, Site
from hitmesh.runtime.quota_shares import QuotaShares
from tests.support.clock import ManualClock

LARGE = HitLimits(10**9, 10**9)
SITE = Site("merchants/m/sites/shop", "UTC", "USD", b"0123456789abcdef")
KEY = IngestKey("k1", "merchants/m", KeyKind.SERVER)
OTHER_SITE = replace(SITE, name="merchants/m/sites/other")
OTHER_KEY = replace(KEY, key_id="k2")
GRANT = Grant(KEY, SITE)
SENDER = Sender("secret", "")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1_000_000)


def quotas_with(
    clock: ManualClock, site: HitLimits = LARGE, key: HitLimits = LARGE, max_resources: int = 9
) -> HitQuotas:
    return HitQuotas(site, key, now_ms=clock.now, clock=clock, max_resources=max_resources)


def refused(found: Charged | QuotaExceeded) -> QuotaExceeded:
    assert isinstance(found, QuotaExceeded), "the batch must be refused"
    return found


@pytest.mark.parametrize(
    ("site", "key", "kind", "subject", "limit"),
    [
        (HitLimits(10, 10**6), LARGE, QuotaKind.SITE_HITS, SITE.name, 10),
        (HitLimits(10**6, 1_000), LARGE, QuotaKind.SITE_BYTES, SITE.name, 1_000),
        (LARGE, HitLimits(10, 10**6), QuotaKind.KEY_HITS, "merchants/m/ingestKeys/k1", 10),
        (LARGE, HitLimits(10**6, 1_000), QuotaKind.KEY_BYTES, "merchants/m/ingestKeys/k1", 1_000),
    ],
)
def test_the_refusal_names_the_quota_that_is_used_up_and_the_wait(
    clock: ManualClock, site: HitLimits, key: HitLimits, kind: QuotaKind, subject: str, limit: int
) -> None:
    quotas = quotas_with(clock, site, key)
    assert isinstance(quotas.charge(SENDER, GRANT, 20, 2_000), Charged)
    error = refused(quotas.charge(SENDER, GRANT, 5, 500))
    assert (error.quota, error.subject, error.limit, error.window_s) == (kind, subject, limit, 1)
    assert error.retry_after_s == 0.5
    assert f"{subject} may send {limit:,} " in error.message
    assert error.metadata()["wait_s"] == "0.500"
    clock.advance(499)
    assert quotas.refusal(SENDER, GRANT, 5, 500) is not None
    clock.advance(1)
    assert quotas.refusal(SENDER, GRANT, 5, 500) is None
    assert isinstance(quotas.charge(SENDER, GRANT, 5, 500), Charged)


def test_a_quota_of_one_hit_is_in_the_singular(clock: ManualClock) -> None:
    quotas = quotas_with(clock, site=HitLimits(1, 10**6))
    quotas.charge(SENDER, GRANT, 2, 1)
    assert "may send 1 hit per second" in refused(quotas.charge(SENDER, GRANT, 2, 1)).message


def test_a_refused_batch_is_charged_to_no_quota(clock: ManualClock) -> None:
    quotas = quotas_with(clock, site=HitLimits(10, 10**6))
    tight = Grant(replace(KEY, quota=Quota(hits_s=1)), SITE)
    refused_before = quotas.charge(SENDER, tight, 2, 1)
    assert isinstance(refused_before, Charged)
    for _ in range(100):
        refused(quotas.charge(SENDER, tight, 2, 1))
    other = Grant(OTHER_KEY, SITE)
    assert isinstance(quotas.charge(Sender("other", ""), other, 18, 1), Charged), "the site lost only two hits"


def test_a_batch_that_is_given_back_may_be_sent_again_at_once(clock: ManualClock) -> None:
    quotas = quotas_with(clock, site=HitLimits(10, 10**6))
    for _ in range(5):
        charged = quotas.charge(SENDER, GRANT, 20, 1)
        assert isinstance(charged, Charged)
        quotas.give_back(charged)


def test_sites_and_keys_have_separate_quotas(clock: ManualClock) -> None:
    quotas = quotas_with(clock, site=HitLimits(10, 10**6))
    assert isinstance(quotas.charge(SENDER, GRANT, 20, 1), Charged)
    refused(quotas.charge(SENDER, GRANT, 1, 1))
    assert isinstance(quotas.charge(Sender("secret", OTHER_SITE.name), Grant(KEY, OTHER_SITE), 20, 1), Charged)
    assert quotas.is_short(SENDER)
    assert not quotas.is_short(Sender("secret", OTHER_SITE.name))


def test_a_changed_quota_holds_from_the_next_batch_on(clock: ManualClock) -> None:
    quotas = quotas_with(clock)
    assert isinstance(quotas.charge(SENDER, GRANT, 100, 1), Charged)
    limited = Grant(KEY, replace(SITE, quota=Quota(hits_s=10)))
    assert isinstance(quotas.charge(SENDER, limited, 20, 1), Charged)
    error = refused(quotas.charge(SENDER, limited, 1, 1))
    assert error.limit == 10


def test_a_pending_change_takes_effect_by_the_collectors_clock(clock: ManualClock) -> None:
    quotas = quotas_with(clock)
    pending = PendingQuota(clock.now() + 60_000, Quota(hits_s=10))
    changing = Grant(KEY, replace(SITE, quota=Quota(hits_s=1_000, pending=pending)))
    for _ in range(59):
        assert isinstance(quotas.charge(SENDER, changing, 1_000, 1), Charged)
        clock.advance(1_000)
    clock.advance(1_000)
    assert isinstance(quotas.charge(SENDER, changing, 20, 1), Charged)
    assert refused(quotas.charge(SENDER, changing, 1, 1)).limit == 10


def test_memory_is_bounded_and_the_longest_unused_resource_goes_first(clock: ManualClock) -> None:
    quotas = quotas_with(clock, site=HitLimits(10, 10**6), max_resources=3)
    quotas.charge(SENDER, GRANT, 20, 1)
    for number in range(10):
        site = replace(SITE, name=f"merchants/m/sites/s{number}")
        quotas.charge(Sender("secret", site.name), Grant(KEY, site), 1, 1)
        assert len(quotas) <= 3
        refused(quotas.charge(Sender("secret", site.name), Grant(KEY, site), 20, 1))


def test_a_report_has_the_use_of_the_period_and_no_idle_resource(clock: ManualClock) -> None:
    quotas = quotas_with(clock, site=HitLimits(10, 10**6))
    quotas.charge(SENDER, GRANT, 20, 500)
    quotas.charge(SENDER, GRANT, 30, 500)
    clock.advance(2_000)
    uses = {use.resource: use for use in quotas.report("a").uses}
    assert (uses[SITE.name].hits, uses[SITE.name].bytes.per_s) == ((10.0, True), 250.0)
    assert uses[SITE.name].refused_hits_s == 15.0
    assert not uses["merchants/m/ingestKeys/k1"].hits.is_short
    for _ in range(20):
        clock.advance(1_000)
        report = quotas.report("a")
    assert report.uses == ()


# ---------------------------------------------------------------------------------------------- several collectors

LIMIT = 1_000
STEP_MS = 20
BATCH = 10
Demand = Callable[[int], Sequence[float]]
"""The hits per second that clients offer to each collector, by the second since the start."""


def accepted(collectors: int, demand: Demand, seconds: int, clock: ManualClock, batch: int = BATCH) -> Iterator[int]:
    """Yield the hits per second that all collectors together accept, second by second. Refused hits are lost."""
    reports = MemoryCollectorReports(clock)
    every = [quotas_with(clock, site=HitLimits(LIMIT, 10**9)) for _ in range(collectors)]
    exchanges = [QuotaShares(reports, each, f"c{number}", 1.0) for number, each in enumerate(every)]
    for each in exchanges:
        each.exchange()
    waiting = [0.0] * collectors
    for second in range(seconds):
        total = 0
        for step in range(1_000 // STEP_MS):
            clock.advance(STEP_MS)
            for number, quotas in enumerate(every):
                waiting[number] += demand(second)[number] * STEP_MS / 1_000
                while waiting[number] >= batch:
                    waiting[number] -= batch
                    total += batch * isinstance(quotas.charge(SENDER, GRANT, batch, 1), Charged)
                # Collectors report at different times in each second.
                if step == number * 10 % (1_000 // STEP_MS):
                    exchanges[number].exchange()
        yield total


@pytest.mark.parametrize(
    "shares",
    [
        [1, 0, 0],
        [0.8, 0.2, 0],
        [0.98, 0.01, 0.01],
        [1 / 3, 1 / 3, 1 / 3],
        [0.6, 0.4],
        [1, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        [1],
    ],
)
@pytest.mark.parametrize(("overload", "batch"), [(1.5, 10), (3, 10), (100, 200)])
def test_collectors_together_keep_a_quota_whatever_the_traffic_at_each(
    clock: ManualClock, shares: list[float], overload: float, batch: int
) -> None:
    def demand(_: int) -> list[float]:
        return [LIMIT * overload * share for share in shares]

    rates = list(accepted(len(shares), demand, 25, clock, batch))
    settled = rates[5:]
    assert sum(settled) / len(settled) == pytest.approx(LIMIT, rel=0.2)
    assert sum(rates) <= LIMIT * len(rates) * 1.2 + 2 * LIMIT


def test_a_quota_holds_while_the_traffic_moves_between_collectors(clock: ManualClock) -> None:
    def moving(second: int) -> list[float]:
        at = second // 10 % 3
        return [LIMIT * 5 if number == at else 0 for number in range(3)]

    rates = list(accepted(3, moving, 60, clock))
    assert sum(rates[10:]) / 50 == pytest.approx(LIMIT, rel=0.2)


def test_traffic_within_the_quota_is_never_refused(clock: ManualClock) -> None:
    rates = list(accepted(3, lambda _: [LIMIT * 0.5, LIMIT * 0.2, 0], 20, clock))
    offered = LIMIT * 0.7
    assert sum(rates[3:]) == pytest.approx(offered * 17, abs=2 * BATCH)


def test_a_collector_that_stops_leaves_its_share_to_the_others(clock: ManualClock) -> None:
    reports = MemoryCollectorReports(clock)
    quotas = quotas_with(clock, site=HitLimits(LIMIT, 10**9))
    share = QuotaShares(reports, quotas, "a", 1.0)
    reports.put(CollectorReport("b", LARGE, LARGE), 5_000)
    share.exchange()
    assert quotas.live == 2
    clock.advance(5_000)
    share.exchange()
    assert quotas.live == 1


class AbsentReports(MemoryCollectorReports):
    """Reports in a store that may be unavailable."""

    is_absent = False

    def put(self, report: CollectorReport, length_ms: int) -> None:
        if self.is_absent:
            raise Unavailable("the store does not answer")
        super().put(report, length_ms)


def test_without_the_store_a_collector_keeps_its_share(clock: ManualClock) -> None:
    reports = AbsentReports(clock)
    quotas = quotas_with(clock, site=HitLimits(LIMIT, 10**9))
    share = QuotaShares(reports, quotas, "a", 1.0)
    reports.put(CollectorReport("b", LARGE, LARGE), 60_000)
    share.exchange()
    reports.is_absent = True
    share.exchange()
    assert quotas.live == 2
    quotas.charge(SENDER, GRANT, LIMIT, 1)
    refused(quotas.charge(SENDER, GRANT, 1, 1))
