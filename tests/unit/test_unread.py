"""Test acknowledged hits that the stream has not read. The ledger balances without the unread hits."""

from __future__ import annotations

import pytest

from control.rpc.operations.get_ledger import get_ledger
from control.unread import MAX_RECORDS, Unread, unread
from hitmesh.api.control.v1 import operations_pb2 as pb
from hitmesh.model.positions import PartitionProgress, Topic
from hitmesh.model.records import Record, RecordKind
from tests.reference.hits import RefHit
from tests.support.reporters import control_backend
from tests.support.small_mesh import SmallMesh

NOON = 20_000 * 86_400_000 + 43_200_000
SITE = "merchants/m/sites/s"
OTHER = "merchants/m/sites/other"


def hits(*sites: str) -> list[RefHit]:
    return [RefHit(site, "v", f"hit-{number}", NOON, "PAGE_VIEW") for number, site in enumerate(sites)]


@pytest.fixture
def mesh() -> SmallMesh:
    return SmallMesh(NOON, sites=[SITE, OTHER])


def unread_of(mesh: SmallMesh, site: str = SITE, max_records: int = 3) -> Unread:
    return unread(mesh.stores.log_scan, mesh.stores.progress.progress(Topic.HITS), site, max_records=max_records)


def test_hits_that_no_stream_reads_are_counted_until_it_has_read_them(mesh: SmallMesh) -> None:
    mesh.heartbeat()
    assert unread_of(mesh) == Unread()
    mesh.send(hits(SITE, OTHER, SITE), partition=1)
    mesh.clock.advance(60_000)
    mesh.send(hits(SITE), partition=2)
    assert unread_of(mesh) == Unread(3, NOON)
    assert unread_of(mesh, OTHER) == Unread(1, NOON)
    mesh.stream()
    assert unread_of(mesh) == Unread()


def test_only_a_bounded_number_of_records_of_a_long_backlog_is_read(mesh: SmallMesh) -> None:
    for _ in range(4):
        mesh.send(hits(SITE, SITE))
    assert unread_of(mesh, max_records=3) == Unread(6, NOON, is_more=True)
    assert unread_of(mesh, max_records=4) == Unread(8, NOON)
    done = {partition: PartitionProgress(1, NOON) for partition in mesh.stores.progress.progress(Topic.HITS)}
    assert unread(mesh.stores.log_scan, done, SITE, max_records=3) == Unread(6, NOON)


def test_record_that_does_not_decode_is_no_hit_of_a_site(mesh: SmallMesh) -> None:
    mesh.stores.log.append(Topic.HITS, 0, Record(RecordKind.HITS, b"no arrow", 7)).result()
    assert unread_of(mesh) == Unread(0, NOON)


def test_unread_hits_are_as_old_as_the_oldest_record_of_any_partition(mesh: SmallMesh) -> None:
    mesh.send(hits(SITE), partition=1)
    mesh.clock.advance(60_000)
    mesh.send(hits(SITE), partition=0)
    assert unread_of(mesh) == Unread(2, NOON)


def answer(mesh: SmallMesh) -> tuple[int, int | None, bool]:
    """Return the fields about unread hits in the response of GetLedger."""
    backend = control_backend(mesh.stores, mesh.clock, open_reads=True)
    found = get_ledger(backend, None, pb.GetLedgerRequest(site=SITE))
    since = found.unread_since.ToMilliseconds() if found.HasField("unread_since") else None
    return found.unread_hits, since, found.unread_more


def test_the_answer_about_a_sites_ledger_names_its_unread_hits(mesh: SmallMesh) -> None:
    mesh.heartbeat()
    assert answer(mesh) == (0, None, False)
    mesh.send(hits(SITE, OTHER, SITE))
    assert answer(mesh) == (2, NOON, False)
    for _ in range(MAX_RECORDS):
        mesh.send(hits(SITE))
    assert answer(mesh) == (MAX_RECORDS, NOON, True)
