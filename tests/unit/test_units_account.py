"""Test how much of a merchant's report units a reporter spends before the next exchange with other reporters."""

from __future__ import annotations

import pytest

from hitmesh.model.quotas import UnitsSpent
from reporter.answer.units_account import UnitsAccount

QUOTA, PERIOD_MS = 60_000, 1_000


def spent_in_a_period(account: UnitsAccount, live: int) -> int:
    """Charge reports of 500 units until the account lets a report wait, and return the charged units."""
    spent = 0
    while not account.wait_ms(500, 0, live, PERIOD_MS):
        account.charge(500, 0)
        spent += 500
    return spent


@pytest.mark.parametrize(("live", "units"), [(1, 60_000), (2, 15_000), (4, 7_500), (10, 3_000)])
def test_reporters_together_spend_half_of_what_remains_before_they_hear_of_each_other(live: int, units: int) -> None:
    account = UnitsAccount("merchants/m", QUOTA, 0, {})
    assert spent_in_a_period(account, live) == units


def test_a_report_that_costs_more_than_a_reporters_part_passes_alone() -> None:
    account = UnitsAccount("merchants/m", QUOTA, 0, {})
    assert account.wait_ms(50_000, 0, 10, PERIOD_MS) == 0
    account.charge(50_000, 0)
    assert account.wait_ms(500, 0, 10, PERIOD_MS) == PERIOD_MS


def test_a_reporter_that_starts_to_count_again_gives_nothing_back() -> None:
    account = UnitsAccount("merchants/m", QUOTA, 0, {})
    account.learn({"b": UnitsSpent("merchants/m", since=1, units=30_000, level=30_000)}, 0)
    assert account.tokens(0) == 30_000
    account.learn({"b": UnitsSpent("merchants/m", since=2, units=1_000, level=29_000)}, 0)
    assert account.tokens(0) == 29_000
    account.learn({"b": UnitsSpent("merchants/m", since=2, units=3_000, level=27_000)}, 0)
    assert account.tokens(0) == 27_000


def test_a_reporter_that_is_forgotten_is_charged_for_no_more_than_is_missing() -> None:
    account = UnitsAccount("merchants/m", QUOTA, 0, {}, max_seen=1)
    uses = {name: UnitsSpent("merchants/m", since=1, units=10_000, level=50_000) for name in ("b", "c")}
    account.learn(uses, 0)
    assert account.tokens(0) == 40_000
    account.learn({"c": uses["c"]}, 0)
    assert account.tokens(0) == 40_000, "the latest report is kept"
    account.learn({"b": UnitsSpent("merchants/m", since=1, units=90_000, level=50_000)}, 0)
    assert account.tokens(0) == 30_000


def test_a_count_is_reported_until_every_reporter_has_seen_it() -> None:
    account = UnitsAccount("merchants/m", QUOTA, 0, {}, kept_periods=1)
    account.charge(500, 0)
    assert account.ended_period(60_000) == UnitsSpent("merchants/m", 0, 500, QUOTA)
    assert account.ended_period(61_000) is None


def test_assumed_units_pay_for_a_reporters_first_report_within_the_kept_periods() -> None:
    for periods, left in ((1, QUOTA - 30_000), (2, QUOTA - 30_000 - 20_000)):
        account = UnitsAccount("merchants/m", QUOTA, 0, {"b": UnitsSpent("merchants/m", 1, 0, QUOTA)}, kept_periods=1)
        account.assume_spent(60_000, 2, 0)
        assert account.tokens(0) == QUOTA - 30_000
        for _ in range(periods):
            account.ended_period(0)
        account.learn({"b": UnitsSpent("merchants/m", 1, 20_000, QUOTA - 20_000)}, 0)
        assert account.tokens(0) == left
        account.learn({"b": UnitsSpent("merchants/m", 1, 21_000, QUOTA - 21_000)}, 0)
        assert account.tokens(0) == left - 1_000, "later reports are charged in full"
