"""When a partition's record is cut, and what is in it (decision A2): at so many rows or such an age.

A record never has more bytes than a log takes: rows beyond become records of their own.

A header announces how many hits its record brings, with two checksums over them, so that a reader who loses one hit
and counts another twice is found out (rule D5). Pure: the batcher tells the time and appends what `due` returns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Generic, TypeVar

import numpy as np
import numpy.typing as npt
import polars as pl

from hitmesh.model.keys import hash64_column
from hitmesh.model.records import Record, RecordKind
from hitmesh.model.rows.columns import (
    HITS_SCHEMA_VERSION,
    REJECTED_SCHEMA_VERSION,
    pack_record,
)

OwnerT = TypeVar("OwnerT")

# Where a row comes from and goes to, beside its columns.
_NOT_STORED: Final = ("frame", "partition")


@dataclass(frozen=True, slots=True)
class Slice(Generic[OwnerT]):
    """Rows of one micro-batch for one partition, with their `frame`; `owner` is told where they went."""

    rows: pl.DataFrame
    owner: OwnerT
    summed: tuple[int, ...] = ()

    @property
    def frames(self) -> tuple[int, ...]:
        """The frames that have rows here, or of which there are sums only (`summed`)."""
        return (*self.rows["frame"].unique().to_list(), *self.summed)


@dataclass(slots=True)
class _Gathering(Generic[OwnerT]):
    slices: list[Slice[OwnerT]] = field(default_factory=list)
    rows: int = 0
    since_ms: int = 0


class RecordCutter(Generic[OwnerT]):
    """Gathers slices per partition until a record is due."""

    def __init__(self, record_rows: int, linger_ms: int) -> None:
        self._record_rows = record_rows
        self._linger_ms = linger_ms
        self._partitions: dict[int, _Gathering[OwnerT]] = {}

    def add(self, partition: int, part: Slice[OwnerT], now: int) -> None:
        """Adds rows for a partition at a time in ms."""
        gathering = self._partitions.setdefault(partition, _Gathering(since_ms=now))
        gathering.slices.append(part)
        gathering.rows += part.rows.height

    def due(self, now: int, *, everything: bool = False) -> list[tuple[int, Sequence[Slice[OwnerT]]]]:
        """Returns and removes the partitions whose record must be cut now."""
        cut = [
            partition
            for partition, gathering in self._partitions.items()
            if everything or gathering.rows >= self._record_rows or now - gathering.since_ms >= self._linger_ms
        ]
        return [(partition, self._partitions.pop(partition).slices) for partition in cut]

    def wait_ms(self, now: int) -> int | None:
        """Returns how long until the next record is due by age; None when nothing is gathered."""
        ages = [now - gathering.since_ms for gathering in self._partitions.values()]
        return max(0, self._linger_ms - max(ages)) if ages else None


def cut_by_bytes(
    slices: Sequence[Slice[OwnerT]], max_bytes: int, record_of: Callable[[pl.DataFrame], Record]
) -> Iterator[tuple[Sequence[Slice[OwnerT]], Record]]:
    """Yield slices that become a record together, in order, and that record.

    A record has at most `max_bytes`, or one row. Slices are split where they must, so an owner may occur in several.
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
    """Returns the record of accepted hits; `rows` are not empty. Columns that are not stored are left out."""
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
    """Returns the record of refused hits; `rows` are not empty.

    A row may stand for all hits of a batch refused whole; the checksums have each row once, an unknown id as "".
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
    """Returns a record without rows that says the log is alive (rule L1)."""
    return Record(kind=RecordKind.HEARTBEAT, max_collect_time=now, collector=collector)


def _checksums(hashes: npt.NDArray[np.uint64]) -> tuple[int, int]:
    """Returns Σ mod 2⁶⁴ and ⊕ of hashes."""
    return int(np.add.reduce(hashes, dtype=np.uint64)), int(np.bitwise_xor.reduce(hashes))


def partition_bounds(hits: pl.DataFrame) -> list[tuple[int, int, int]]:
    """Returns (partition, first row, end row) of hits that are sorted by partition."""
    if not hits.height:
        return []
    partitions = hits["partition"].to_numpy()
    starts = np.concatenate([[0], np.flatnonzero(np.diff(partitions)) + 1])
    ends = np.append(starts[1:], hits.height)
    return [(int(partitions[start]), int(start), int(end)) for start, end in zip(starts, ends, strict=True)]
