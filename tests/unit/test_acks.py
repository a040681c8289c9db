"""Test a stream's acks. The size of an ack is bounded, and a batch is acknowledged only after all its issues."""

from __future__ import annotations

import pytest

from collector.acks import acks
from collector.admission import Issue
from collector.outcome import BatchOutcome
from collector.sequence import Progress
from hitmesh.api.collector.v1 import collector_pb2
from hitmesh.model.positions import LoggedPosition, Position

AN_ISSUE = 24  # bytes of each issue in these tests, with its tag and length


def outcome(hits: int, accepted: int = 1) -> BatchOutcome:
    issues = tuple(Issue(0, index + 1, "x" * 8, "REJECTED", "DECODE", "", "") for index in range(hits))
    return BatchOutcome(issues, (LoggedPosition(Position("a", 1, 2), 3),), accepted, hits)


@pytest.mark.parametrize("most_bytes", [1, 2 * AN_ISSUE, 5 * AN_ISSUE, 1_000_000])
def test_every_outcome_is_acknowledged_once_in_messages_within_the_bound(most_bytes: int) -> None:
    progress = Progress(9, tuple((number, outcome(number % 4)) for number in range(3, 9)), 0)
    messages = list(acks(2, progress, most_bytes=most_bytes))
    whole = sum(len(ack.issues) for ack in messages), sum(len(ack.receipts) for ack in messages)
    assert whole == (sum(number % 4 for number in range(3, 9)), 6)
    assert sum(ack.accepted_count for ack in messages) == 6
    parts = [len(ack.issues) + len(ack.receipts) for ack in messages]
    assert all(ack.ByteSize() <= most_bytes + 8 or part == 1 for ack, part in zip(messages, parts, strict=True))
    assert all(parts), "none is empty"
    numbers = [ack.acked_through for ack in messages]
    assert numbers == sorted(numbers)
    assert numbers[-1] == 9


def numbers_of(ack: collector_pb2.Ack) -> list[int]:
    return [issue.batch_seq for issue in ack.issues] + [receipt.batch_seq for receipt in ack.receipts]


def test_a_number_is_acknowledged_with_the_last_of_its_issues() -> None:
    progress = Progress(4, ((3, outcome(2)), (4, outcome(3))), 0)
    seen = [(ack.acked_through, numbers_of(ack)) for ack in acks(2, progress, most_bytes=1)]
    assert seen == [(2, [3]), (2, [3]), (3, [3]), (3, [4]), (3, [4]), (3, [4]), (4, [4])]


def test_issues_that_fit_into_one_message_come_with_their_number() -> None:
    progress = Progress(4, ((2, outcome(1)), (3, outcome(3)), (4, outcome(1))), 0)
    seen = [(ack.acked_through, numbers_of(ack)) for ack in acks(1, progress, most_bytes=130)]
    assert seen == [(2, [2, 2]), (3, [3, 3, 3, 3]), (4, [4, 4])]


def test_garbage_and_repeats_take_no_number_back() -> None:
    (ack,) = acks(7, Progress(8, ((0, BatchOutcome()), (3, BatchOutcome())), 0))
    assert ack.acked_through == 8


def test_a_client_with_default_options_can_read_every_message() -> None:
    long = Issue(0, 1, "i" * 128, "REJECTED", "DECODE", "f" * 100, "m" * 400)
    progress = Progress(5, tuple((number, BatchOutcome((long,) * 2_000, (), 0, 2_000)) for number in range(1, 6)), 0)
    messages = [collector_pb2.StreamHitsResponse(ack=ack) for ack in acks(0, progress)]
    assert sum(len(response.ack.issues) for response in messages) == 10_000
    assert max(response.ByteSize() for response in messages) <= 4 << 20
