"""Test that a record always has the same log time, from whatever position a reader begins (rule L1).

Kafka does not store log times. The adapter derives log times from the records, as a running maximum. The tests pass
messages of Kafka's client to the adapter.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Message
from hypothesis import given
from hypothesis import strategies as st

from hitmesh.adapters.kafka.records import header_of, logged_behind
from hitmesh.model.positions import PartitionId, Position, Topic
from hitmesh.model.records import LoggedRecord, Record, RecordKind
from hitmesh.model.rows.columns import pack_record
from processor.building import stream_stores
from processor.stream.intake import never_back
from tests.reference.hits import RefHit
from tests.support.live_mesh import LiveMesh
from tests.support.small_mesh import hit_rows

SITE = "merchants/demo/sites/alpha"
MINUTE = 60_000
HOUR = 60 * MINUTE
START = 20_000 * 24 * HOUR
LOOK_BACK = 3
BURST = 2 * LOOK_BACK


def a_message(offset: int, record: Record, appended: int) -> Message:
    """Return a record as Kafka's client delivers it. The timestamp type 2 is the append time."""
    return Message(
        topic="hits",
        partition=0,
        offset=offset,
        value=record.value,
        headers=header_of(record),
        timestamp=(2, appended),
    )


def a_beat(collected: int) -> Record:
    return Record(RecordKind.HEARTBEAT, max_collect_time=collected)


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(-90, 15)), min_size=1, max_size=40), st.integers(0, 39), st.data()
)
def test_log_times_are_the_same_from_any_record_on(
    sent: Sequence[tuple[int, int]], first: int, data: st.DataObject
) -> None:
    appended, messages = START, []
    for offset, (minutes, ahead) in enumerate(sent):
        appended += minutes * MINUTE
        messages.append(a_message(offset, a_beat(appended + ahead * MINUTE), appended))
    whole = list(logged_behind(messages, "log", 0))
    first = min(first, len(whole) - 1)
    known = whole[first].log_time if data.draw(st.booleans()) else whole[first - 1].log_time if first else 0
    assert list(logged_behind(messages[first:], "log", known)) == whole[first:]


class KafkaLikeScan:
    """A LogScan over a log in memory. The scan derives log times again, as the adapter does for Kafka's messages."""

    def __init__(self, mesh: LiveMesh) -> None:
        self._scan: Any = mesh.stores.log_scan
        self._appended: dict[int, int] = {}
        self._mesh = mesh

    def append(self, record: Record) -> int:
        """Append a record to partition 0, and return its log time."""
        at = self._mesh.stores.log.append(Topic.HITS, 0, record).result()
        self._appended[at.position.offset] = self._mesh.clock.now()
        return at.log_time

    def __getattr__(self, name: str) -> Any:
        return getattr(self._scan, name)

    def read(
        self, partition: PartitionId, first_offset: int, end_offset: int, log_time: int = 0
    ) -> Iterator[LoggedRecord]:
        """Yield records as KafkaLogScan yields them."""
        start = first_offset if log_time else max(0, first_offset - LOOK_BACK)
        records = self._scan.read(partition, start, end_offset)
        again = logged_behind(self._messages(records), partition.log, log_time)
        return (logged for logged in again if logged.position.offset >= first_offset)

    def _messages(self, records: Iterable[LoggedRecord]) -> Iterator[Message]:
        for logged in records:
            offset = logged.position.offset
            yield a_message(offset, logged.record, self._appended.get(offset, self._mesh.clock.now()))


def a_record(visitor: int, hit_id: str, event: int, collected: int) -> Record:
    hit = RefHit(SITE, f"v{visitor}", hit_id, event, page_path=f"/{hit_id}", hostname="h")
    return Record(RecordKind.HITS, pack_record(hit_rows([hit])), 1, event, event, collected)


def in_bursts(home: Path, *, snapshot: bool, restart: bool) -> tuple[object, object]:
    """Return the rows and series of a log with bursts of records that are appended long after their collect time.

    A collector cannot append to the log for an hour, so the hits of this collector get a late log time. By
    their log time, the hits are late. By their collect time, the hits would be on time.
    """
    with LiveMesh("memory:", home, START, [SITE], partitions=1) as mesh:
        scan = KafkaLikeScan(mesh)
        mesh.clock.advance(100 * MINUTE)
        now = mesh.clock.now()
        scan.append(a_beat(now))
        for _ in range(BURST):
            scan.append(a_beat(now - 50 * MINUTE))
        for half in range(2):
            for number in range(BURST):
                scan.append(a_record(number % 2, f"{half}-{number}", now - 65 * MINUTE, now - 50 * MINUTE))
            mesh.step()
            if snapshot and not half:
                mesh.runner.snapshot()
        if restart:
            mesh.runner.close()
            mesh.runner = mesh.a_runner(replace(stream_stores(mesh.stores), log_scan=scan))
        for visitor in range(2):  # the first hit is on time; the second is earlier, so the visit is rebuilt
            scan.append(a_record(visitor, f"last-{visitor}", now - MINUTE, now))
            scan.append(a_record(visitor, f"before-{visitor}", now - 59 * MINUTE, now))
            mesh.step()
        mesh.runner.flush()
        day = START // (24 * HOUR)
        series = mesh.stores.series.read(SITE, day, day + 1, 0)
        # Sketches and digests are left out; digests differ, because each mesh has its own secret.
        series = series.drop("visitors", "moved_visitors", "digest")
        found = mesh.seen(SITE, day).rows, series.to_dicts()
        mesh.runner.close()
        return found


@pytest.mark.parametrize("snapshot", [True, False])
def test_state_made_again_among_old_records_changes_no_number(snapshot: bool, tmp_path: Path) -> None:
    undisturbed = in_bursts(tmp_path / "1", snapshot=snapshot, restart=False)
    assert in_bursts(tmp_path / "2", snapshot=snapshot, restart=True) == undisturbed


def test_records_behind_a_later_log_time_are_taken_at_that_time() -> None:
    """A position that another tool committed has no log time.

    If a reader begins at a position without a log time, the reader's log time is 0 at first.
    """
    beats = [LoggedRecord(Position("log", partition, 0), START, a_beat(START)) for partition in range(2)]
    first, second = PartitionId("log", 0), PartitionId("log", 1)
    raised = never_back(beats, {first: START + HOUR, second: START - HOUR})
    assert [logged.log_time for logged in raised] == [START + HOUR, START]
    assert never_back(beats, {first: START}) == beats
