"""Test that acknowledged writes of the embedded store survive a kill. Related writes must be atomic."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hitmesh.adapters.factory import Stores
from hitmesh.model.positions import PartitionId, Position, Topic
from hitmesh.model.queries import MetricQuery
from hitmesh.model.rows.rollup_rows import RowSource
from hitmesh.model.sites import SiteDay
from tests.contract.doomed_writer import GROUP, LIVE, SHOP, SNAPSHOT, chunks_of, value_of
from tests.contract.test_embedded_store import REPOSITORY, opened


def run_until_killed(home: Path, lines: int) -> list[list[str]]:
    """Start a writer, kill it after `lines` lines, and return all printed lines, split into words."""
    writer = subprocess.Popen(
        [sys.executable, "-m", "tests.contract.doomed_writer", str(home)],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert writer.stdout is not None
    with writer, writer.stdout as output:
        promises = [output.readline() for _ in range(lines)]
        os.kill(writer.pid, signal.SIGKILL)
        promises += output.readlines()
    return [promise.split() for promise in promises if promise.endswith("\n")]


def is_kept(stores: Stores, what: str, number: int) -> bool:
    day = SiteDay(SHOP, number)
    match what:
        case "raw":
            record = stores.raw.get(Position("hits.1", 0, number))
            return record is not None and list(stores.raw.scan(SHOP, number, number + 1)) == [record]
        case "rejected":
            return number in [hit.position.offset for hit in stores.rejected.recent(SHOP, 10_000)]
        case "dirty":
            return day in [dirty_day.site_day for dirty_day in stores.dirty.pending(SHOP)]
        case "claim":
            return len(stores.claims.of(SHOP, [str(number)])) == 1
        case "commit":
            committed = stores.log_reader(Topic.HITS, GROUP).committed()
            return max(progress.next_offset for progress in committed.values()) >= number
        case "outbox":
            return stores.progress.progress(Topic.HITS)[streamed_partition(stores)].next_offset >= number
        case "snapshot":
            saved = stores.states.load(SNAPSHOT, 1)
            return saved is not None and saved[0].position.next_offset >= number
        case "settled":
            entry = stores.generations.current(SHOP, number, number + 1)[number]
            start = number * 86_400_000
            question = MetricQuery(
                RowSource.TRAFFIC,
                {day: entry.generation},
                start,
                start + 86_400_000,
                (start,),
                measures=("hits",),
            )
            answer = stores.metrics.query(question)
            return stores.generations.carry(day) == value_of(number) and answer.rows() == [(0, number)]
        case "directory":
            return stores.directory.site(f"{SHOP}{number}") is not None and (
                stores.directory.key(f"secret{number}") is not None
            )
        case _:
            raise AssertionError(what)


def streamed_partition(stores: Stores) -> PartitionId:
    return PartitionId(stores.log.log_id(Topic.HITS), 1)


def streamed_hits(stores: Stores) -> int:
    start = LIVE.day * 86_400_000
    question = MetricQuery(RowSource.TRAFFIC, {LIVE: 0}, start, start + 86_400_000, (start,), measures=("hits",))
    return int(stores.metrics.query(question)["hits"].sum())


class TestDurability:
    @pytest.mark.timeout(60)
    @pytest.mark.parametrize("lines", [9, 10, 155, 406])
    def test_rows_and_position_survive_kill_9_together_and_a_snapshot_whole(self, tmp_path: Path, lines: int) -> None:
        run_until_killed(tmp_path, lines)
        stores = opened(tmp_path)
        committed = stores.outbox.committed()[streamed_partition(stores)]
        assert streamed_hits(stores) == committed.next_offset > 0
        saved = stores.states.load(SNAPSHOT, 1)
        assert saved is not None or lines < 10
        if saved is not None:
            assert list(saved[1]) == chunks_of(saved[0].position.next_offset)
            assert committed.next_offset - 1 <= saved[0].position.next_offset <= committed.next_offset
        stores.close()

    @pytest.mark.timeout(60)
    @pytest.mark.parametrize("lines", [1, 42, 301])
    def test_acknowledged_data_survives_kill_9(self, tmp_path: Path, lines: int) -> None:
        promises = run_until_killed(tmp_path, lines)
        stores = opened(tmp_path)
        logged = {
            (logged.position.partition, logged.position.offset): logged.record.value
            for logged in stores.log_reader(Topic.HITS, "audit").poll(10**9, 1.0)
        }
        for what, number, *offsets in promises:
            if what == "log":
                kept = [logged[partition, int(offset)] for partition, offset in enumerate(offsets)]
                assert kept == [value_of(int(number))] * 4
            else:
                assert is_kept(stores, what, int(number)), f"{what} {number}"
        assert len(promises) >= lines
        stores.close()

    @pytest.mark.timeout(60)
    def test_store_of_a_killed_writer_takes_more(self, tmp_path: Path) -> None:
        for _ in range(2):
            promises = run_until_killed(tmp_path, 1)
        assert int(promises[0][2]) >= 1
