"""Test the send window with literal numbers, sizes and times."""

from __future__ import annotations

import pytest

from hitmesh.api.collector.v1 import collector_pb2 as pb
from hitmesh.client.patience import Patience
from hitmesh.client.send_window import SendWindow
from tests.support.parcels import Parcel, ack, credit, go_away, ready, rejected, retry

PATIENCE = Patience(attempts=3, first_s=0.5, stall_s=60.0)


def window(*parcels: Parcel, credit_bytes: int = 1_000, now_s: float = 0.0) -> SendWindow[Parcel]:
    """Return a send window whose stream was opened at `now_s` and is ready."""
    opened: SendWindow[Parcel] = SendWindow(PATIENCE)
    for parcel in parcels:
        opened.add(parcel)
    opened.reopen(now_s)
    opened.respond(ready(credit_bytes), now_s)
    return opened


def parcels(count: int, hits: int = 2) -> list[Parcel]:
    return [Parcel(f"b{number}", tuple(range(number * hits, (number + 1) * hits))) for number in range(count)]


def send(opened: SendWindow[Parcel], now_s: float = 0.0) -> list[tuple[int, Parcel]]:
    """Send all batches that the window permits at this moment. A message has the size of its batch."""
    sent = []
    while (head := opened.head(now_s)) is not None and opened.fits(head.size):
        sent.append((opened.next_number, head))
        opened.take(head.size, now_s)
    return sent


def test_batches_are_sent_only_after_the_stream_is_ready() -> None:
    opened: SendWindow[Parcel] = SendWindow(PATIENCE)
    opened.add(Parcel("b0", (0,)))
    assert opened.reopen(0.0) == 0
    assert opened.head(0.0) is None
    opened.respond(ready(100), 0.0)
    assert opened.head(0.0) == Parcel("b0", (0,))


def test_numbers_begin_at_one_and_have_no_gaps() -> None:
    opened = window(*parcels(3))
    assert [number for number, _ in send(opened)] == [1, 2, 3]
    assert opened.next_number == 4


def test_batches_in_flight_stay_within_the_credit_until_more_is_granted() -> None:
    opened = window(*parcels(4), credit_bytes=50)
    assert len(send(opened)) == 2  # 20 bytes each
    opened.respond(ack(1), 0.0)
    assert send(opened) == []  # an acknowledgement does not grant credit
    opened.respond(credit(10), 0.0)
    assert [number for number, _ in send(opened)] == [3]


def test_batch_larger_than_all_credit_is_sent_only_when_no_other_batch_is_in_flight() -> None:
    small, large = Parcel("small", (0,)), Parcel("large", tuple(range(1, 12)))
    opened = window(small, large, credit_bytes=100)
    assert send(opened) == [(1, small)]
    opened.respond(ack(1), 0.0)
    opened.respond(credit(10), 0.0)
    assert send(opened) == [(2, large)]


def test_batch_as_large_as_the_credit_waits_for_the_whole_credit() -> None:
    small, large = Parcel("small", (0,)), Parcel("large", tuple(range(1, 11)))
    opened = window(small, large, credit_bytes=100)
    send(opened)
    opened.respond(ack(1), 0.0)
    assert send(opened) == []
    opened.respond(credit(10), 0.0)
    assert send(opened) == [(2, large)]


def test_broken_stream_is_resumed_after_the_last_acknowledged_batch_and_the_rest_goes_first() -> None:
    first, second, third, fourth = parcels(4)
    opened = window(first, second, third)
    send(opened)
    opened.respond(ack(1), 0.0)
    opened.add(fourth)
    assert opened.reopen(5.0) == 1
    assert opened.head(5.0) is None  # the credit of the old stream is no longer valid
    opened.respond(ready(1_000), 5.0)
    assert send(opened, 5.0) == [(2, second), (3, third), (4, fourth)]
    settled = opened.respond(ack(4), 6.0)
    assert [(outcome.batch, outcome.resent) for outcome in settled] == [(second, 2), (third, 2), (fourth, 0)]
    assert opened.is_idle


def test_progress_is_counted_per_stream() -> None:
    opened = window(*parcels(2))
    send(opened)
    assert not opened.progressed
    opened.respond(ack(1), 0.0)
    assert opened.progressed
    opened.reopen(1.0)
    assert not opened.progressed


