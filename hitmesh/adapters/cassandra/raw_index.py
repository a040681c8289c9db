"""Which raw records hold hits of a site on a day: a small table beside the records.

Decides the cost of writing and of finding. A row per record and site would be hundreds of rows a record; a row per
record would make a scan of one site read the sites of all records. Here sites share 256 buckets, and what one `put`
brings of a (day, bucket, partition) is one row: (site, offset, log time) entries of 14 bytes, sorted. So a put writes
at most 256 rows a day however many sites it holds, and no more than it has sites; a scan reads one bucket of 256.
Sites are 32 bits of their hash64: two that share them cost a record read in vain, which its own list of sites tells.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
import xxhash

from hitmesh.adapters.cassandra.session import CassandraSession, Row
from hitmesh.adapters.shared.bits import to_signed
from hitmesh.model.errors import StoreCorrupt
from hitmesh.model.keys import hash64
from hitmesh.model.positions import PartitionId, Position
from hitmesh.model.records import RawRecord

SPAN_BITS: Final = 10  # offsets of a Cassandra partition of raw records: 1,024 of them
_BUCKETS: Final = 256
_MAX_ENTRIES: Final = 32_768  # of a row: 448 KiB
_DAYS_AHEAD: Final = 4
_ENTRY: Final = np.dtype([("site", "<u4"), ("offset", "<u2"), ("log_time", "<i8")])
_INSERT: Final = """INSERT INTO raw_index (day, bucket, log, partition, first_offset, digest, records)
    VALUES (?, ?, ?, ?, ?, ?, ?)"""


class Found(NamedTuple):
    """Where a record is that may hold hits of a site; in log order."""

    log_time: int
    position: Position


class _Group(NamedTuple):
    day: int
    bucket: int
    log: str
    partition: int
    span: int


class RawIndex:
    """The index. Entries are only added; the same ones added twice are one row."""

    def __init__(self, session: CassandraSession) -> None:
        self._session = session

    def add(self, records: Iterable[RawRecord]) -> None:
        """Makes records that are stored findable."""
        groups: dict[_Group, set[tuple[int, int, int]]] = defaultdict(set)
        for record in records:
            log, partition, offset = record.position
            span = offset >> SPAN_BITS
            for site, day in record.site_days:
                bucket, bits = _hashed(site)
                groups[_Group(day, bucket, log, partition, span)].add((bits, offset, record.log_time))
        self._session.run_many(_INSERT, (row for group, entries in groups.items() for row in _rows(group, entries)))

    def find(self, site: str, days: Sequence[int], before: Mapping[PartitionId, int] | None) -> list[Found]:
        """Returns the records that may hold hits of a site on these days, below `before`, in log order, each once."""
        bucket, bits = _hashed(site)
        answers = self._session.each(
            "SELECT log, partition, first_offset, digest, records FROM raw_index WHERE day = ? AND bucket = ?",
            [(day, bucket) for day in days],
            max_in_flight=_DAYS_AHEAD,
        )
        found = {one for rows in answers for row in rows for one in _found(row, bits)}
        return sorted(one for one in found if before is None or _is_before(one.position, before))


def _rows(group: _Group, entries: set[tuple[int, int, int]]) -> Iterator[tuple[object, ...]]:
    """Yields rows that are named by what is in them: another set of records of the same span is another row."""
    first_offset = group.span << SPAN_BITS
    packed = np.array([(site, offset - first_offset, at) for site, offset, at in sorted(entries)], _ENTRY)
    for start in range(0, len(packed), _MAX_ENTRIES):
        value = packed[start : start + _MAX_ENTRIES].tobytes()
        digest = to_signed(xxhash.xxh3_64_intdigest(value))
        yield (group.day, group.bucket, group.log, group.partition, first_offset, digest, value)


def _found(row: Row, bits: int) -> Iterator[Found]:
    if to_signed(xxhash.xxh3_64_intdigest(row.records)) != row.digest:
        raise StoreCorrupt("a row of table raw_index is damaged: its checksum does not match; restore it from a copy")
    entries = np.frombuffer(row.records, _ENTRY)
    mine = entries[entries["site"] == bits]
    for offset, log_time in zip(mine["offset"].tolist(), mine["log_time"].tolist(), strict=True):
        yield Found(log_time, Position(row.log, row.partition, row.first_offset + offset))


def _is_before(position: Position, before: Mapping[PartitionId, int]) -> bool:
    return position.offset < before.get(PartitionId(position.log, position.partition), 0)


@lru_cache(maxsize=65_536)
def _hashed(site: str) -> tuple[int, int]:
    """Returns the bucket of a site and its 32 bits in it."""
    bits = hash64(site)
    return bits % _BUCKETS, bits >> 32
