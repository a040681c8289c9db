"""Test the budget for refused work, with literal times and one unit per second."""

from __future__ import annotations

from collector.refusal_budget import BURST_S, KEYLESS, MAX_DEBT_S, RefusalBudget, RefusedSender

SHOP, OTHER = RefusedSender("shop", "1.2.3.4"), RefusedSender("shop", "5.6.7.8")


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def a_budget(max_senders: int = 10) -> tuple[RefusalBudget, Clock]:
    clock = Clock()
    return RefusalBudget(1.0, clock, max_senders=max_senders), clock


def test_a_sender_waits_until_the_debt_is_paid() -> None:
    budget, clock = a_budget()
    budget.charge(KEYLESS, BURST_S)
    assert (budget.wait_s(KEYLESS), budget.any_debt) == (0.0, False)
    budget.charge(KEYLESS, 3.0)
    assert (budget.wait_s(KEYLESS), budget.any_debt) == (3.0, True)
    clock.now_s += 3.0
    assert (budget.wait_s(KEYLESS), budget.any_debt) == (0.0, False)


def test_a_small_debt_does_not_hide_a_larger_debt_of_another_sender() -> None:
    budget, clock = a_budget()
    budget.charge(SHOP, BURST_S + 10.0)
    budget.charge(KEYLESS, BURST_S + 1.0)
    clock.now_s += 2.0
    assert (budget.wait_s(SHOP), budget.any_debt) == (8.0, True)


def test_debt_is_bounded() -> None:
    budget, _ = a_budget()
    budget.charge(KEYLESS, 1e9)
    assert budget.wait_s(KEYLESS) == MAX_DEBT_S


def test_an_address_pays_for_itself() -> None:
    budget, _ = a_budget()
    budget.charge(SHOP, BURST_S + 1.0)
    assert budget.wait_s(SHOP) == 1.0
    assert budget.wait_s(OTHER) == budget.wait_s(KEYLESS) == 0.0


def test_when_all_browsers_cost_too_much_only_senders_with_many_refusals_wait() -> None:
    budget, _ = a_budget()
    for number in range(4):
        budget.charge(RefusedSender("shop", str(number)), BURST_S * 0.75)
    assert budget.wait_s(RefusedSender("shop", "0")) == BURST_S * 2
    assert budget.wait_s(OTHER) == 0.0


def test_few_senders_are_remembered() -> None:
    budget, _ = a_budget(max_senders=3)
    for number in range(50):
        budget.charge(RefusedSender("shop", str(number)), 100.0)
    assert len(budget._buckets) == 3


def test_work_in_parallel_is_set_aside_before_it_is_charged() -> None:
    budget, _ = a_budget()
    assert [budget.hold(SHOP, BURST_S), budget.hold(SHOP, 2.0)] == [0.0, 0.0], "the bucket holds what is set aside"
    assert [budget.hold(SHOP, 1.0), budget.hold(SHOP, 1.0)] == [2.0, 2.0], "who waits has nothing set aside"
    assert (budget.wait_s(SHOP), budget.hold(OTHER, 1.0)) == (0.0, 0.0)
    budget.let_go(SHOP, 2.0)
    assert budget.hold(SHOP, 1.0) == 0.0
    budget.let_go(SHOP, 1.0)
    budget.let_go(SHOP, BURST_S)
    budget.charge(SHOP, BURST_S + 1.0)
    assert budget.hold(SHOP, 1.0) == 1.0