def test_rejected_hits_are_final_and_the_first_refusals_are_kept() -> None:
    opened = window(Parcel("b", tuple(range(9))))
    send(opened)
    (outcome,) = opened.respond(ack(1, *(rejected(1, index, f"m{index}") for index in range(7))), 0.0)
    assert (outcome.accepted, outcome.rejected, outcome.given_up) == (2, 7, "")
    assert [issue.message for issue in outcome.refusals] == ["m0", "m1", "m2", "m3", "m4"]
    assert opened.is_idle


def test_hit_to_retry_goes_again_without_the_others_when_the_delay_is_over() -> None:
    opened = window(Parcel("b", (10, 11, 12, 13)))
    send(opened)
    (outcome,) = opened.respond(ack(1, retry(1, 2, delay_ms=2_000), rejected(1, 0)), 100.0)
    assert (outcome.accepted, outcome.rejected) == (2, 1)
    assert (opened.queued_bytes, opened.is_waiting, opened.is_idle) == (10, False, False)
    assert opened.wakes_at_s() == 102.0
    assert opened.head(101.9) is None
    assert send(opened, 102.0) == [(2, Parcel("b.1", (12,)))]
    assert opened.respond(ack(2), 103.0)[0].accepted == 1
    assert opened.is_idle


def test_batch_to_retry_as_a_whole_keeps_its_name_and_waits_at_least_the_first_pause() -> None:
    batch = Parcel("b", (1, 2))
    opened = window(batch)
    send(opened)
    opened.respond(ack(1, retry(1, None)), 100.0)
    assert send(opened, 100.4) == []
    assert send(opened, 100.5) == [(2, batch)]


def test_hit_that_is_rejected_is_not_sent_again_even_if_the_batch_is() -> None:
    opened = window(Parcel("b", (1, 2)))
    send(opened)
    (outcome,) = opened.respond(ack(1, rejected(1, 0), retry(1, None)), 0.0)
    assert (outcome.accepted, outcome.rejected) == (0, 1)
    assert send(opened, 1.0) == [(2, Parcel("b.1", (2,)))]


def test_batch_is_given_up_after_as_many_attempts_as_patience_allows() -> None:
    opened = window(Parcel("b", (1, 2)))
    for number in (1, 2):
        send(opened, 10.0 * number)
        (outcome,) = opened.respond(ack(number, retry(number, None)), 10.0 * number)
        assert (outcome.attempts, outcome.given_up) == (number, "")
    send(opened, 30.0)
    (outcome,) = opened.respond(ack(3, retry(3, None, message="the log is full"), rejected(3, 0)), 30.0)
    assert (outcome.accepted, outcome.rejected, outcome.attempts) == (0, 1, 3)
    assert outcome.given_up == "the log is full"
    assert opened.is_idle


def test_issues_and_receipts_before_the_acknowledgement_are_kept_until_then() -> None:
    opened = window(*parcels(2))
    send(opened)
    receipt = pb.Receipt(batch_seq=2, topic="hits", offset=9)
    assert opened.respond(ack(0, rejected(2, 1), receipts=[receipt]), 0.0) == []
    first, second = opened.respond(ack(2), 0.0)
    assert (first.accepted, second.accepted, second.rejected) == (2, 1, 1)
    assert (list(first.receipts), list(second.receipts)) == ([], [receipt])


def test_issues_of_a_broken_stream_are_forgotten() -> None:
    opened = window(*parcels(1))
    send(opened)
    opened.respond(ack(0, rejected(1, 0)), 0.0)
    opened.reopen(1.0)
    opened.respond(ready(100), 1.0)
    send(opened, 1.0)
    assert opened.respond(ack(1), 1.0)[0].rejected == 0


@pytest.mark.parametrize("index", [2, 99, -1, -2])
def test_index_beyond_the_batch_names_no_hit(index: int) -> None:
    opened = window(*parcels(1))
    send(opened)
    (outcome,) = opened.respond(ack(1, rejected(1, index), retry(1, index)), 0.0)
    assert (outcome.accepted, outcome.rejected) == (2, 0)


