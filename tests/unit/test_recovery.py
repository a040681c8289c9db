"""Test how a state is recovered after a start.

If there is a usable snapshot, recovery begins with the snapshot. If there is no usable snapshot, recovery reads the
whole log.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import polars as pl
import pytest

from hitmesh.adapters.memory.series import MemorySeriesStore
from hitmesh.adapters.memory.states import MemoryStateStore
from hitmesh.adapters.shared.partials import newest
from hitmesh.model.errors import PartitionsMoved
from hitmesh.model.generations import STREAM_GENERATION
from hitmesh.model.ledger import LedgerClass
from hitmesh.model.logic import CURRENT, V0, V1, Logic
from hitmesh.model.positions import PartitionId, PartitionProgress, Topic
from hitmesh.model.rows.stream_columns import (
    MOVED_VISITORS,
    PARTIAL_COLUMNS,
    PARTIAL_SUMS,
    ROW_SUMS,
    UNKEYED_DIGESTS,
)
from hitmesh.model.sites import SiteDay
from hitmesh.model.stored import opened
from hitmesh.model.stream_values import SnapshotManifest
from processor.building import stream_stores
from processor.stream.live.snapshot import packed, unpacked
from processor.stream.recovery import Recovered, recover
from processor.stream.runner import Runner
from processor.stream.stores import StreamStores
from tests.reference.hits import RefHit
from tests.reference.streamed import stream
from tests.support.live_mesh import SMALLEST, LiveMesh
from tests.support.small_mesh import Rows, SmallMesh, differences, expected_rows, folded_rows

SITE = "merchants/m/sites/s"
MINUTE = 60_000
NOON = 20_000 * 86_400_000 + 720 * MINUTE
HITS = 18


def a_mesh(logic: Logic = CURRENT) -> SmallMesh:
    """Return a mesh that has streamed a hit every nine minutes and saved a snapshot in the middle."""
    mesh = SmallMesh(NOON, sites=[SITE], logic=logic)
    for number in range(HITS):
        mesh.send([RefHit(SITE, f"v{number % 3}", f"hit-{number}", mesh.clock.now(), page_path=f"/{number}")])
        mesh.stream()
        mesh.clock.advance(9 * MINUTE)
        if number == HITS // 2:
            mesh.runner.snapshot()
    return mesh


def recovered(stores: StreamStores, cache: Path, logic: Logic = CURRENT) -> Recovered:
    committed = {topic: stores.log_reader(topic).positions() for topic in (Topic.HITS, Topic.REJECTED)}
    return recover(stores, committed, cache, logic=logic)


def after_a_crash(mesh: SmallMesh, home: Path) -> Rows:
    """Let another runner take over, and send a further hit of each visitor. Return all rows."""
    mesh.runner = Runner(stream_stores(mesh.stores), mesh.clock, home=home)
    mesh.send(
        [RefHit(SITE, f"v{number}", f"last-{number}", mesh.clock.now(), page_path="/last") for number in range(3)]
    )
    mesh.stream()
    return mesh.rows()


@cache
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
    assert 0 < found.kept + found.replayed < HITS  # the kept hits from before the snapshot, and all later hits
    assert after_a_crash(mesh, tmp_path) == undisturbed()


def test_snapshot_of_another_version_of_the_logic_is_not_loaded(tmp_path: Path) -> None:
    mesh = a_mesh(V0)
    partition = first_partition(mesh)
    visits = {
        logic.name: recovered(stream_stores(mesh.stores), tmp_path, logic).hits[partition].timelines.now.hits.tolist()
        for logic in (V0, V1)
    }
    assert visits == {"v0": [1, 1, 1], "v1": [HITS // 3] * 3}
    found = recovered(stream_stores(mesh.stores), tmp_path, V1)
    assert found.changes_logic
    assert (
        found.kept + found.replayed > HITS
    )  # under V1 the whole log is replayed, but under V0 only the records since the snapshot
    assert not recovered(stream_stores(mesh.stores), tmp_path, V0).changes_logic


def test_stream_that_changes_its_logic_leaves_the_values_of_the_other_version_and_saves_its_state(
    tmp_path: Path,
) -> None:
    mesh = a_mesh(V0)
    mesh.runner.flush()
    before = mesh.stores.series.read(SITE, 20_000, 20_002, 0)
    partition, states = first_partition(mesh), mesh.stores.states
    mesh.runner = Runner(stream_stores(mesh.stores), mesh.clock, home=tmp_path, logic=V1)
    assert mesh.stores.series.read(SITE, 20_000, 20_002, 0).equals(before)
    saved = states.load(partition, V1.number)
    assert saved is not None
    assert (saved[0].position.next_offset, states.load(partition, V0.number)) == (HITS, None)
    again = recovered(stream_stores(mesh.stores), tmp_path)
    assert (again.changes_logic, again.kept + again.replayed < HITS) == (False, True)


def test_series_and_rows_agree_before_and_after_a_change_of_the_logic(tmp_path: Path) -> None:
    mesh = a_mesh(V0)
    for logic in (V1, V0):
        after_a_change(mesh, tmp_path, logic)
        mesh.runner.flush()
        site_day = SiteDay(SITE, 20_000)
        series = mesh.stores.series.read(*site_day, 20_001, STREAM_GENERATION)
        (rows,) = mesh.stores.metrics.stream_sums([site_day]).values()
        assert {name: series[name].sum() % 2**64 for name in ROW_SUMS} == dict(rows)


def after_a_change(mesh: SmallMesh, home: Path, logic: Logic) -> None:
    """Continue with a new runner under the given version of the logic.

    After the change, hits arrive in the same epoch and in a later epoch. Then every visit ends.
    """
    mesh.runner = Runner(stream_stores(mesh.stores), mesh.clock, home=home, logic=logic)
    for minute in (0, 1, 20, 60):
        mesh.clock.advance(minute * MINUTE)
        mesh.send(
            [
                RefHit(SITE, f"v{number}", f"{logic.name}-{minute}-{number}", mesh.clock.now(), page_path=f"/{minute}")
                for number in range(4)
            ]
        )
        mesh.stream()
    mesh.clock.advance(60 * MINUTE)
    mesh.heartbeat()
    mesh.stream()


def test_values_that_were_not_flushed_before_a_change_of_the_logic_are_stored(tmp_path: Path) -> None:
    """A runner with logic v0 commits hits in two epochs and dies. A new runner has logic v1.

    The first runner has flushed none of its commits.
    """
    mesh = SmallMesh(NOON - 1_000, sites=[SITE], logic=V0)
    mesh.runner.snapshot()
    for number in range(2):
        mesh.send([RefHit(SITE, "v", f"hit-{number}", mesh.clock.now(), page_path="/")])
        assert mesh.runner.step(0.0) == 1
        mesh.clock.advance(2_000)
    assert mesh.stores.series.read(SITE, 20_000, 20_001, 0).is_empty()
    found = Runner(stream_stores(mesh.stores), mesh.clock, home=tmp_path, logic=V1)
    assert mesh.stores.series.read(SITE, 20_000, 20_001, 0)["hits"].sum() == 2
    counted = mesh.stores.ledger.read(SITE).filter(pl.col("class") == LedgerClass.COUNTED)
    assert counted["hits"].sum() == 2
    found.close()


def test_snapshot_that_does_not_decode_is_as_good_as_none(tmp_path: Path) -> None:
    mesh = a_mesh()
    states, partition = mesh.stores.states, first_partition(mesh)
    found = states.load(partition, CURRENT.number)
    assert found is not None
    manifest, chunks = found
    broken = SnapshotManifest(partition, 99, manifest.position, manifest.logic_version, manifest.kept_from, len(chunks))
    states.save_chunks(partition, 99, manifest.position.next_offset, [chunk[::-1] for chunk in chunks])
    assert states.save_manifest(broken)
    assert recovered(stream_stores(mesh.stores), tmp_path).replayed == HITS
    assert after_a_crash(mesh, tmp_path) == undisturbed()


def put_instead(mesh: SmallMesh, change: Callable[[bytes], bytes]) -> None:
    """Replace the snapshot of the first partition by the result of `change` on its bytes."""
    states, partition = mesh.stores.states, first_partition(mesh)
    found = states.load(partition, CURRENT.number)
    assert found is not None
    manifest, chunks = found
    other = change(bytes(opened(b"".join(chunks), "a snapshot", "no cure")))
    states.save_chunks(partition, 99, manifest.position.next_offset, [other])
    assert states.save_manifest(replace(manifest, writer=99, chunks=1))


def test_snapshot_without_a_format_is_as_good_as_none(tmp_path: Path) -> None:
    mesh = a_mesh()
    put_instead(mesh, lambda value: value.removeprefix(b"HMS3"))
    assert recovered(stream_stores(mesh.stores), tmp_path).replayed == HITS
    assert after_a_crash(mesh, tmp_path) == undisturbed()


def as_format_2(value: bytes) -> bytes:
    """Return a snapshot in format 2, whose digests are not keyed with a secret."""
    tables = unpacked(value)
    tables["cells"] = tables["cells"].drop(UNKEYED_DIGESTS)
    tables["pinned"] = tables["pinned"].drop("hit_id", "waits")
    return b"HMS2" + bytes(opened(packed(tables), "a snapshot", "no cure")).removeprefix(b"HMS3")


def test_snapshot_of_format_2_is_read_and_its_epoch_confirms_nothing(tmp_path: Path) -> None:
    mesh = a_mesh()
    whole = recovered(stream_stores(mesh.stores), tmp_path / "3")
    put_instead(mesh, as_format_2)
    found = recovered(stream_stores(mesh.stores), tmp_path / "2")
    assert found.kept + found.replayed == whole.kept + whole.replayed < HITS
    assert after_a_crash(mesh, tmp_path) == undisturbed()
    mesh.runner.flush()
    stored = mesh.stores.series.read(SITE, 20_000, 20_001, STREAM_GENERATION)
    assert 0 < stored[UNKEYED_DIGESTS].sum() < stored.height
    mesh.clock.advance(3 * 86_400_000)
    mesh.heartbeat()
    mesh.stream()
    mesh.settle()
    [drift] = mesh.stores.generations.drifts(SITE, 20_000, 20_001).values()
    assert (drift.confirmed, drift.rows_differ, drift.measures) == (False, False, {})
    assert differences(mesh.rows(), expected_rows(mesh.sent)) == []


class PutPartials(MemorySeriesStore):
    """A SeriesStore that remembers all partials that are stored."""

    def __init__(self) -> None:
        super().__init__()
        self.put: list[pl.DataFrame] = []

    def put_partials(self, partials: pl.DataFrame) -> None:
        """Store partials."""
        self.put.append(partials)
        super().put_partials(partials)

    def without_currencies(self) -> pl.DataFrame:
        """Return the partials in an older form, which has no currencies.

        The older form also has no sketches.
        """
        partials = newest(pl.concat(self.put), PARTIAL_COLUMNS)
        key = [
            name for name in PARTIAL_COLUMNS if name not in (*PARTIAL_SUMS, "currency", "written", "digest", "visitors")
        ]
        summed = partials.group_by(key).agg(pl.col("written").max(), pl.col(*PARTIAL_SUMS, "digest").sum())
        of_none = summed.with_columns(pl.lit("").alias("currency"), pl.lit(None, pl.Binary).alias("visitors"))
        return of_none.select(list(PARTIAL_COLUMNS))


def test_values_that_tell_no_currencies_apart_are_all_overwritten(tmp_path: Path) -> None:
    mesh = SmallMesh(NOON, sites=[SITE])
    new, old = PutPartials(), MemorySeriesStore()
    stores = replace(stream_stores(mesh.stores), series=new)
    runner = Runner(stores, mesh.clock, home=tmp_path)
    for number in range(HITS):
        order = RefHit(SITE, f"v{number % 3}", f"hit-{number}", mesh.clock.now(), type="ORDER", order_id=f"o{number}")
        mesh.send([replace(order, currency=("EUR", "USD")[number % 2], total_micros=10)])
        runner.step(0.0)
        mesh.clock.advance(5 * MINUTE)
    runner.flush()
    expected = new.read(SITE, 20_000, 20_002, 0)
    assert set(expected["currency"]) == {"", "EUR", "USD"}
    old.put_partials(new.without_currencies())
    assert old.read(SITE, 20_000, 20_002, 0)["hits"].sum() == HITS
    again = Runner(replace(stores, series=old, states=MemoryStateStore()), mesh.clock, home=tmp_path)
    again.flush()
    found = old.read(SITE, 20_000, 20_002, 0)
    keys, money = ["cell", "currency"], ["hits", "gross_revenue", "visits", "digest"]
    counts = pl.any_horizontal(pl.col(money) != 0)
    assert found.filter(counts).select(*keys, *money).equals(expected.filter(counts).select(*keys, *money))


MOVING: Mapping[str, Sequence[RefHit]] = {
    "an earlier hit": [
        RefHit(SITE, "v", "1", NOON - MINUTE, page_path="/1"),
        RefHit(SITE, "v", "2", NOON - 2 * MINUTE, page_path="/2"),
    ],
    "a first view": [
        RefHit(SITE, "v", "1", NOON - 2 * MINUTE, type="EVENT", event_name="e"),
        RefHit(SITE, "v", "2", NOON - MINUTE, page_path="/landing"),
    ],
    "nothing": [
        RefHit(SITE, "v", "1", NOON - 2 * MINUTE, page_path="/1"),
        RefHit(SITE, "v", "2", NOON - MINUTE, page_path="/2"),
    ],
}


@pytest.mark.parametrize("what", MOVING)
def test_redo_in_larger_steps_knows_where_hits_were_moved(what: str, tmp_path: Path) -> None:
    """If a visit has moved from an emitted row to another row, the emitted row's sketch still contains the visitor.

    Rule S8 therefore forbids that settlement confirms the emitted row.
    """
    mesh = SmallMesh(NOON, sites=[SITE])
    for hit in MOVING[what]:
        mesh.send([hit])
        mesh.stream()
    mesh.runner.flush()
    moved = mesh.stores.series.read(SITE, 20_000, 20_001, 0)[MOVED_VISITORS].sum()
    assert (moved > 0) == (what != "nothing")
    Runner(replace(stream_stores(mesh.stores), states=MemoryStateStore()), mesh.clock, home=tmp_path).flush()
    again = mesh.stores.series.read(SITE, 20_000, 20_001, 0)[MOVED_VISITORS].sum()
    assert (again > 0) == (moved > 0)


def test_values_of_epochs_since_the_snapshot_are_written_again(tmp_path: Path) -> None:
    mesh = a_mesh()
    before = mesh.stores.series.read(SITE, 20_000, 20_002, 0).sort("cell")
    runner = Runner(stream_stores(mesh.stores), mesh.clock, home=tmp_path)
    runner.flush()
    after = mesh.stores.series.read(SITE, 20_000, 20_002, 0).sort("cell")
    assert after.drop("visitors").equals(before.drop("visitors"))
    assert after["hits"].sum() == HITS


def test_recovery_sends_heartbeats_and_ends_when_partitions_moved(tmp_path: Path) -> None:
    stores = stream_stores(a_mesh().stores)
    committed = {topic: stores.log_reader(topic).positions() for topic in (Topic.HITS, Topic.REJECTED)}
    calls: list[int] = []

    def moved() -> None:
        calls.append(1)
        raise PartitionsMoved("moved", retry_after_s=0)

    recover(stores, committed, tmp_path / "one", lambda: calls.append(0))
    assert 0 in calls
    calls.clear()
    mesh = SmallMesh(NOON, sites=[SITE])  # no partition has a batch
    stores = stream_stores(mesh.stores)
    committed = {topic: stores.log_reader(topic).positions() for topic in (Topic.HITS, Topic.REJECTED)}
    recover(stores, committed, tmp_path / "quiet", lambda: calls.append(0))
    assert len(calls) == sum(map(len, committed.values()))
    with pytest.raises(PartitionsMoved):
        recover(stores, committed, tmp_path / "other", moved)
    assert calls.count(1) == 1


@pytest.mark.parametrize("with_snapshot", [True, False])
def test_home_whose_tables_are_full_comes_up_again(tmp_path: Path, with_snapshot: bool) -> None:
    """After a start, the first step must remove unused entries from full tables while visits end.

    If the first step failed, the first step after every later start would fail too.
    """
    with LiveMesh(f"embedded:{tmp_path}/data", tmp_path / "kept", NOON, [SITE]) as mesh:
        mesh.append([a_view(mesh, f"v{number}", f"/product/{number}") for number in range(50)], 0)
        mesh.step()
        for minute in range(2, 120, 3):
            mesh.advance_to(NOON + minute * MINUTE)
            mesh.append([a_view(mesh, f"quiet-{minute}", f"/quiet/{minute}")], 0)
        mesh.step()
        if with_snapshot:
            mesh.runner.snapshot()
        assert len(mesh.runner.states[0].interned.tuples) > 90  # the table has far more tuples than the visits use
        mesh.limits = SMALLEST
        mesh.crash().close()
        for minute in (120, 121):  # an epoch begins with the first minute
            mesh.advance_to(NOON + minute * MINUTE)
            mesh.append([a_view(mesh, f"again-{minute}", f"/again/{minute}")], 0)
            mesh.step()
        assert len(mesh.runner.states[0].interned.tuples) < 50
        expected = stream(mesh.logged[SITE], mesh.clock.now())
        assert mesh.seen(SITE).differences_from(folded_rows(expected.entries)) == []


def a_view(mesh: LiveMesh, visitor: str, page: str) -> RefHit:
    return RefHit(SITE, visitor, f"{visitor} on {page}", mesh.clock.now(), page_path=page)


@pytest.mark.parametrize("logic", [V0, V1])
def test_state_without_a_record_to_replay_is_at_the_committed_position(tmp_path: Path, logic: Logic) -> None:
    """An adopted shadow stream began later than offset 0, and its partition has been quiet since."""
    mesh = SmallMesh(NOON, sites=[SITE])
    committed = {
        topic: dict.fromkeys(mesh.stores.progress.progress(topic), PartitionProgress(60, NOON)) for topic in Topic
    }
    found = recover(stream_stores(mesh.stores), committed, tmp_path, logic=logic)
    reached = {at: state.position for at, state in found.hits.items()}
    reached |= {at: state.position for at, state in found.refusals.items()}
    assert reached == committed[Topic.HITS] | committed[Topic.REJECTED]
