"""Reporters together keep a merchant's quota of report units, in simulated time."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hitmesh.adapters.memory.directory import MemorySiteDirectory
from hitmesh.adapters.memory.reporter_reports import MemoryReporterReports
from hitmesh.model.errors import QuotaExceeded, Unavailable
from hitmesh.model.quotas import ReporterReport
from hitmesh.runtime.quota_shares import QuotaShares
from reporter.answer.report_budget import REPORT_UNITS, ReportBudget
from tests.support.clock import ManualClock

MERCHANT = "merchants/m"
RATE = 100_000
"""Units per second."""
QUOTA = RATE * 60
STEP_MS = 200
DIRECTORY = MemorySiteDirectory()


class Reporters:
    """Reporters on one store of reports. Each exchanges once a second, at a different time of the second."""

    def __init__(self, count: int, clock: ManualClock, reports: MemoryReporterReports) -> None:
        self.clock, self.reports = clock, reports
        self.budgets = [ReportBudget(QUOTA, self.clock.now, clock=self.clock) for _ in range(count)]
        self._exchanges = [QuotaShares(self.reports, each, f"r{at}", 1.0) for at, each in enumerate(self.budgets)]
        for _ in range(2):
            for each in self._exchanges:
                each.exchange()

    def restart(self, at: int) -> None:
        """Replace a reporter by a new process with the same name."""
        self.budgets[at] = ReportBudget(QUOTA, self.clock.now, clock=self.clock)
        self._exchanges[at] = QuotaShares(self.reports, self.budgets[at], f"r{at}", 1.0)
        self._exchanges[at].exchange()

    def spend(self, seconds: int, demand: Sequence[float], values: int, rows: int = 0) -> int:
        """Return the units that were spent. `demand` is, for each reporter, the offered units per second / RATE."""
        spent, waiting, cost = 0, [0.0] * len(demand), REPORT_UNITS + values + rows
        for step in range(seconds * 1_000 // STEP_MS):
            self.clock.advance(STEP_MS)
            for at, budget in enumerate(self.budgets):
                waiting[at] += demand[at] * RATE * STEP_MS / 1_000 / cost
                while waiting[at] >= 1:
                    units = self._ask(budget, values, rows)
                    # A refused report is asked again in the next step. The reports behind it are not asked.
                    waiting[at] = waiting[at] - 1 if units else 0.999
                    spent += units
                if step % (1_000 // STEP_MS) == at % (1_000 // STEP_MS):
                    self._exchanges[at].exchange()
        return spent

    @staticmethod
    def _ask(budget: ReportBudget, values: int, rows: int) -> int:
        try:
            charged = budget.charge(DIRECTORY, MERCHANT, values)
        except QuotaExceeded:
            return 0
        budget.add(MERCHANT, rows)
        return charged + rows


def reporters_on_one_store(count: int) -> Reporters:
    clock = ManualClock(1_000_000)
    return Reporters(count, clock, MemoryReporterReports(clock))


@pytest.mark.parametrize("overload", [1.5, 50])
@pytest.mark.parametrize("values", [0, 498_000])
@pytest.mark.parametrize(
    "division",
    [[1], [1, 0, 0], [0.8, 0.2, 0], [0.98, 0.01, 0.01], [0.5, 0.5], [1, *[0] * 9], [0.1] * 10, [0.55, *[0.05] * 9]],
)
def test_reporters_together_keep_the_quota(division: list[float], values: int, overload: float) -> None:
    reporters = reporters_on_one_store(len(division))
    demand = [overload * part for part in division]
    first = reporters.spend(150, demand, values)
    largest = len(division) * (values + REPORT_UNITS)
    assert first <= 1.2 * (150 * RATE + QUOTA) + largest, "the bucket is full at first"
    # Reports that cost the quota of seconds pass in all reporters at the same time, after a long wait.
    seconds = 600 if values else 120
    assert reporters.spend(seconds, demand, values) == pytest.approx(seconds * RATE, rel=0.2)


@settings(max_examples=5, deadline=None)
@given(st.integers(1, 10), st.integers(0, 2**32), st.sampled_from([0, 20_000]), st.sampled_from([0, 30_000]))
def test_no_division_that_changes_all_the_time_spends_more(count: int, seed: int, values: int, rows: int) -> None:
    reporters, rng, spent = reporters_on_one_store(count), random.Random(seed), 0
    for _ in range(20):
        parts = [rng.random() ** 3 for _ in range(count)]
        spent += reporters.spend(15, [3 * part / sum(parts) for part in parts], values, rows)
    assert 0.8 * 300 * RATE <= spent <= 1.2 * 300 * RATE + QUOTA


def test_reports_within_the_quota_are_never_refused() -> None:
    reporters = reporters_on_one_store(10)
    demand = [0.5, 0.3, *[0.01] * 8]
    offered = sum(demand) * RATE * 120
    assert reporters.spend(120, demand, 0) == pytest.approx(offered, rel=0.005)


def test_a_reporter_that_starts_grants_nothing_that_the_others_have_spent() -> None:
    reporters = reporters_on_one_store(3)
    reporters.spend(120, [3, 3, 0], 0)
    reporters.restart(2)
    assert reporters.spend(20, [3, 3, 3], 0) == pytest.approx(20 * RATE, rel=0.2)


class AbsentReports(MemoryReporterReports):
    """Reports in a store that may be unavailable."""

    is_absent = False

    def put(self, report: ReporterReport, length_ms: int) -> None:
        if self.is_absent:
            raise Unavailable("the store does not answer")
        super().put(report, length_ms)


def test_without_the_store_each_reporter_grants_its_equal_part() -> None:
    clock = ManualClock(1_000_000)
    reports = AbsentReports(clock)
    reporters = Reporters(4, clock, reports)
    reporters.spend(120, [1] * 4, 0)
    reports.is_absent = True
    reporters.spend(10, [1] * 4, 0)
    assert reporters.spend(120, [1] * 4, 0) == pytest.approx(120 * RATE, rel=0.2)


@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.parametrize("outage_s", [30, 600])
def test_when_the_store_is_back_the_whole_quota_is_granted_at_once(count: int, outage_s: int) -> None:
    clock = ManualClock(1_000_000)
    reports = AbsentReports(clock)
    reporters, demand = Reporters(count, clock, reports), [3 / count] * count
    reporters.spend(120, demand, 0)
    reports.is_absent = True
    reporters.spend(outage_s, demand, 0)
    reports.is_absent = False
    for _ in range(3):
        assert reporters.spend(20, demand, 0) == pytest.approx(20 * RATE, rel=0.2)


def test_units_assumed_for_silent_reporters_pay_for_nothing_later() -> None:
    clock = ManualClock(1_000_000)
    reports = AbsentReports(clock)
    reporters = Reporters(2, clock, reports)
    reporters.spend(120, [1, 0], 0)
    reports.is_absent = True
    reporters.spend(120, [1, 0], 0)
    reports.is_absent = False
    reporters.spend(30, [1, 0], 0)
    assert reporters.spend(120, [1, 1], 0) == pytest.approx(120 * RATE, rel=0.2)


def test_units_that_are_given_back_are_given_back_in_every_reporter() -> None:
    reporters = reporters_on_one_store(2)
    first, second = reporters.budgets
    second.charge(DIRECTORY, MERCHANT, 0)
    for _ in range(3):
        charged = first.charge(DIRECTORY, MERCHANT, QUOTA // 2)
        reporters.spend(1, [0, 0], 0)
        assert f"r={QUOTA}" not in second.headers(MERCHANT)[1][1]
        first.add(MERCHANT, -charged)
        reporters.spend(1, [0, 0], 0)
        assert f"r={QUOTA}" in second.headers(MERCHANT)[1][1]
