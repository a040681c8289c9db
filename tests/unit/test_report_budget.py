"""Test the quota of report units: the cost of reports, refusals, and changes of the quota."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from hitmesh.adapters.memory.directory import MemorySiteDirectory
from hitmesh.model.errors import QuotaExceeded, Unavailable
from hitmesh.model.quotas import PendingQuota, Quota, ReporterReport
from reporter.answer.report_budget import REPORT_UNITS, ReportBudget
from tests.support.clock import ManualClock

MERCHANT, OTHER = "merchants/m", "merchants/n"
MINUTE = 6_000_000


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(0)


@pytest.fixture
def directory() -> MemorySiteDirectory:
    return MemorySiteDirectory()


def test_reports_beyond_the_quota_wait_exactly_as_long_as_the_refusal_names(
    clock: ManualClock, directory: MemorySiteDirectory
) -> None:
    budget = ReportBudget(MINUTE, clock.now, clock=clock)
    assert budget.charge(directory, MERCHANT, MINUTE - REPORT_UNITS) == MINUTE
    with pytest.raises(QuotaExceeded) as caught:
        budget.charge(directory, MERCHANT, 98_000)
    error = caught.value
    assert (error.subject, error.quota, error.limit, error.window_s) == (MERCHANT, "report_units", MINUTE, 60)
    assert error.retry_after_s == 1.0
    clock.advance(999)
    with pytest.raises(QuotaExceeded):
        budget.charge(directory, MERCHANT, 98_000)
    clock.advance(1)
    assert budget.charge(directory, MERCHANT, 98_000) == 100_000


def test_rows_that_were_read_are_paid_by_the_next_reports(clock: ManualClock, directory: MemorySiteDirectory) -> None:
    budget = ReportBudget(MINUTE, clock.now, clock=clock)
    budget.charge(directory, MERCHANT, 0)
    budget.add(MERCHANT, 2 * MINUTE)
    with pytest.raises(QuotaExceeded) as caught:
        budget.charge(directory, MERCHANT, 0)
    assert caught.value.retry_after_s == pytest.approx(60.04)


def test_merchants_have_separate_quotas(clock: ManualClock, directory: MemorySiteDirectory) -> None:
    budget = ReportBudget(MINUTE, clock.now, clock=clock)
    budget.charge(directory, MERCHANT, MINUTE)
    with pytest.raises(QuotaExceeded):
        budget.charge(directory, MERCHANT, 0)
    budget.charge(directory, OTHER, 0)


def test_a_report_that_no_store_answers_costs_nothing(clock: ManualClock, directory: MemorySiteDirectory) -> None:
    budget = ReportBudget(MINUTE, clock.now, clock=clock)
    for _ in range(5):
        budget.add(MERCHANT, -budget.charge(directory, MERCHANT, MINUTE - REPORT_UNITS))


def test_a_changed_quota_holds_within_seconds(clock: ManualClock, directory: MemorySiteDirectory) -> None:
    budget = ReportBudget(MINUTE, clock.now, clock=clock)
    budget.charge(directory, MERCHANT, 0)
    directory.change_quota(MERCHANT, Quota(report_units_min=REPORT_UNITS))
    clock.advance(5_000)
    budget.charge(directory, MERCHANT, 0)
    with pytest.raises(QuotaExceeded) as caught:
        budget.charge(directory, MERCHANT, 0)
    assert caught.value.limit == REPORT_UNITS


def test_a_pending_change_takes_effect_by_the_reporters_clock_even_without_the_store(
    clock: ManualClock, directory: MemorySiteDirectory
) -> None:
    budget = ReportBudget(MINUTE, clock.now, clock=clock)
    pending = PendingQuota(60_000, Quota(report_units_min=REPORT_UNITS))
    directory.change_quota(MERCHANT, Quota(report_units_min=MINUTE, pending=pending))
    for _ in range(6):
        budget.charge(directory, MERCHANT, 0)
        clock.advance(10_000)
    budget.charge(AbsentDirectory(), MERCHANT, 0)
    with pytest.raises(QuotaExceeded) as caught:
        budget.charge(AbsentDirectory(), MERCHANT, 0)
    assert caught.value.limit == REPORT_UNITS


class AbsentDirectory(MemorySiteDirectory):
    """A directory whose store does not answer."""

    def quota(self, name: str) -> Quota:
        raise Unavailable("the store does not answer")


def test_without_the_store_the_last_known_quota_applies(clock: ManualClock, directory: MemorySiteDirectory) -> None:
    budget = ReportBudget(MINUTE, clock.now, clock=clock)
    directory.change_quota(MERCHANT, Quota(report_units_min=REPORT_UNITS))
    budget.charge(directory, MERCHANT, 0)
    clock.advance(6_000)
    with pytest.raises(QuotaExceeded) as caught:
        budget.charge(AbsentDirectory(), MERCHANT, 0)
    assert caught.value.limit == REPORT_UNITS
    budget.charge(AbsentDirectory(), OTHER, 0)


@pytest.mark.parametrize("reports", [["other"], ["this", "other"]])
def test_a_reporter_counts_itself_also_when_its_report_is_missing(
    clock: ManualClock, directory: MemorySiteDirectory, reports: list[str]
) -> None:
    budget = ReportBudget(MINUTE, clock.now, clock=clock)
    budget.share([ReporterReport(each) for each in reports], "this")
    for _ in range(3):
        budget.charge(directory, MERCHANT, 500_000 - REPORT_UNITS)
    with pytest.raises(QuotaExceeded) as caught:
        budget.charge(directory, MERCHANT, 0)
    assert caught.value.retry_after_s == 1.0, "two reporters spend half of the units before they exchange reports"


def test_headers_tell_the_remaining_units(clock: ManualClock, directory: MemorySiteDirectory) -> None:
    budget = ReportBudget(MINUTE, clock.now, clock=clock)
    assert budget.headers(MERCHANT) == ()
    budget.charge(directory, MERCHANT, 0)
    assert budget.headers(MERCHANT) == (
        ("ratelimit-policy", f'"report_units";q={MINUTE};w=60'),
        ("ratelimit", f'"report_units";r={MINUTE - REPORT_UNITS};t=60'),
    )


def test_memory_is_bounded(clock: ManualClock, directory: MemorySiteDirectory) -> None:
    budget = ReportBudget(MINUTE, clock.now, clock=clock, max_merchants=3)
    for number in range(20):
        budget.charge(directory, f"merchants/m{number}", 0)
    assert [number for number in range(20) if budget.headers(f"merchants/m{number}")] == [17, 18, 19]


def test_merchants_in_parallel_are_charged_with_a_bucket_for_one(clock: ManualClock) -> None:
    budget, charges = ReportBudget(MINUTE, clock.now, clock=clock, max_merchants=1), 3_000
    switch_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(2) as threads:
            directory = MemorySiteDirectory()
            done = [
                threads.submit(lambda name=name: [budget.charge(directory, name, 0) for _ in range(charges)])  # type: ignore[misc]  # mypy infers no type for bound defaults
                for name in (MERCHANT, OTHER)
            ]
            found = []
            for each in done:
                with suppress(QuotaExceeded):
                    found += each.result()
    finally:
        sys.setswitchinterval(switch_s)
    assert set(found) <= {REPORT_UNITS}


def test_the_merchant_closest_to_its_quota_is_reported_if_only_one_may_be(
    clock: ManualClock, directory: MemorySiteDirectory
) -> None:
    budget = ReportBudget(MINUTE, clock.now, clock=clock, max_reported=1)
    for merchant, values in ((MERCHANT, 0), (OTHER, 1_000_000), ("merchants/o", 0)):
        budget.charge(directory, merchant, values)
    assert [use.merchant for use in budget.report("r").spent] == [OTHER]
