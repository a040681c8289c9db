"""What a state is made from after a start: a snapshot where there is one that can be used, else the log."""

from __future__ import annotations

from pathlib import Path

import pytest

from hitmesh.ports import PartitionId, SnapshotManifest, Topic
from processor.__main__ import stream_stores
from processor.recovery import Recovered, recover
from processor.runner import Runner
from processor.stream_stores import StreamStores
from tests.reference.hits import RefHit
from tests.small_mesh import Rows, SmallMesh

SITE = "merchants/m/sites/s"
MINUTE = 60_000
NOON = 20_000 * 86_400_000 + 720 * MINUTE
HITS = 30


def a_mesh() -> SmallMesh:
    """A mesh in which a visitor comes every five minutes, with a snapshot in the middle."""
    mesh = SmallMesh(NOON, sites=[SITE])
    for number in range(HITS):
        mesh.send([RefHit(SITE, f"v{number % 3}", f"hit-{number}", mesh.clock.now(), page_path=f"/{number}")])
        mesh.stream()
        mesh.clock.advance(5 * MINUTE)
        if number == HITS // 2:
            mesh.runner.snapshot()
    return mesh


def recovered(stores: StreamStores, cache: Path) -> Recovered:
    topics = {name: topic for topic in (Topic.HITS, Topic.REJECTED) for name in stores.log_reader(topic).positions()}
    return recover(stores, topics, cache)


def after_a_crash(mesh: SmallMesh, home: Path) -> Rows:
    """The rows when another runner takes over, and the visitors come once more."""
    mesh.runner = Runner(stream_stores(mesh.stores), mesh.clock, home=home)
    mesh.send(
        [RefHit(SITE, f"v{number}", f"last-{number}", mesh.clock.now(), page_path="/last") for number in range(3)]
    )
    mesh.stream()
    return mesh.rows()


def undisturbed() -> Rows:
    mesh = a_mesh()
    mesh.send(
        [RefHit(SITE, f"v{number}", f"last-{number}", mesh.clock.now(), page_path="/last") for number in range(3)]
    )
    mesh.stream()
    return mesh.rows()


def first_partition(mesh: SmallMesh) -> PartitionId:
    return PartitionId(mesh.stores.log.log_id(Topic.HITS), 0)


def test_snapshot_saves_reading_the_log_from_its_beginning(tmp_path: Path) -> None:
    mesh = a_mesh()
    found = recovered(stream_stores(mesh.stores), tmp_path)
    assert found.hits[first_partition(mesh)].next_offset == HITS
    assert found.replayed < HITS  # the kept hits before the snapshot, and what came after it
    assert after_a_crash(mesh, tmp_path) == undisturbed()


def test_snapshot_of_another_logic_version_is_not_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mesh = a_mesh()
    monkeypatch.setattr("processor.recovery.LOGIC_VERSION", 2)
    assert recovered(stream_stores(mesh.stores), tmp_path).replayed == HITS
    assert after_a_crash(mesh, tmp_path) == undisturbed()


def test_snapshot_that_does_not_decode_is_as_good_as_none(tmp_path: Path) -> None:
    mesh = a_mesh()
    states, partition = mesh.stores.states, first_partition(mesh)
    found = states.load(partition, 1)
    assert found is not None
    manifest, chunks = found
    broken = SnapshotManifest(partition, 99, manifest.position, manifest.logic_version, manifest.kept_from, len(chunks))
    states.save_chunks(partition, 99, manifest.position.next_offset, [chunk[::-1] for chunk in chunks])
    assert states.save_manifest(broken)
    assert recovered(stream_stores(mesh.stores), tmp_path).replayed == HITS
    assert after_a_crash(mesh, tmp_path) == undisturbed()


def test_values_of_epochs_since_the_snapshot_are_written_again(tmp_path: Path) -> None:
    mesh = a_mesh()
    before = mesh.stores.series.read(SITE, 20_000, 20_002, 0).sort("cell")
    runner = Runner(stream_stores(mesh.stores), mesh.clock, home=tmp_path)
    runner.flush()
    after = mesh.stores.series.read(SITE, 20_000, 20_002, 0).sort("cell")
    assert after.drop("visitors").equals(before.drop("visitors"))
    assert after["hits"].sum() == HITS
