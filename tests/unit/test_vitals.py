"""Test the health of a process with literal times: live, started, ready, causes, and no flapping."""

from __future__ import annotations

import pytest

from hitmesh.model.errors import Unavailable
from hitmesh.runtime.vitals import Condition, VitalLimits, Vitals

LIMITS = VitalLimits(stuck_after_s=10, silent_after_s=5, steady_s=3, dead_after_s=60)


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def vitals(clock: Clock) -> Vitals:
    return Vitals(LIMITS, clock)


def at(vitals: Vitals, clock: Clock, now_s: float) -> Condition:
    clock.now_s = now_s
    return vitals.condition()


def test_a_process_without_loops_and_stores_is_ready(vitals: Vitals) -> None:
    assert vitals.condition() == Condition(live=True, started=True, ready=True)


def test_a_process_starts_when_its_loops_turn_and_is_ready_when_they_have_worked(vitals: Vitals, clock: Clock) -> None:
    stream, kafka = vitals.loop("the stream"), vitals.store("Kafka")
    found = vitals.condition()
    assert (found.live, found.started, found.ready) == (True, False, False)
    assert found.causes == ("Kafka has not begun", "the stream has not begun")
    kafka.work()
    stream.recover()
    found = vitals.condition()
    assert (found.started, found.ready, found.causes) == (True, False, ("the stream recovers its state",))
    assert found.recovers
    stream.work()
    assert vitals.condition() == Condition(live=True, started=True, ready=True)


def test_a_process_whose_store_was_never_there_is_not_ready_from_the_first_error_on(
    vitals: Vitals, clock: Clock
) -> None:
    kafka, stream = vitals.store("Kafka"), vitals.loop("the stream")
    kafka.fail(Unavailable("no broker listens"))
    stream.fail(Unavailable("no reader"))
    found = vitals.condition()
    assert (found.live, found.started, found.ready) == (True, True, False)
    assert found.causes == ("Kafka has not begun: no broker listens", "the stream has not begun: no reader")
    assert at(vitals, clock, 105.1).causes == ("Kafka: no broker listens", "the stream fails: no reader")


def test_a_stuck_loop_is_named_after_its_limit_and_ends_the_life_of_the_process_later(
    vitals: Vitals, clock: Clock
) -> None:
    vitals.loop("the stream").work()
    assert at(vitals, clock, 110.0).ready
    found = at(vitals, clock, 110.1)
    assert (found.live, found.ready) == (True, False)
    assert found.causes == ("the stream has not turned for 10 s: its thread is stuck",)
    assert at(vitals, clock, 160.0).live
    assert not at(vitals, clock, 160.1).live


def test_a_loop_with_long_turns_has_slack(vitals: Vitals, clock: Clock) -> None:
    vitals.loop("a settler", slack_s=100.0).work()
    assert at(vitals, clock, 210.0).ready
    assert not at(vitals, clock, 210.1).ready
    assert at(vitals, clock, 260.0).live
    assert not at(vitals, clock, 260.1).live


def test_a_loop_that_never_turns_is_not_live_in_the_end(vitals: Vitals, clock: Clock) -> None:
    vitals.loop("the stream")
    assert at(vitals, clock, 160.0).live
    assert not at(vitals, clock, 160.1).live


def test_a_store_that_does_not_answer_or_refuses_is_named_after_its_limit(vitals: Vitals, clock: Clock) -> None:
    kafka, druid = vitals.store("Kafka"), vitals.store("Druid")
    kafka.work()
    druid.work()
    clock.now_s = 104.0
    druid.fail(Unavailable("no broker listens"))
    assert at(vitals, clock, 105.0).ready
    found = at(vitals, clock, 105.1)
    assert (found.live, found.ready) == (True, False)
    assert found.causes == ("Kafka: no answer for 5 s", "Druid: no broker listens")


def test_an_error_between_two_answers_changes_nothing(vitals: Vitals, clock: Clock) -> None:
    kafka = vitals.store("Kafka")
    for second in range(100, 200):
        clock.now_s = second
        if second % 2:
            kafka.fail(Unavailable("no leader"))
        else:
            kafka.work()
        assert vitals.condition().ready


def test_a_process_is_ready_again_only_after_it_was_well_without_a_break(vitals: Vitals, clock: Clock) -> None:
    kafka = vitals.store("Kafka")
    kafka.work()
    assert at(vitals, clock, 100.0).ready
    assert not at(vitals, clock, 106.0).ready
    kafka.work()
    found = at(vitals, clock, 108.9)
    assert (found.ready, found.causes) == (False, ("all is well, but has not been for 3 s yet",))
    assert not at(vitals, clock, 111.1).ready, "the store is silent again before the three seconds are over"
    kafka.work()
    kafka.work()
    clock.now_s = 114.0
    kafka.work()
    assert at(vitals, clock, 114.1) == Condition(live=True, started=True, ready=True)


def test_a_loop_that_turns_but_fails_is_named_with_its_error(vitals: Vitals, clock: Clock) -> None:
    stream = vitals.loop("the stream")
    stream.work()
    for second in range(101, 107):
        clock.now_s = second
        stream.fail(Unavailable("the disk is full"))
        assert vitals.condition().ready
    found = at(vitals, clock, 106.1)
    assert (found.live, found.ready, found.causes) == (True, False, ("the stream fails: the disk is full",))


def test_a_short_recovery_does_not_change_the_readiness(vitals: Vitals, clock: Clock) -> None:
    stream = vitals.loop("the stream")
    stream.work()
    clock.now_s = 103.0
    stream.recover()
    assert at(vitals, clock, 108.0).ready
    assert at(vitals, clock, 108.1).causes == ("the stream recovers its state",)


def test_errors_count_from_the_first_failure_and_not_from_the_last_work(vitals: Vitals, clock: Clock) -> None:
    stream = vitals.loop("the stream")
    stream.work()
    clock.now_s = 109.0  # a turn that took long
    stream.fail(Unavailable("no leader"))
    assert at(vitals, clock, 114.0).ready
    assert at(vitals, clock, 114.1).causes == ("the stream fails: no leader",)
    stream.work()
    stream.fail(Unavailable("no leader"))
    assert at(vitals, clock, 119.1).causes == ()
    assert at(vitals, clock, 119.2).causes == ("the stream fails: no leader",)


def test_a_recovery_after_an_error_is_a_recovery(vitals: Vitals, clock: Clock) -> None:
    stream = vitals.loop("the stream")
    stream.work()
    stream.fail(Unavailable("no leader"))
    clock.now_s = 104.0
    stream.recover()
    found = at(vitals, clock, 105.1)
    assert (found.ready, found.recovers, found.causes) == (False, True, ("the stream recovers its state",))


def test_a_store_that_is_away_never_ends_the_life_of_a_process_that_waits_for_it(vitals: Vitals, clock: Clock) -> None:
    vitals.loop("the stream").work()
    kafka = vitals.store("Kafka")
    kafka.work()
    for second in range(101, 1_000):
        assert at(vitals, clock, second).live, "the loop may be blocked in a call of the store"
    kafka.work()
    assert at(vitals, clock, 1_003).live, "the loop has time to go on"
    for second in range(1_004, 1_061):
        kafka.work()
        at(vitals, clock, second)
    assert not at(vitals, clock, 1_062).live


def test_a_process_that_ends_is_live_but_never_ready_again(vitals: Vitals, clock: Clock) -> None:
    vitals.loop("the stream").work()
    vitals.end("the process stops")
    found = at(vitals, clock, 101.0)
    assert (found.live, found.ready, found.causes) == (True, False, ("the process stops",))