def test_issue_of_a_batch_that_is_not_in_flight_is_ignored() -> None:
    opened = window(*parcels(1))
    send(opened)
    opened.respond(ack(1), 0.0)
    assert opened.respond(ack(1, rejected(1, 0), rejected(7, 0), rejected(0, 0)), 0.0) == []


def test_acknowledgement_beyond_the_last_number_settles_only_batches_that_were_sent() -> None:
    opened = window(*parcels(2))
    send(opened)
    assert len(opened.respond(ack(50), 0.0)) == 2
    assert (opened.acked_through, opened.next_number) == (2, 3)


def test_after_go_away_the_rest_waits_for_the_next_stream() -> None:
    first, second = parcels(2)
    opened = window(first)
    send(opened)
    opened.respond(go_away(2_000), 10.0)
    opened.add(second)
    assert (opened.is_draining, opened.head(10.0)) == (True, None)
    assert len(opened.respond(ack(1), 11.0)) == 1
    assert opened.wakes_at_s() == 17.0  # the stream's time-out ends the wait
    assert not opened.break_off(16.9)
    assert opened.break_off(17.0)  # the delay of 2 s and the margin of 5 s have passed
    assert opened.reopen(18.0) == 1
    opened.respond(ready(100), 18.0)
    assert send(opened, 18.0) == [(2, second)]


def test_stream_is_broken_off_once_when_an_answer_is_due_for_too_long() -> None:
    opened = window(*parcels(1), now_s=100.0)
    send(opened, 130.0)
    assert opened.wakes_at_s() == 190.0
    assert not opened.break_off(189.9)
    assert opened.break_off(190.0)
    assert not opened.break_off(190.1)


def test_stream_that_owes_no_answer_may_be_silent_for_ever() -> None:
    opened = window()
    assert opened.wakes_at_s() == float("inf")
    assert not opened.break_off(1e9)


def test_stream_that_never_becomes_ready_is_broken_off() -> None:
    opened: SendWindow[Parcel] = SendWindow(PATIENCE)
    opened.reopen(100.0)
    assert not opened.break_off(159.9)
    assert opened.break_off(160.0)


def test_stream_that_returns_no_credit_is_broken_off() -> None:
    opened = window(*parcels(2), credit_bytes=30)
    send(opened)
    opened.respond(ack(1), 10.0)
    assert send(opened, 10.0) == []
    assert opened.break_off(70.0)


def test_queued_bytes_are_those_of_batches_that_wait_for_credit_or_for_their_retry() -> None:
    opened = window(*parcels(3), credit_bytes=20)
    assert opened.queued_bytes == 60
    send(opened)
    assert opened.queued_bytes == 40
    opened.respond(ack(1, retry(1, 0)), 0.0)
    assert opened.queued_bytes == 50
    opened.respond(credit(20), 0.0)
    send(opened)
    opened.reopen(1.0)
    assert opened.queued_bytes == 50
    opened.clear()
    assert (opened.queued_bytes, opened.is_idle) == (0, True)


def test_announced_end_of_a_stream_does_not_end_the_next_stream() -> None:
    opened = window(*parcels(1))
    send(opened)
    opened.respond(go_away(2_000), 10.0)
    opened.respond(ack(1), 10.0)
    opened.reopen(11.0)
    opened.respond(ready(100), 11.0)
    assert opened.wakes_at_s() == float("inf")
    assert not opened.break_off(17.0)


def test_batch_that_is_refused_for_now_without_a_message_is_given_up_too() -> None:
    opened = window(Parcel("b", (1, 2)))
    for number in (1, 2, 3):
        send(opened, 10.0 * number)
        (outcome,) = opened.respond(ack(number, retry(number, None, message="")), 10.0 * number)
    assert (outcome.accepted, outcome.given_up) == (0, "no message")
    assert opened.is_idle


def test_hits_to_retry_wait_for_the_longest_delay_of_their_batch() -> None:
    opened = window(Parcel("b", (1, 2)))
    send(opened)
    opened.respond(ack(1, retry(1, 0, delay_ms=2_000), retry(1, 1, delay_ms=1_000)), 100.0)
    assert opened.wakes_at_s() == 102.0
