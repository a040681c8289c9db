"""Contract tests for the port LogEraser, on stores whose log can change records.

Records in a Kafka topic cannot be changed. Kafka's LogEraser only reports how long a record is kept.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from hitmesh.adapters.factory import Stores
from hitmesh.model.positions import PartitionId, Position, Topic
from hitmesh.model.records import LoggedRecord, Record, RecordKind
from tests.support.opened import Opener

CELL_MS = 900_000
COLLECTED = 1_700_000_123_456


@pytest.fixture
def at(stores: Stores) -> Position:
    record = Record(RecordKind.HITS, b"before", 1, hits=1, sum64=7, max_collect_time=COLLECTED)
    return stores.log.append(Topic.HITS, 0, record).result(30).position


def test_a_record_is_replaced_or_kept_for_a_known_time(opener: Opener, stores: Stores, at: Position) -> None:
    eraser = stores.log_eraser
    (before,) = stores.log_scan.read(PartitionId(at.log, at.partition), at.offset, at.offset + 1)
    if not eraser.replace(replace(before, record=Record(RecordKind.HITS, b"after", 9, -7, 7, sum64=9))):
        assert eraser.record(at) is None
        assert eraser.kept_until(1_000) > 1_000
        return
    (logged,) = opener().log_scan.read(PartitionId(at.log, at.partition), at.offset, at.offset + 1)
    cell = COLLECTED - COLLECTED % CELL_MS
    changed = replace(before.record, value=b"after", min_event_time=-7, max_event_time=7, max_collect_time=cell)
    assert logged == replace(before, record=changed)
    assert eraser.record(at) == logged
    assert not eraser.replace(before, b"another value was seen")
    assert eraser.kept_until(1_000) == 0
    eraser.overwrite()


def test_a_record_that_the_log_does_not_have_is_not_replaced(stores: Stores, at: Position) -> None:
    absent = [at._replace(offset=at.offset + 1), at._replace(log="hits.of-another-store")]
    assert [stores.log_eraser.record(position) for position in absent] == [None, None]
    logged = [LoggedRecord(position, 1, Record(RecordKind.HITS)) for position in absent]
    assert list(map(stores.log_eraser.replace, logged)) == [False, False]
