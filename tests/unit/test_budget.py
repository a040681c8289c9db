"""Test the budget for bytes in flight: its limit, waiting for bytes, and their release."""

from __future__ import annotations

import threading

from collector.budget import ByteBudget


def test_bytes_that_fit_are_taken_at_once_and_bytes_that_do_not_fit_are_not_taken_in_part() -> None:
    budget = ByteBudget(100)
    assert budget.take(60, timeout_s=0)
    assert not budget.take(41, timeout_s=0)
    assert budget.take(40, timeout_s=0)


def test_bytes_that_were_given_back_can_be_taken_again() -> None:
    budget = ByteBudget(100)
    assert budget.take(100, timeout_s=0)
    assert not budget.take(1, timeout_s=0)
    budget.give(100)
    assert budget.take(100, timeout_s=0)


def test_a_taker_larger_than_the_budget_gets_it_alone() -> None:
    budget = ByteBudget(100)
    assert budget.take(1, timeout_s=0)
    assert not budget.take(500, timeout_s=0)
    budget.give(1)
    assert budget.take(500, timeout_s=0)
    assert not budget.take(1, timeout_s=0)


def test_a_waiting_taker_goes_on_when_room_is_given_back() -> None:
    budget = ByteBudget(100)
    assert budget.take(80, timeout_s=0)
    took = threading.Event()

    def wait_for_room() -> None:
        assert budget.take(50)
        took.set()

    waiter = threading.Thread(target=wait_for_room)
    waiter.start()
    assert not took.is_set()
    budget.give(80)
    waiter.join(timeout=5)
    assert took.is_set()
    assert not budget.take(51, timeout_s=0)
