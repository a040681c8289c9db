"""Test which batches on a stream are equal (rules D0, D4), and when a reused batch id causes a warning."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.admission.envelopes import MAX_BATCH_BYTES
from collector.answered import AnsweredBatches
from collector.batch_identity import BatchIdentity, identity_of
from collector.outcome import BatchOutcome, retry_later
from hitmesh.api.hit.v1 import hit_pb2
from hitmesh.model.reasons import HitReason

KEY = "hms_stream"


def a_batch(batch_id: str = "1", hit: str = "h-1", ingest_key: str = "") -> hit_pb2.HitBatch:
    return hit_pb2.HitBatch(batch_id=batch_id, ingest_key=ingest_key, hits=[hit_pb2.Hit(hit_id=hit)])


def of(batch: hit_pb2.HitBatch, default_key: str = KEY) -> BatchIdentity:
    found = identity_of(batch.SerializeToString(), default_key)
    assert found is not None
    return found


def test_a_retry_with_a_new_send_time_is_the_same_batch() -> None:
    first, retry = a_batch(), a_batch()
    first.client_send_time.FromMilliseconds(1_000)
    retry.client_send_time.FromMilliseconds(2_000)
    assert of(first) == of(retry) == of(a_batch())


def test_a_key_is_the_same_in_the_batch_and_on_the_stream() -> None:
    assert of(a_batch(ingest_key=KEY)) == of(a_batch())


def test_batches_differ_in_key_id_or_any_content() -> None:
    context, edge, sdk = a_batch(), a_batch(), a_batch()
    context.default_context.SetInParent()
    edge.edge.client_ip = "192.0.2.1"
    sdk.sdk.name = "x"
    others = [a_batch("2"), a_batch(hit="h-2"), a_batch(ingest_key="hms_other"), context, edge, sdk]
    assert len({of(batch) for batch in (a_batch(), *others)}) == len(others) + 1
    assert of(a_batch(), "hms_other") == of(a_batch(ingest_key="hms_other"))


def test_key_and_batch_id_do_not_run_together() -> None:
    assert of(a_batch("bc"), "a") != of(a_batch("c"), "ab")


def test_batches_without_id_and_batches_that_are_refused_unread_have_no_identity() -> None:
    huge = a_batch(hit="x" * MAX_BATCH_BYTES).SerializeToString()
    assert [identity_of(batch, KEY) for batch in (a_batch("").SerializeToString(), b"\x0a\xff", huge)] == [None] * 3


@given(st.binary(max_size=200), st.text(max_size=5))
def test_no_bytes_make_reading_fail(batch: bytes, key: str) -> None:
    identity_of(batch, key)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("12"), st.sampled_from("xyz")), max_size=20))
def test_only_equal_batches_have_equal_identities(batches: list[tuple[str, str, str]]) -> None:
    identities = [of(a_batch(batch_id, hit, ingest_key=key)) for key, batch_id, hit in batches]
    assert [identities.index(each) for each in identities] == [batches.index(each) for each in batches]


def reasons(outcome: BatchOutcome) -> list[tuple[str, str]]:
    return [(issue.outcome, issue.reason) for issue in outcome.issues]


REUSED = [("WARNED", "ID_COLLISION")]


def test_a_batch_id_that_is_used_for_other_content_causes_a_warning() -> None:
    answered = AnsweredBatches()
    assert not answered.note(of(a_batch()), BatchOutcome(accepted=1)).issues
    assert not answered.note(of(a_batch(ingest_key="hms_other")), BatchOutcome(accepted=1)).issues
    assert reasons(answered.note(of(a_batch(hit="h-2")), BatchOutcome(accepted=1))) == REUSED
    assert reasons(answered.note(of(a_batch(hit="h-3")), BatchOutcome(accepted=1))) == REUSED


PUT_OFF = retry_later(HitReason.LOG_FULL, "the log is full", 1.0)


@pytest.mark.parametrize("first", [BatchOutcome(rejected=1), PUT_OFF], ids=["refused", "put off"])
def test_a_batch_id_is_free_until_a_hit_is_durable(first: BatchOutcome) -> None:
    answered = AnsweredBatches()
    assert answered.note(of(a_batch()), first) == first
    assert answered.outcome(of(a_batch())) is None
    assert not answered.note(of(a_batch(hit="h-2")), BatchOutcome(accepted=1)).issues
