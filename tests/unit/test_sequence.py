"""Test the order within a stream (rule D4): numbers, repeated batches, undecodable frames, and bytes."""

from __future__ import annotations

import pytest

from collector.answered import REMEMBERED_BATCHES, AnsweredBatches
from collector.batch_identity import BatchIdentity, identity_of
from collector.outcome import BatchOutcome, retry_later
from collector.sequence import UNNUMBERED, Sequence, Verdict
from hitmesh.api.hit.v1 import hit_pb2
from hitmesh.model.positions import LoggedPosition, Position
from hitmesh.model.reasons import HitReason


def outcome(offset: int = 0, accepted: int = 1) -> BatchOutcome:
    return BatchOutcome(positions=(LoggedPosition(Position("log-a", 3, offset), 1_000),), accepted=accepted)


def identity(batch_id: str, content: str = "", key: str = "hms_k") -> BatchIdentity | None:
    hits = [hit_pb2.Hit(hit_id=content)]
    return identity_of(hit_pb2.HitBatch(batch_id=batch_id, ingest_key=key, hits=hits).SerializeToString(), "")


def take(sequence: Sequence, batch_seq: int, batch_id: str = "", size: int = 10) -> None:
    assert sequence.arrive(batch_seq, identity(batch_id), size) is Verdict.TAKE


def test_the_first_batch_is_the_one_after_what_was_acknowledged_before() -> None:
    sequence = Sequence(resume_from=7)
    assert sequence.acked_through == 7
    assert sequence.arrive(9, identity(""), 1) is Verdict.GAP
    assert sequence.arrive(1, identity(""), 1) is Verdict.GAP
    take(sequence, 8)


def test_a_batch_is_acknowledged_only_after_its_outcome_is_known() -> None:
    sequence = Sequence(0)
    take(sequence, 1)
    assert sequence.progress() is None
    assert not sequence.ready
    assert not sequence.idle


def test_acks_are_cumulative_and_in_order_whatever_the_order_of_outcomes() -> None:
    sequence = Sequence(0)
    for batch_seq in (1, 2, 3):
        take(sequence, batch_seq, size=100 * batch_seq)
    sequence.finish(3, outcome(30))
    sequence.finish(2, outcome(20))
    assert sequence.progress() is None
    assert sequence.acked_through == 0
    sequence.finish(1, outcome(10))
    progress = sequence.progress()
    assert progress is not None
    assert progress.acked_through == 3
    assert [batch_seq for batch_seq, _ in progress.outcomes] == [1, 2, 3]
    assert progress.freed_bytes == 600
    assert sequence.unacked_bytes == 0
    assert sequence.idle


def test_a_gap_changes_nothing_of_what_was_taken_before() -> None:
    sequence = Sequence(0)
    take(sequence, 1)
    assert sequence.arrive(3, identity(""), 10) is Verdict.GAP
    assert sequence.unacked_bytes == 10
    sequence.finish(1, outcome())
    assert sequence.acked_through == 0
    progress = sequence.progress()
    assert progress is not None
    assert progress.acked_through == 1


@pytest.mark.parametrize("number", [1, 2])
def test_a_batch_sent_again_after_its_ack_gets_the_same_receipts_and_no_new_hits(number: int) -> None:
    sequence = Sequence(0)
    take(sequence, 1, "b-1")
    sequence.finish(1, outcome(41, accepted=5))
    sequence.progress()
    assert sequence.arrive(number, identity("b-1"), 10) is Verdict.RESUME
    progress = sequence.progress()
    assert progress is not None
    ((batch_seq, again),) = progress.outcomes
    assert batch_seq == number
    assert again.positions == outcome(41).positions
    assert again.accepted == 0
    assert progress.freed_bytes == 10


@pytest.mark.parametrize("number", [1, 2])
def test_a_batch_sent_again_while_it_is_on_its_way_is_acknowledged_with_it(number: int) -> None:
    sequence = Sequence(0)
    take(sequence, 1, "b-1")
    assert sequence.arrive(number, identity("b-1"), 10) is Verdict.RESUME
    assert sequence.unacked_bytes == 20
    sequence.finish(1, outcome(41, accepted=5))
    progress = sequence.progress()
    assert progress is not None
    assert [batch_seq for batch_seq, _ in progress.outcomes] == [1, number]
    assert [result.accepted for _, result in progress.outcomes] == [5, 0]
    assert {result.positions for _, result in progress.outcomes} == {outcome(41).positions}
    assert sequence.idle
    assert sequence.unacked_bytes == 0
    take(sequence, number + 1)


def test_a_batch_without_a_number_is_out_of_sequence_even_if_its_id_is_known_or_garbage_came_before() -> None:
    sequence = Sequence(0)
    assert sequence.arrive(UNNUMBERED, identity("b-1"), 10) is Verdict.GAP
    assert sequence.due == 1
    sequence.garbage(3)
    assert sequence.arrive(UNNUMBERED, identity("b-1"), 10) is Verdict.GAP
    take(sequence, 2, "b-1")
    assert sequence.arrive(UNNUMBERED, identity("b-1"), 10) is Verdict.GAP
    sequence.finish(2, outcome(41))
    assert sequence.arrive(UNNUMBERED, identity("b-1"), 10) is Verdict.GAP


