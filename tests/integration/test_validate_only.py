"""Test a stream that only validates (StreamOpen).

A stream that only validates accepts and refuses the same hits as any other stream, but appends nothing to the log.
"""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest

from collector.classify import Classifier
from hitmesh.api.hit.v1 import hit_pb2
from hitmesh.client.mending import Mended
from hitmesh.client.mesh import Mesh
from hitmesh.client.replaying import Outcome, replay
from hitmesh.client.sender import HitSender
from tests.support.collectors import KEY, NOW_MS, SITE, Backend, Running, new_backend, running
from tests.support.messages import page_view


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier()


@pytest.fixture
def backend(classifier: Classifier) -> Backend:
    return new_backend(classifier)


@pytest.fixture
def collector(backend: Backend) -> Iterator[Running]:
    with running(backend) as started:
        yield started


def mended(name: str, *hits: hit_pb2.Hit, site: str = SITE) -> Mended:
    return Mended(f"rejectedHits/{name}", site, hits, hit_pb2.Context(), "")


def decided(collector: Running, hits: list[Mended], *, key: str = KEY, validate_only: bool) -> list[Outcome]:
    with Mesh.connect(f"127.0.0.1:{collector.port}", key) as mesh:
        return replay(mesh, hits, validate_only=validate_only)


def test_a_dry_run_has_the_outcomes_of_the_replay_and_stores_nothing(backend: Backend, collector: Running) -> None:
    hits = [
        mended("good", page_view("h1", NOW_MS)),
        mended("no-visitor", page_view("h2", NOW_MS, visitor=""), page_view("h3", NOW_MS)),
        mended("no-page", hit_pb2.Hit(hit_id="h4", type=hit_pb2.HIT_TYPE_PAGE_VIEW, visitor_id="v")),
        mended("no-site", page_view("h5", NOW_MS), site="merchants/demo/sites/nosuch"),
    ]
    tried = decided(collector, hits, validate_only=True)
    assert backend.rows().height == backend.refusals().height == collector.batcher.hits_accepted == 0
    done = decided(collector, hits, validate_only=False)
    assert tried == done
    assert [len(outcome.refused) for outcome in tried] == [0, 1, 1, 1]
    assert (backend.rows().height, collector.batcher.hits_accepted) == (2, 2)


def test_a_dry_run_with_an_unknown_key_fails_like_the_replay(backend: Backend, collector: Running) -> None:
    codes = set()
    for validate_only in (True, False):
        with pytest.raises(grpc.RpcError) as refused:
            decided(collector, [mended("a", page_view("h1", NOW_MS))], key="hms_unknown", validate_only=validate_only)
        codes.add(refused.value.code())
    assert codes == {grpc.StatusCode.UNAUTHENTICATED}


def test_a_stream_that_stores_and_one_that_validates_share_a_micro_batch(backend: Backend) -> None:
    with (
        running(backend, linger_ms=200) as collector,
        Mesh.connect(f"127.0.0.1:{collector.port}", KEY) as mesh,
        HitSender(mesh, SITE, validate_only=True) as trying,
        HitSender(mesh, SITE) as sending,
    ):
        for number in range(4):
            sender, name = (trying, "t") if number % 2 else (sending, "s")
            hits = [page_view(f"{name}-{number}", NOW_MS)]
            sender.submit(hit_pb2.HitBatch(batch_id=f"b{number}", hits=hits))
        trying.drain()
        sending.drain()
        assert (trying.totals.accepted, sending.totals.accepted) == (2, 2)
        assert not trying.totals.offsets
    assert sorted(backend.rows()["hit_id"]) == ["s-0", "s-2"]
