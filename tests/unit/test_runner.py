"""Test the content of the stores after a runner has processed a window of the log.

Further tests use a runner whose stores do not answer.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from hitmesh.model.errors import PartitionsMoved, Unavailable
from hitmesh.model.ledger import LedgerClass
from hitmesh.model.positions import PartitionId, Position, Topic
from hitmesh.model.records import Record, RecordKind
from hitmesh.model.rows.columns import REJECTED_COLUMNS, pack_record
from hitmesh.model.rows.stream_columns import EPOCH_MS
from hitmesh.model.sites import SiteDay
from processor.building import stream_stores
from processor.stream.intake import take_in
from processor.stream.runner import KEPT_DIRECTORY, Runner
from tests.reference.hits import RefHit
from tests.support.small_mesh import SmallMesh, hit_rows

SITE = "merchants/m/sites/s"
OTHER = "merchants/m/sites/other"
DAY = 20_000
MIDNIGHT = DAY * 86_400_000
NOON = MIDNIGHT + 43_200_000


def a_hit(at_ms: int = MIDNIGHT, site: str = SITE, type: str = "PAGE_VIEW", order_id: str | None = None) -> RefHit:
    return RefHit(site, "v", f"hit-{at_ms}", at_ms, type, order_id=order_id)


def a_mesh() -> SmallMesh:
    return SmallMesh(NOON, sites=[SITE])


def append(mesh: SmallMesh, kind: RecordKind, value: bytes = b"", rows: int = 0, topic: Topic = Topic.HITS) -> Position:
    record = Record(kind, value, rows, max_collect_time=NOON)
    return mesh.stores.log.append(topic, 0, record).result().position


def test_record_becomes_raw_and_each_of_its_site_days_waits_to_close() -> None:
    mesh = a_mesh()
    mesh.send([a_hit(MIDNIGHT - 1), a_hit(MIDNIGHT), a_hit(MIDNIGHT, OTHER)])
    assert mesh.runner.step(0.0) == 1
    dirty = [entry.site_day for entry in mesh.stores.dirty.take(9, DAY + 1)]
    assert dirty == [SiteDay(OTHER, DAY), SiteDay(SITE, DAY - 1), SiteDay(SITE, DAY)]
    assert not mesh.stores.dirty.pending(SITE)
    (raw,) = mesh.stores.raw.scan(SITE, DAY - 1, DAY + 1)
    assert (raw.rows, raw.min_event_time, raw.max_event_time, raw.log_time) == (3, MIDNIGHT - 1, MIDNIGHT, NOON)
    assert raw.site_days == frozenset(dirty)


def test_history_is_raw_and_marks_its_site_day_with_what_it_counts() -> None:
    mesh = a_mesh()
    old = [a_hit(MIDNIGHT - 5 * 86_400_000), a_hit(MIDNIGHT - 5 * 86_400_000 + 1)]
    mesh.send([*old, a_hit(MIDNIGHT)])
    mesh.runner.step(0.0)
    (mark,) = mesh.stores.dirty.marks(SITE)
    first, second = (hit.hit_hash for hit in old)
    assert (mark.site_day, mark.hits) == (SiteDay(SITE, DAY - 5), 2)
    assert (mark.sum64, mark.xor64) == ((first + second) % 2**64, first ^ second)
    assert mesh.stores.dirty.awaited(SITE) == [DAY]


def test_order_leaves_a_claim_with_its_place_in_the_log() -> None:
    mesh = a_mesh()
    mesh.send([a_hit(), a_hit(MIDNIGHT + 1, type="ORDER", order_id="o")])
    mesh.runner.step(0.0)
    (claim,) = mesh.stores.claims.of(SITE, ["o"])
    assert (claim.row, claim.day, claim.excluded, claim.duplicate, claim.log_time) == (1, DAY, False, False, NOON)


def test_record_that_does_not_decode_is_set_aside_and_its_neighbours_are_stored() -> None:
    mesh = a_mesh()
    mesh.send([a_hit(MIDNIGHT)])
    poison = append(mesh, RecordKind.HITS, b"no arrow" * 1_000, rows=7)
    mesh.send([a_hit(MIDNIGHT + 1)])
    assert mesh.runner.step(0.0) == 3
    (refused,) = mesh.stores.rejected.recent("", 9)
    assert (refused.reason, refused.position, refused.hits, len(refused.original)) == ("DECODE", poison, 7, 4_096)
    assert len(list(mesh.stores.raw.scan(SITE, DAY, DAY + 1))) == 2
    assert mesh.stores.raw.get(poison) is None


def test_record_with_a_hole_where_every_hit_has_a_value_is_set_aside() -> None:
    mesh = a_mesh()
    rows = hit_rows([a_hit()]).with_columns(pl.lit(None, pl.Int64).alias("event_time"))
    append(mesh, RecordKind.HITS, pack_record(rows), rows=1)
    mesh.runner.step(0.0)
    (refused,) = mesh.stores.rejected.recent("", 9)
    assert "event_time" in refused.message


def test_record_of_unknown_kind_is_set_aside() -> None:
    mesh = a_mesh()
    mesh.send([a_hit()])
    (logged,) = mesh.stores.log_reader(Topic.HITS, "other").poll(9, 0.0)
    unknown = type(logged)(logged.position, logged.log_time, Record(0, logged.record.value))  # type: ignore[arg-type]  # no such kind
    assert [hit.reason for hit in take_in([unknown]).rejected] == ["DECODE"]


def test_record_of_an_older_schema_reads_as_null_where_it_had_no_column() -> None:
    mesh = a_mesh()
    append(mesh, RecordKind.HITS, pack_record(hit_rows([a_hit()]).drop("brand", "country")), rows=1)
    mesh.runner.step(0.0)
    mesh.sent.append(a_hit())  # the mesh closes the days of the hits in `sent`
    mesh.settle()
    assert mesh.stores.generations.ledger(SITE, DAY, DAY + 1)[DAY].accepted == 1


def test_refusals_are_kept_counted_and_settled_with_the_day_they_were_collected() -> None:
    mesh = a_mesh()
    row = {**dict.fromkeys(REJECTED_COLUMNS), "collect_time": NOON, "reason": "TIME_TOO_OLD", "hits": 3}
    refused = pl.DataFrame([{**row, "site": SITE}, {**row, "site": ""}], schema=REJECTED_COLUMNS)
    append(mesh, RecordKind.REJECTED, pack_record(refused), rows=2, topic=Topic.REJECTED)
    mesh.runner.step(0.0)
    assert mesh.stores.rejected.counts(SITE, DAY) == {NOON: 3}
    assert mesh.stores.dirty.awaited(SITE) == [DAY]
    mesh.sent.append(a_hit(MIDNIGHT))  # the mesh closes the days of the hits in `sent`
    mesh.settle()
    assert mesh.stores.generations.ledger(SITE, DAY, DAY + 1)[DAY].accepted == 0


def test_heartbeats_move_progress_and_store_nothing() -> None:
    mesh = a_mesh()
    append(mesh, RecordKind.HEARTBEAT)
    mesh.runner.step(0.0)
    log = mesh.stores.log.log_id(Topic.HITS)
    done = mesh.stores.progress.progress(Topic.HITS)[PartitionId(log, 0)]
    assert (done.next_offset, done.log_time) == (1, NOON)
    assert not mesh.stores.dirty.take(1, DAY + 1)


class SilentOnce:
    """A port whose first call of a method raises Unavailable."""

    def __init__(self, port: Any, method: str) -> None:
        self._port, self._method = port, method
        self._answers = False

    def __getattr__(self, name: str) -> Any:
        if name != self._method or self._answers:
            return getattr(self._port, name)
        return self._refuse

    def _refuse(self, *arguments: Any, **named: Any) -> None:
        self._answers = True
        raise Unavailable("the store does not answer")


@pytest.mark.parametrize(
    ("port", "method"),
    [
        ("raw", "put"),
        ("dirty", "await_close"),
        ("claims", "claim"),
        ("claims", "first"),
        ("outbox", "transaction"),
        ("series", "put_partials"),
        ("ledger", "put"),
    ],
)
def test_window_is_taken_again_after_a_store_failed_to_answer(port: str, method: str, tmp_path: Path) -> None:
    mesh = a_mesh()
    stores = stream_stores(mesh.stores)
    ports: dict[str, Any] = {port: SilentOnce(getattr(stores, port), method)}
    silent = replace(stores, **ports)
    runner = Runner(silent, mesh.clock, home=tmp_path)
    mesh.send([a_hit(NOON - 1), a_hit(NOON, type="ORDER", order_id="o")])
    answers: list[int] = []
    for _ in range(4):
        try:
            answers.append(runner.step(0.0))
        except Unavailable:
            answers.append(-1)
    assert -1 in answers
    log = mesh.stores.log.log_id(Topic.HITS)
    assert mesh.stores.progress.progress(Topic.HITS)[PartitionId(log, 0)].next_offset == 1
    assert len(list(mesh.stores.raw.scan(SITE, DAY, DAY + 1))) == 1
    measures = [row for (_, with_excluded, *_), row in mesh.rows().items() if with_excluded]
    assert sum(row.get("hits", 0) for row in measures) == 2
    assert sum(row.get("visits", 0) for row in measures) == 1
    assert sum(row.get("orders", 0) for row in measures) == 1
    streamed = mesh.stores.series.read(SITE, DAY, DAY + 1, 0)
    assert (streamed["hits"].sum(), streamed["orders"].sum()) == (2, 1)


def test_files_of_others_in_the_directory_of_a_runner_stay(tmp_path: Path) -> None:
    mesh = a_mesh()
    (tmp_path / "raw.db").write_text("of somebody else")
    (tmp_path / KEPT_DIRECTORY).mkdir()
    (tmp_path / KEPT_DIRECTORY / "old").write_text("of a runner that is gone")
    Runner(stream_stores(mesh.stores), mesh.clock, home=tmp_path).close()
    assert [found.name for found in tmp_path.rglob("*") if found.is_file()] == ["raw.db"]


@pytest.mark.parametrize(
    ("port", "method"), [("series", "put_partials"), ("ledger", "put"), ("series", "note_flushed")]
)
def test_values_of_an_epoch_that_is_over_wait_for_the_flush_that_succeeds(
    port: str, method: str, tmp_path: Path
) -> None:
    """The runner must keep the values of the failed flush, because the state already contains the next epoch's sums."""
    mesh = a_mesh()
    stores = stream_stores(mesh.stores)
    ports: dict[str, Any] = {port: SilentOnce(getattr(stores, port), method)}
    runner = Runner(replace(stores, **ports), mesh.clock, home=tmp_path)
    mesh.send([a_hit(NOON)])
    assert runner.step(0.0) == 1  # not flushed
    mesh.clock.advance(EPOCH_MS)
    mesh.send([a_hit(NOON + EPOCH_MS)])
    with pytest.raises(Unavailable):
        runner.step(0.0)  # the previous epoch has ended, but its values cannot be stored
    runner.flush()
    assert mesh.stores.series.read(SITE, DAY, DAY + 1, 0)["hits"].sum() == 2
    counted = mesh.stores.ledger.read(SITE).filter(pl.col("class") == LedgerClass.COUNTED)
    assert counted["hits"].sum() == 2


