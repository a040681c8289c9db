"""Test that a stream takes no batch for another batch, whatever the batch ids (rule D4).

An edge forwards batches of several merchants on one stream, and the clients choose the batch ids.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.classify import Classifier
from hitmesh.api.collector.v1 import collector_pb2
from hitmesh.api.hit.v1 import hit_pb2
from hitmesh.model.sites import IngestKey, KeyKind, Site
from tests.support.collectors import KEY, NOW_MS, Backend, Running, new_backend, running
from tests.support.messages import page_view
from tests.support.patience import patient
from tests.support.streams import Reported, StreamClient

SITE_A, SITE_B = "merchants/ma/sites/a", "merchants/mb/sites/b"
KEY_A, KEY_B, GARBAGE = "hms_edge_a", "hms_edge_b", "hms_garbage"


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier()


@pytest.fixture
def backend(classifier: Classifier) -> Backend:
    backend = new_backend(classifier)
    directory = backend.stores.directory
    for site, key in ((SITE_A, KEY_A), (SITE_B, KEY_B)):
        merchant = site.partition("/sites/")[0]
        directory.create_site(Site(name=site, time_zone="UTC", currency="USD", secret=b"a secret of sixteen"))
        directory.create_key(IngestKey(f"id-{key[-1]}", merchant, KeyKind.EDGE, site=site), key)
    return backend


@pytest.fixture
def collector(backend: Backend) -> Iterator[Running]:
    with running(backend) as started:
        yield started


def a_batch(key: str, *hits: str, batch_id: str = "1") -> hit_pb2.HitBatch:
    views = [page_view(hit, NOW_MS, visitor=f"v-{hit}") for hit in hits]
    for view in views:
        view.ClearField("true_time")  # an edge may not set this field
    return hit_pb2.HitBatch(batch_id=batch_id, ingest_key=key, hits=views)


def sent(collector: Running, *batches: hit_pb2.HitBatch, one_by_one: bool = True) -> Reported:
    with StreamClient(collector.channel, KEY, "", timeout_s=patient(15)) as stream:
        for batch in batches:
            number = stream.send(batch)
            if one_by_one:
                stream.wait_acked(number)
        return stream.finish()


def stored(backend: Backend) -> list[tuple[str, str]]:
    rows = backend.rows()
    return sorted(zip(rows["site"].to_list(), rows["hit_id"].to_list(), strict=True)) if rows.height else []


def reasons(reported: Reported) -> list[tuple[int, str, str]]:
    return [
        (issue.batch_seq, collector_pb2.Outcome.Name(issue.outcome)[8:], collector_pb2.Reason.Name(issue.reason)[7:])
        for issue in reported.issues
    ]


@pytest.mark.parametrize("one_by_one", [True, False])
def test_batches_of_two_merchants_with_the_same_id_lose_no_hit(
    backend: Backend, collector: Running, one_by_one: bool
) -> None:
    batches = (a_batch(KEY_A, "a1"), a_batch(KEY_B, "b1"), a_batch(KEY_A, "a2"))
    reported = sent(collector, *batches, one_by_one=one_by_one)
    assert (reported.acked_through, reported.accepted) == (3, 3)
    assert stored(backend) == [(SITE_A, "a1"), (SITE_A, "a2"), (SITE_B, "b1")]
    rows = backend.rows()
    for receipt in reported.receipts:
        here = rows.filter((rows["at_partition"] == receipt.partition) & (rows["at_offset"] == receipt.offset))
        assert ["a1", "b1", "a2"][receipt.batch_seq - 1] in here["hit_id"].to_list()
    assert reasons(reported) == [(3, "WARNED", "ID_COLLISION")], "merchant B does not learn of merchant A"


def test_a_batch_with_more_hits_under_the_same_id_is_stored_whole(backend: Backend, collector: Running) -> None:
    reported = sent(collector, a_batch(KEY_A, "a1"), a_batch(KEY_A, "a1", "a2"))
    assert reported.accepted == 3
    assert stored(backend) == [(SITE_A, "a1"), (SITE_A, "a1"), (SITE_A, "a2")]


def test_an_unknown_key_is_refused_whatever_the_batch_before(backend: Backend, collector: Running) -> None:
    batches = (a_batch(KEY_A, "a1"), a_batch(GARBAGE, "a1"), a_batch(KEY_A, "a3"))
    assert reasons(sent(collector, *batches)) == [(2, "REJECTED", "UNKNOWN_KEY"), (3, "WARNED", "ID_COLLISION")]
    assert stored(backend) == [(SITE_A, "a1"), (SITE_A, "a3")]
    assert backend.refusals()["reason"].to_list() == ["UNKNOWN_KEY"]


def test_an_unknown_key_refuses_no_later_batch(backend: Backend, collector: Running) -> None:
    reported = sent(collector, a_batch(GARBAGE, "a1"), a_batch(KEY_A, "a1"))
    assert reasons(reported) == [(1, "REJECTED", "UNKNOWN_KEY")]
    assert stored(backend) == [(SITE_A, "a1")]


def test_a_key_that_becomes_valid_is_valid_for_the_same_batch(backend: Backend, collector: Running) -> None:
    with StreamClient(collector.channel, KEY, "", timeout_s=patient(15)) as stream:
        stream.wait_acked(stream.send(a_batch(GARBAGE, "a1")))
        backend.stores.directory.create_key(IngestKey("late", "merchants/ma", KeyKind.EDGE, site=SITE_A), GARBAGE)
        backend.clock.advance(60_000)
        stream.send(a_batch(GARBAGE, "a1"))
        assert stream.finish().accepted == 1
    assert stored(backend) == [(SITE_A, "a1")]


def test_a_refused_hit_that_was_mended_is_accepted_under_the_same_batch_id(
    backend: Backend, collector: Running
) -> None:
    broken = a_batch(KEY_A, "a1", "a2")
    broken.hits[1].page_view.url = ""
    reported = sent(collector, broken, a_batch(KEY_A, "a1", "a2"))
    assert reported.accepted == 3
    assert set(stored(backend)) == {(SITE_A, "a1"), (SITE_A, "a2")}


def test_a_retry_with_a_new_send_time_gets_the_same_receipts(backend: Backend, collector: Running) -> None:
    first, retry = a_batch(KEY_A, "a1"), a_batch(KEY_A, "a1")
    first.client_send_time.FromMilliseconds(NOW_MS)
    retry.client_send_time.FromMilliseconds(NOW_MS + 1_000)
    reported = sent(collector, first, a_batch(KEY_B, "b1"), retry)
    assert (reported.accepted, reported.issues) == (2, [])
    assert stored(backend) == [(SITE_A, "a1"), (SITE_B, "b1")]
    first_receipt, _, again = reported.receipts
    assert (again.partition, again.offset, again.batch_seq) == (first_receipt.partition, first_receipt.offset, 3)


BATCHES = st.tuples(st.sampled_from([KEY_A, KEY_B, GARBAGE]), st.sampled_from("12"), st.sampled_from(["x", "y", "z"]))


@pytest.mark.timeout(60)
def test_every_distinct_batch_of_a_known_key_is_stored_once_in_any_order(classifier: Classifier) -> None:
    backend = new_backend(classifier)
    directory = backend.stores.directory
    for site, key in ((SITE_A, KEY_A), (SITE_B, KEY_B)):
        directory.create_site(Site(name=site, time_zone="UTC", currency="USD", secret=b"a secret of sixteen"))
        directory.create_key(IngestKey(f"id-{key[-1]}", site.partition("/sites/")[0], KeyKind.EDGE, site=site), key)
    number = iter(range(10_000))
    with running(backend) as collector:

        @given(st.lists(BATCHES, min_size=1, max_size=8), st.booleans())
        def check(batches: list[tuple[str, str, str]], one_by_one: bool) -> None:
            run = next(number)
            frames = [a_batch(key, f"{run}-{hit}", batch_id=batch_id) for key, batch_id, hit in batches]
            reported = sent(collector, *frames, one_by_one=one_by_one)
            known = {each for each in batches if each[0] != GARBAGE}
            rows = backend.rows()
            rows = rows.filter(rows["hit_id"].str.starts_with(f"{run}-")) if rows.height else rows
            expected = sorted((SITE_A if key == KEY_A else SITE_B, f"{run}-{hit}") for key, _, hit in known)
            assert sorted(zip(rows["site"].to_list(), rows["hit_id"].to_list(), strict=True)) == expected
            assert reported.accepted == len(known)
            refused = {at + 1 for at, (key, _, _) in enumerate(batches) if key == GARBAGE}
            assert {seq for seq, outcome, _ in reasons(reported) if outcome == "REJECTED"} == refused

        check()
