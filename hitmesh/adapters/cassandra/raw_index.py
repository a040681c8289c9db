"""Index raw records by site and day, in a small table beside the table of records.

The layout balances the cost of writes against the cost of scans. If the index had a row for each pair of record and
site, a record would need hundreds of rows. If the index had a row for each record, a scan for a site would read the
site lists of all records. This index therefore has 256 buckets, which all sites share. A `put` writes one row per (day,
bucket, partition, span of offsets). A row holds sorted entries of 14 bytes (site, offset, log time). A `put` therefore
writes at most 256 rows for each day, partition and span of 1,024 offsets, however many sites there are. If a row would
have more than 32,768 entries, its entries are split over several rows. A scan reads one bucket. In place of a site, an
entry stores 32 bits of the site's hash64. If two sites have the same 32 bits, a scan for a site also reads the other
site's records. The scan discards the other site's records, because their lists of sites do not contain the wanted site.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
import xxhash

from hitmesh.adapters.cassandra.session import CassandraSession, Row
from hitmesh.adapters.shared.bits import to_signed
from hitmesh.model.arrays import U32Array
from hitmesh.model.errors import StoreCorrupt
from hitmesh.model.keys import hash64
from hitmesh.model.positions import PartitionId, Position
from hitmesh.model.records import RawRecord
from hitmesh.model.sites import SiteDay

SPAN_BITS: Final = 10  # a Cassandra partition of raw records holds 1,024 offsets
_BUCKETS: Final = 256
_MAX_ENTRIES: Final = 32_768  # maximum number of entries per row; a full row takes 448 KiB
_DAYS_AHEAD: Final = 4
_ENTRY: Final = np.dtype([("site", "<u4"), ("offset", "<u2"), ("log_time", "<i8")])
_SELECT: Final = "SELECT log, partition, first_offset, digest, records FROM raw_index WHERE day = ? AND bucket = ?"
_DELETE: Final = """DELETE FROM raw_index WHERE day = ? AND bucket = ? AND log = ? AND partition = ?
    AND first_offset = ? AND digest = ?"""
_INSERT: Final = """INSERT INTO raw_index (day, bucket, log, partition, first_offset, digest, records)
    VALUES (?, ?, ?, ?, ?, ?, ?)"""


class Found(NamedTuple):
    """The position of a record that may have a site's hits; log order is the natural order of these tuples."""

    log_time: int
    position: Position


class Indexed(NamedTuple):
    """The offset, log time and site-days of a stored record that needs new index entries."""

    offset: int
    log_time: int
    site_days: frozenset[SiteDay]


class _Group(NamedTuple):
    day: int
    bucket: int
    log: str
    partition: int
    span: int