class SilentFor:
    """A port with a method that fails a given number of times before it answers."""

    def __init__(self, port: Any, method: str, calls: int, then: Callable[[], None]) -> None:
        self._port, self._method, self._left, self._then = port, method, calls, then

    def __getattr__(self, name: str) -> Any:
        return self._called if name == self._method else getattr(self._port, name)

    def _called(self, *arguments: Any, **named: Any) -> Any:
        if self._left:
            self._left -= 1
            raise Unavailable("the store does not answer", retry_after_s=0)
        self._then()
        return getattr(self._port, self._method)(*arguments, **named)


class CountingReader:
    """A reader that counts heartbeats. The heartbeats with a number in `moves` raise PartitionsMoved."""

    def __init__(self, reader: Any, heartbeats: list[Topic], topic: Topic, moves: Sequence[int] = ()) -> None:
        self._reader, self._heartbeats, self._topic, self._moves = reader, heartbeats, topic, moves

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reader, name)

    def heartbeat(self) -> None:
        self._heartbeats.append(self._topic)
        if len(self._heartbeats) in self._moves:
            raise PartitionsMoved("partitions moved", retry_after_s=0)


@pytest.mark.parametrize("moves_at", [0, 3])
def test_readers_send_heartbeats_while_the_runner_waits_for_a_store(moves_at: int, tmp_path: Path) -> None:
    mesh = a_mesh()
    stop = threading.Event()
    heartbeats: list[Topic] = []
    moves: list[int] = []
    stores = stream_stores(mesh.stores)
    silent = replace(
        stores,
        raw=SilentFor(stores.raw, "put", 5, stop.set),
        log_reader=lambda topic: CountingReader(stores.log_reader(topic), heartbeats, topic, moves),
    )
    runner = Runner(silent, mesh.clock, home=tmp_path)
    mesh.send([a_hit()])
    before = len(heartbeats)
    moves.append(before + moves_at if moves_at else 0)
    runner.run(stop, poll_s=0.0)
    assert set(heartbeats[before:]) == {Topic.HITS, Topic.REJECTED}
    assert len(heartbeats) - before >= 5
    assert runner.recoveries == (2 if moves_at else 1)
    assert mesh.stores.progress.progress(Topic.HITS)[PartitionId(mesh.stores.log.log_id(Topic.HITS), 0)].next_offset
    runner.close()


def test_record_that_was_read_but_not_committed_is_read_again_and_stored_once() -> None:
    mesh = a_mesh()
    mesh.send([a_hit()])
    mesh.stores.raw.put(take_in(mesh.stores.log_reader(Topic.HITS, "other").poll(9, 0.0)).raw)
    mesh.runner.step(0.0)
    assert len(list(mesh.stores.raw.scan(SITE, DAY, DAY + 1))) == 1
