"""Test when the record of a partition is written, and its header (decision A2, rule L1)."""

from __future__ import annotations

import itertools
from functools import reduce
from operator import xor

import polars as pl
import pytest

from collector.records import RecordCutter, Slice, heartbeat_record, hits_record, rejected_record
from hitmesh.model.errors import StoreCorrupt
from hitmesh.model.keys import hash64
from hitmesh.model.records import RecordKind
from hitmesh.model.rows.columns import (
    HITS_COLUMNS,
    HITS_SCHEMA_VERSION,
    REJECTED_COLUMNS,
    REJECTED_SCHEMA_VERSION,
    pack_record,
    unpack_record,
)


def rows(*times: int, collect_time: int = 9_000) -> pl.DataFrame:
    known: dict[str, list[object]] = {
        "site": ["merchants/demo/sites/a"] * len(times),
        "hit_id": [f"h-{time}" for time in times],
        "hit_hash": [hash64(f"h-{time}") for time in times],
        "event_time": list(times),
        "collect_time": [collect_time + index for index in range(len(times))],
    }
    return pl.DataFrame({name: known.get(name, [None] * len(times)) for name in HITS_COLUMNS}, HITS_COLUMNS)


def owners(slices: object) -> list[str]:
    assert isinstance(slices, list)
    return [part.owner for part in slices]


def test_a_record_is_cut_when_it_has_enough_rows() -> None:
    cutter: RecordCutter[str] = RecordCutter(record_rows=3, linger_ms=250)
    cutter.add(5, Slice(rows(1, 2), "a"), now=1_000)
    assert cutter.due(1_000) == []
    cutter.add(5, Slice(rows(3), "b"), now=1_010)
    ((partition, slices),) = cutter.due(1_010)
    assert partition == 5
    assert owners(slices) == ["a", "b"]
    assert cutter.due(2_000) == []


def test_a_record_is_cut_at_its_age_however_small() -> None:
    cutter: RecordCutter[str] = RecordCutter(record_rows=500, linger_ms=250)
    cutter.add(0, Slice(rows(1), "a"), now=1_000)
    cutter.add(0, Slice(rows(2), "b"), now=1_200)
    assert cutter.wait_ms(1_100) == 150
    assert cutter.due(1_249) == []
    ((_, slices),) = cutter.due(1_250)
    assert owners(slices) == ["a", "b"]


def test_partitions_are_cut_apart() -> None:
    cutter: RecordCutter[str] = RecordCutter(record_rows=500, linger_ms=250)
    cutter.add(0, Slice(rows(1), "old"), now=1_000)
    cutter.add(1, Slice(rows(2), "young"), now=1_100)
    assert [partition for partition, _ in cutter.due(1_250)] == [0]
    assert cutter.wait_ms(1_250) == 100
    assert [partition for partition, _ in cutter.due(1_250, everything=True)] == [1]
    assert cutter.wait_ms(1_250) is None


def test_wait_is_none_without_rows_and_never_negative() -> None:
    cutter: RecordCutter[str] = RecordCutter(record_rows=500, linger_ms=250)
    assert cutter.wait_ms(0) is None
    cutter.add(0, Slice(rows(1), "a"), now=1_000)
    assert cutter.wait_ms(5_000) == 0


def test_the_header_of_hits_bounds_their_times() -> None:
    table = rows(5_000, 1_000, 3_000, collect_time=9_000)
    record = hits_record(table, "collector-0", "lists-1")
    assert record.kind is RecordKind.HITS
    assert (record.rows, record.min_event_time, record.max_event_time) == (3, 1_000, 5_000)
    assert record.max_collect_time == 9_002
    assert record.schema_version == HITS_SCHEMA_VERSION
    assert (record.collector, record.classifier_version) == ("collector-0", "lists-1")
    assert unpack_record(record.value, HITS_COLUMNS).equals(table)


def test_the_header_of_refusals_counts_their_rows() -> None:
    refused = pl.DataFrame(
        {name: [None] for name in REJECTED_COLUMNS} | {"reason": ["DECODE"], "hits": [7]}, REJECTED_COLUMNS
    )
    record = rejected_record(refused, "collector-0", now=4_000)
    assert record.kind is RecordKind.REJECTED
    assert (record.rows, record.max_collect_time) == (1, 4_000)
    assert record.schema_version == REJECTED_SCHEMA_VERSION
    assert unpack_record(record.value, REJECTED_COLUMNS)["reason"].to_list() == ["DECODE"]


def test_the_header_of_hits_announces_how_many_and_two_checksums() -> None:
    record = hits_record(rows(*range(1, 40)), "collector-0", "lists-1")
    hashes = [hash64(f"h-{time}") for time in range(1, 40)]
    assert record.hits == 39
    assert record.sum64 == sum(hashes) % 2**64, "it wraps"
    assert sum(hashes) > 2**64
    assert record.xor64 == reduce(xor, hashes)


@pytest.mark.parametrize(("lost", "twice"), list(itertools.permutations((1, 2, 3), 2)))
def test_a_loss_that_a_copy_hides_shows_in_the_checksums(lost: int, twice: int) -> None:
    announced = hits_record(rows(1, 2, 3), "collector-0", "lists-1")
    kept = [time for time in (1, 2, 3) if time != lost]
    found = hits_record(rows(*kept, twice), "collector-0", "lists-1")
    assert found.hits == announced.hits
    assert found.sum64 != announced.sum64
    assert found.xor64 != announced.xor64


def test_the_header_of_refusals_announces_all_hits_that_its_rows_stand_for() -> None:
    ids, counts = ["h-1", None, "ä" * 200], [1, 7, 1]
    blank = {name: [None] * 3 for name in REJECTED_COLUMNS}
    record = rejected_record(
        pl.DataFrame(blank | {"hit_id": ids, "hits": counts}, REJECTED_COLUMNS), "collector-0", 4_000
    )
    hashes = [hash64("h-1"), hash64(""), hash64("ä" * 200)]
    assert (record.rows, record.hits) == (3, 9)
    assert (record.sum64, record.xor64) == (sum(hashes) % 2**64, reduce(xor, hashes))


def test_a_heartbeat_has_a_time_and_no_rows() -> None:
    record = heartbeat_record("collector-0", now=4_000)
    assert record.kind is RecordKind.HEARTBEAT
    assert (record.rows, record.value, record.max_collect_time) == (0, b"", 4_000)
    assert (record.hits, record.sum64, record.xor64) == (None, 0, 0)


@pytest.mark.parametrize("columns", [{"order_id": pl.Int64()}, {"refund_id": pl.String(), "order_id": pl.Int64()}])
def test_a_column_that_is_not_of_its_type_is_damage(columns: dict[str, pl.DataType]) -> None:
    record = pack_record(pl.DataFrame({"order_id": ["1001", "no number"]}))
    with pytest.raises(StoreCorrupt, match="a record of"):
        unpack_record(record, columns)