class RawIndex:
    """Adds and finds index entries.

    Adding the same entries a second time changes nothing, because equal entries have equal rows.
    """

    def __init__(self, session: CassandraSession) -> None:
        self._session = session

    def add(self, records: Iterable[RawRecord]) -> None:
        """Add stored records to the index."""
        groups: dict[_Group, set[tuple[int, int, int]]] = defaultdict(set)
        for record in records:
            log, partition, offset = record.position
            span = offset >> SPAN_BITS
            for site, day in record.site_days:
                bucket, bits = _hashed(site)
                groups[_Group(day, bucket, log, partition, span)].add((bits, offset, record.log_time))
        self._session.run_many(_INSERT, (row for group, entries in groups.items() for row in _rows(group, entries)))

    def find_intact(
        self, sites: Collection[str], days: Sequence[int], before: Mapping[PartitionId, int] | None
    ) -> list[Found]:
        """Return the same records as `find`, but without records whose entries are in damaged rows."""
        return self._find(sites, days, before, lambda row: not is_damaged(row))

    def damaged(self, site_day: SiteDay) -> list[Row]:
        """Return the damaged rows that hold entries of a site-day."""
        bucket, _ = _hashed(site_day.site)
        return [row for row in self._session.run(_SELECT, (site_day.day, bucket)) if is_damaged(row)]

    def replace(self, site_day: SiteDay, damaged: Row, records: Iterable[Indexed]) -> None:
        """Replace a damaged row with new entries for the stored records in the row's span of offsets.

        The entries cover all sites of the row's bucket and day.
        """
        bucket, _ = _hashed(site_day.site)
        span = damaged.first_offset >> SPAN_BITS
        group = _Group(site_day.day, bucket, damaged.log, damaged.partition, span)
        entries = {
            (bits, offset, log_time)
            for offset, log_time, site_days in records
            for site, day in site_days
            for of_site, bits in [_hashed(site)]
            if (of_site, day) == (bucket, site_day.day)
        }
        rows = list(_rows(group, entries))
        self._session.run_many(_INSERT, rows)
        key = (site_day.day, bucket, damaged.log, damaged.partition, damaged.first_offset, damaged.digest)
        # If a new row has the damaged row's key, the insert above has already replaced the damaged row.
        if key not in {row[:-1] for row in rows}:
            self._session.run(_DELETE, key)

    def find(
        self, sites: Collection[str], days: Sequence[int], before: Mapping[PartitionId, int] | None
    ) -> list[Found]:
        """Return, in log order, the records that may hold the sites' hits on these days, from offsets below `before`.

        Raises:
            StoreCorrupt: a row is damaged.
        """
        return self._find(sites, days, before, _refuse_damaged)

    def _find(
        self,
        sites: Collection[str],
        days: Sequence[int],
        before: Mapping[PartitionId, int] | None,
        is_wanted: Callable[[Row], bool],
    ) -> list[Found]:
        of_bucket: dict[int, list[int]] = defaultdict(list)
        for site in sites:
            bucket, bits = _hashed(site)
            of_bucket[bucket].append(bits)
        wanted = {bucket: np.array(bits, np.uint32) for bucket, bits in of_bucket.items()}
        keys = [(day, bucket) for day in days for bucket in wanted]
        answers = self._session.each(_SELECT, keys, max_in_flight=_DAYS_AHEAD)
        found = {
            candidate
            for (_, bucket), rows in zip(keys, answers, strict=True)
            for row in rows
            if is_wanted(row)
            for candidate in _found(row, wanted[bucket])
        }
        # A record that was restored with another log time has two entries; the entry with the earlier log time is used.
        first = {candidate.position: candidate for candidate in sorted(found, reverse=True)}
        return sorted(each for each in first.values() if before is None or _is_before(each.position, before))


def _rows(group: _Group, entries: set[tuple[int, int, int]]) -> Iterator[tuple[object, ...]]:
    """Yield index rows. The key contains a digest of the entries, so that different entries have different rows."""
    first_offset = group.span << SPAN_BITS
    packed = np.array([(site, offset - first_offset, at) for site, offset, at in sorted(entries)], _ENTRY)
    for start in range(0, len(packed), _MAX_ENTRIES):
        value = packed[start : start + _MAX_ENTRIES].tobytes()
        digest = to_signed(xxhash.xxh3_64_intdigest(value))
        yield (group.day, group.bucket, group.log, group.partition, first_offset, digest, value)


def is_damaged(row: Row) -> bool:
    """Return whether a row's checksum does not match its entries."""
    digest: int = row.digest
    return to_signed(xxhash.xxh3_64_intdigest(row.records or b"")) != digest


def _refuse_damaged(row: Row) -> bool:
    if is_damaged(row):
        first = Position(row.log, row.partition, row.first_offset)
        raise StoreCorrupt(
            f"table raw_index is damaged: the checksum of its row at {first} does not match; repair the day with "
            "hitmesh reprocess plan --kind repair",
            position=str(first),
        )
    return True


def _found(row: Row, bits: U32Array) -> Iterator[Found]:
    """Yield the records that have an entry in this row for any of these 32-bit site hashes."""
    entries = np.frombuffer(row.records, _ENTRY)
    mine = entries[entries["site"] == bits[0] if len(bits) == 1 else np.isin(entries["site"], bits)]
    for offset, log_time in set(zip(mine["offset"].tolist(), mine["log_time"].tolist(), strict=True)):
        yield Found(log_time, Position(row.log, row.partition, row.first_offset + offset))


def _is_before(position: Position, before: Mapping[PartitionId, int]) -> bool:
    return position.offset < before.get(PartitionId(position.log, position.partition), 0)


@lru_cache(maxsize=65_536)
def _hashed(site: str) -> tuple[int, int]:
    """Return the site's bucket, and the 32 bits that identify the site in the bucket."""
    bits = hash64(site)
    return bits % _BUCKETS, bits >> 32
