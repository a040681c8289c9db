"""Decides, by the number and the age of rows, when a partition's rows become a log record (architecture A2).

If a record would be larger than the log accepts, its rows are divided among several records.

A record's header states the number of hits and two checksums over the hits' ids. If a consumer loses a hit and counts
another hit twice, the number of hits is right, but the checksums differ (rule D5). This module reads no clock and
appends nothing. The batcher supplies the time, and appends the slices that `due` returns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Generic, TypeVar

import numpy as np
import polars as pl

from hitmesh.model.arrays import U64Array
from hitmesh.model.records import Record, RecordKind
from hitmesh.model.rows.columns import (
    HITS_SCHEMA_VERSION,
    REJECTED_SCHEMA_VERSION,
    pack_record,
)
from hitmesh.model.rows.hash_columns import hash64_column

OwnerT = TypeVar("OwnerT")

# Columns that are not stored, because they only assign a row to its batch and partition.
_NOT_STORED: Final = ("frame", "partition")


@dataclass(frozen=True, slots=True)
class Slice(Generic[OwnerT]):
    """The rows of a micro-batch that belong to a partition. `owner` gets the result of the append."""

    rows: pl.DataFrame
    owner: OwnerT
    summed: tuple[int, ...] = ()

    @property
    def frames(self) -> tuple[int, ...]:
        """The frames with rows in this slice, and the frames in `summed`, whose rows were replaced by sums."""
        return (*self.rows["frame"].unique().to_list(), *self.summed)


@dataclass(slots=True)
class _Gathering(Generic[OwnerT]):
    slices: list[Slice[OwnerT]] = field(default_factory=list)
    rows: int = 0
    since_ms: int = 0


class RecordCutter(Generic[OwnerT]):
    """Collects the slices of each partition until a record must be cut."""

    def __init__(self, record_rows: int, linger_ms: int) -> None:
        self._record_rows = record_rows
        self._linger_ms = linger_ms
        self._partitions: dict[int, _Gathering[OwnerT]] = {}

    def add(self, partition: int, part: Slice[OwnerT], now: int) -> None:
        """Add rows for a partition; `now` is in ms."""
        gathering = self._partitions.setdefault(partition, _Gathering(since_ms=now))
        gathering.slices.append(part)
        gathering.rows += part.rows.height

    def due(self, now: int, *, everything: bool = False) -> list[tuple[int, Sequence[Slice[OwnerT]]]]:
        """Remove and return the slices of each partition whose record must be cut now."""
        cut = [
            partition
            for partition, gathering in self._partitions.items()
            if everything or gathering.rows >= self._record_rows or now - gathering.since_ms >= self._linger_ms
        ]
        return [(partition, self._partitions.pop(partition).slices) for partition in cut]

    def wait_ms(self, now: int) -> int | None:
        """Return the ms until a record must be cut because of its age, or None if there are no rows."""
        ages = [now - gathering.since_ms for gathering in self._partitions.values()]
        return max(0, self._linger_ms - max(ages)) if ages else None


def cut_by_bytes(
    slices: Sequence[Slice[OwnerT]], max_bytes: int, record_of: Callable[[pl.DataFrame], Record]
) -> Iterator[tuple[Sequence[Slice[OwnerT]], Record]]:
    """Yield pairs in order: some slices, and the record that contains the rows of these slices.

    A record has at most `max_bytes`, unless it has a single row. A slice may be split, so an owner may have slices in
    several pairs.
    """
    rows = slices[0].rows if len(slices) == 1 else pl.concat([part.rows for part in slices])
    record = record_of(rows)
    if len(record.value) <= max_bytes or rows.height == 1:
        yield slices, record
        return
    for half in _halves(slices):
        yield from cut_by_bytes(half, max_bytes, record_of)


def _halves(slices: Sequence[Slice[OwnerT]]) -> tuple[Sequence[Slice[OwnerT]], Sequence[Slice[OwnerT]]]:
    middle = len(slices) // 2
    if middle:
        return slices[:middle], slices[middle:]
    part = slices[0]
    half = part.rows.height // 2
    return [replace(part, rows=part.rows.slice(0, half))], [replace(part, rows=part.rows.slice(half))]


def hits_record(rows: pl.DataFrame, collector: str, classifier_version: str) -> Record:
    """Return the log record of accepted hits, without columns that are not stored. There must be at least one row."""
    rows = rows.drop(_NOT_STORED, strict=False)
    low, high, collected = rows.select(
        pl.col("event_time").min().alias("low"),
        pl.col("event_time").max().alias("high"),
        pl.col("collect_time").max().alias("collected"),
    ).row(0)
    sum64, xor64 = _checksums(rows["hit_hash"].to_numpy())
    return Record(
        kind=RecordKind.HITS,
        value=pack_record(rows),
        rows=rows.height,
        min_event_time=low,
        max_event_time=high,
        max_collect_time=collected,
        schema_version=HITS_SCHEMA_VERSION,
        collector=collector,
        classifier_version=classifier_version,
        hits=rows.height,
        sum64=sum64,
        xor64=xor64,
    )


def rejected_record(rows: pl.DataFrame, collector: str, now: int) -> Record:
    """Return the log record of refused hits. There must be at least one row.

    A row may stand for several hits, for example for all hits in a batch that was refused as a whole. The checksums
    include each row once; an unknown id counts as "".
    """
    rows = rows.drop(_NOT_STORED, strict=False)
    sum64, xor64 = _checksums(hash64_column(rows["hit_id"].fill_null("")).to_numpy())
    return Record(
        kind=RecordKind.REJECTED,
        value=pack_record(rows),
        rows=rows.height,
        max_collect_time=now,
        schema_version=REJECTED_SCHEMA_VERSION,
        collector=collector,
        hits=int(rows["hits"].sum()),
        sum64=sum64,
        xor64=xor64,
    )


def heartbeat_record(collector: str, now: int) -> Record:
    """Return a heartbeat: a record without rows, which advances the partition's watermark (rule L1)."""
    return Record(kind=RecordKind.HEARTBEAT, max_collect_time=now, collector=collector)


def _checksums(hashes: U64Array) -> tuple[int, int]:
    """Return two checksums of the hashes: their sum modulo 2⁶⁴ and their XOR."""
    return int(np.add.reduce(hashes, dtype=np.uint64)), int(np.bitwise_xor.reduce(hashes))


def partition_bounds(hits: pl.DataFrame) -> list[tuple[int, int, int]]:
    """Return (partition, first row, row after the last) for each partition. The hits must be sorted by partition."""
    if not hits.height:
        return []
    partitions = hits["partition"].to_numpy()
    starts = np.concatenate([[0], np.flatnonzero(np.diff(partitions)) + 1])
    ends = np.append(starts[1:], hits.height)
    return [(int(partitions[start]), int(start), int(end)) for start, end in zip(starts, ends, strict=True)]
