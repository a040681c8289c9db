"""Test hits of sites that were deleted or changed: new hits are refused, stored hits still count, history stays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import grpc
import pytest

from collector.classify import Classifier
from control.__main__ import bookkeeping_of
from control.rpc.operations.get_ledger import get_ledger, read_ledger
from hitmesh.api.collector.v1 import collector_pb2, collector_pb2_grpc
from hitmesh.api.control.v1 import operations_pb2
from hitmesh.api.hit.v1 import hit_pb2
from hitmesh.model.errors import NotFound
from hitmesh.model.generations import DirtyMark
from hitmesh.model.positions import Position
from hitmesh.model.sites import Site, SiteDay
from hitmesh.ports import SiteDirectory
from tests.reference.hits import RefHit
from tests.reference.visits import V1
from tests.support.collectors import KEY, SITE, new_backend, running
from tests.support.messages import page_view
from tests.support.reporters import control_backend
from tests.support.small_mesh import SmallMesh

MINUTE = 60_000
DAY_MS = 24 * 60 * MINUTE
DAY = 20_000
# 23:50 in Kathmandu (UTC+5:45), so that a visit of 20 minutes crosses the site's local midnight.
EVENING = DAY * DAY_MS + (18 * 60 + 5) * MINUTE
SPLIT = replace(V1, split_at_local_midnight=True, midnight_zone="Asia/Kathmandu")


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier()


def change(directory: SiteDirectory, alter: Callable[[Site], Site]) -> None:
    stored = directory.site_or_deleted(SITE, fresh=True)
    assert stored is not None
    assert directory.change_site(stored, replace(alter(stored), revision=stored.revision + 1))


def delete(directory: SiteDirectory) -> None:
    change(directory, lambda site: replace(site, deleted_at=1))


def a_mesh() -> SmallMesh:
    """Return a mesh that has acknowledged, but not yet processed, a visit across the site's local midnight."""
    mesh = SmallMesh(EVENING, SPLIT, [SITE])
    mesh.send([RefHit(SITE, "v1", f"h{number}", EVENING + number * 10 * MINUTE, page_path="/") for number in range(3)])
    mesh.heartbeat()
    return mesh


@pytest.mark.parametrize("processed_before", [False, True])
def test_acknowledged_hits_of_a_deleted_site_count_as_without_the_deletion(processed_before: bool) -> None:
    kept, deleted = a_mesh(), a_mesh()
    if processed_before:
        deleted.stream()
    delete(deleted.stores.directory)
    for mesh in (kept, deleted):
        mesh.stream()
    assert deleted.rows() == kept.rows() != {}
    for mesh in (kept, deleted):
        mesh.settle()
    assert deleted.rows() == kept.rows()
    books = bookkeeping_of(deleted.stores)
    ledger = read_ledger(books, SITE)
    assert (ledger.imbalance, ledger.totals.accepted.hits) == (0, 3)
    backend = control_backend(deleted.stores, deleted.clock, open_reads=True)
    with pytest.raises(NotFound):
        get_ledger(backend, None, operations_pb2.GetLedgerRequest(site=SITE))
    change(deleted.stores.directory, lambda site: replace(site, deleted_at=None))
    assert get_ledger(backend, None, operations_pb2.GetLedgerRequest(site=SITE)).imbalance == 0


def test_changed_values_of_a_site_never_change_settled_days() -> None:
    mesh = a_mesh()
    mesh.settle()
    before = mesh.rows()
    change(
        mesh.stores.directory,
        lambda site: replace(
            site,
            consent_by_default=not site.consent_by_default,
            cookieless_counting=not site.cookieless_counting,
            identify_by_user_id=not site.identify_by_user_id,
            own_hosts=("shop.example",),
            allowed_origins=("https://shop.example",),
        ),
    )
    generation = mesh.stores.generations.current(SITE, 0, 10**6)[DAY].generation
    log_time, log, partition, offset, _ = mesh.sent[0].position
    mesh.stores.dirty.mark([DirtyMark(SiteDay(SITE, DAY), Position(log, partition, offset), log_time)])
    mesh.settle()
    assert mesh.stores.generations.current(SITE, 0, 10**6)[DAY].generation > generation
    assert mesh.rows() == before


def test_hits_of_a_deleted_site_are_refused_like_hits_of_an_unknown_site(classifier: Classifier) -> None:
    backend = new_backend(classifier)

    def send(site: str, hit_id: str) -> tuple[grpc.StatusCode, str]:
        batch = hit_pb2.HitBatch(ingest_key=KEY, hits=[page_view(hit_id, backend.clock.now(), visitor="v")])
        request = collector_pb2.SendHitsRequest(batch=batch)
        try:
            stub = collector_pb2_grpc.CollectorServiceStub(served.channel)
            stub.SendHits(request, metadata=(("hitmesh-site", site),), timeout=10)
        except grpc.RpcError as error:
            return error.code(), str(error.details()).replace(site, "SITE")
        return grpc.StatusCode.OK, ""

    with running(backend) as served:
        assert send(SITE, "before")[0] is grpc.StatusCode.OK
        delete(backend.stores.directory)
        assert send(SITE, "after") == send("merchants/demo/sites/never", "never")
        assert send(SITE, "after")[0] is grpc.StatusCode.NOT_FOUND
        change(backend.stores.directory, lambda site: replace(site, deleted_at=None))
        assert send(SITE, "restored")[0] is grpc.StatusCode.OK
    assert backend.rows()["hit_id"].to_list() == ["before", "restored"]


def test_changed_consent_default_holds_for_the_next_hits_only(classifier: Classifier) -> None:
    backend = new_backend(classifier)

    def accepted(hit_id: str) -> int:
        batch = hit_pb2.HitBatch(ingest_key=KEY, hits=[page_view(hit_id, backend.clock.now(), visitor="v")])
        stub = collector_pb2_grpc.CollectorServiceStub(served.channel)
        request = collector_pb2.SendHitsRequest(batch=batch)
        return stub.SendHits(request, metadata=(("hitmesh-site", SITE),), timeout=10).accepted_count

    with running(backend) as served:
        assert accepted("silent consent") == 1
        change(backend.stores.directory, lambda site: replace(site, consent_by_default=False))
        assert accepted("denied") == 0
    assert backend.rows()["hit_id"].to_list() == ["silent consent"]