def test_batches_without_an_id_are_never_repeats() -> None:
    sequence = Sequence(0)
    take(sequence, 1, "")
    take(sequence, 2, "")
    sequence.finish(1, outcome(1))
    assert sequence.arrive(1, identity(""), 10) is Verdict.GAP


def test_a_batch_that_was_put_off_is_taken_anew_when_it_comes_again() -> None:
    sequence = Sequence(0)
    take(sequence, 1, "b-1")
    sequence.finish(1, retry_later(HitReason.LOG_FULL, "the log is full", 2.0))
    take(sequence, 2, "b-1")
    sequence.finish(2, outcome(8))
    progress = sequence.progress()
    assert progress is not None
    assert [result.accepted for _, result in progress.outcomes] == [0, 1]


def test_a_repeat_of_a_batch_that_was_put_off_is_not_left_waiting() -> None:
    sequence = Sequence(0)
    take(sequence, 1, "first")
    take(sequence, 2, "b-2")
    sequence.finish(2, retry_later(HitReason.LOG_FULL, "the log is full", 2.0))
    take(sequence, 3, "b-2")
    sequence.finish(3, outcome(9))
    sequence.finish(1, outcome(7))
    progress = sequence.progress()
    assert progress is not None
    assert progress.acked_through == 3
    assert sequence.idle


def test_garbage_has_a_number_and_the_client_may_use_it_or_the_next() -> None:
    for next_number in (5, 6):
        sequence = Sequence(4)
        assert sequence.garbage(3) == 5
        take(sequence, next_number, "good")
        sequence.finish(next_number, outcome(2))
        sequence.finish(5, BatchOutcome(), is_garbage=True)
        progress = sequence.progress()
        assert progress is not None
        answer_seq = UNNUMBERED if next_number == 5 else 5  # no two frames may be answered with the same number
        assert [batch_seq for batch_seq, _ in progress.outcomes] == [answer_seq, next_number]
        assert progress.acked_through == next_number
        assert sequence.idle
        take(sequence, next_number + 1)


def test_a_batch_with_the_number_of_garbage_gets_its_own_outcome() -> None:
    sequence = Sequence(0)
    sequence.garbage(3)
    take(sequence, 1, "good", size=20)
    sequence.finish(1, BatchOutcome(), is_garbage=True)
    sequence.finish(1, outcome(2))
    progress = sequence.progress()
    assert progress is not None
    assert [result.accepted for _, result in progress.outcomes] == [0, 1]
    assert progress.freed_bytes == 23


def test_several_garbage_frames_in_a_row_may_all_go_uncounted() -> None:
    for next_number in (1, 2, 3, 4):
        sequence = Sequence(0)
        assert [sequence.garbage(1) for _ in range(3)] == [1, 2, 3]
        take(sequence, next_number)
    sequence = Sequence(0)
    sequence.garbage(1)
    assert sequence.arrive(3, identity(""), 1) is Verdict.GAP


def test_only_the_last_ids_are_remembered() -> None:
    sequence = Sequence(0)
    count = REMEMBERED_BATCHES + 1
    for batch_seq in range(1, count + 1):
        take(sequence, batch_seq, f"b-{batch_seq}")
        sequence.finish(batch_seq, outcome(batch_seq))
        sequence.progress()
    assert sequence.arrive(count + 1, identity(f"b-{count}"), 1) is Verdict.RESUME
    take(sequence, count + 2, "b-1")


@pytest.mark.parametrize("other", [identity("b-1", "other content"), identity("b-1", key="hms_other")])
def test_a_batch_with_the_id_of_another_batch_is_taken(other: BatchIdentity) -> None:
    sequence = Sequence(0)
    take(sequence, 1, "b-1")
    assert sequence.arrive(2, other, 10) is Verdict.TAKE, "the first batch is pending"
    sequence.finish(1, outcome(41))
    sequence.finish(2, outcome(42))
    sequence.progress()
    for number, known, offset in ((3, other, 42), (4, identity("b-1"), 41)):
        assert sequence.arrive(number, known, 10) is Verdict.RESUME
        progress = sequence.progress()
        assert progress is not None
        assert [result.positions for _, result in progress.outcomes] == [outcome(offset).positions]


def test_a_batch_that_was_refused_is_admitted_anew_when_it_is_sent_again() -> None:
    sequence = Sequence(0)
    take(sequence, 1, "b-1")
    sequence.finish(1, BatchOutcome(rejected=1))
    take(sequence, 2, "b-1")
    sequence.finish(2, outcome(8))
    progress = sequence.progress()
    assert progress is not None
    assert [result.accepted for _, result in progress.outcomes] == [0, 1]


def test_the_issues_and_receipts_of_remembered_batches_are_bounded() -> None:
    sequence = Sequence(0, AnsweredBatches(most_batches=10, most_parts=3))
    for batch_seq in range(1, 6):
        take(sequence, batch_seq, f"b-{batch_seq}")
        sequence.finish(batch_seq, outcome(batch_seq))
    assert sequence.arrive(6, identity("b-3"), 1) is Verdict.RESUME
    take(sequence, 7, "b-2")
    many = BatchOutcome(positions=outcome(1).positions * 4, accepted=4)
    sequence.finish(7, many)
    take(sequence, 8, "b-5")
