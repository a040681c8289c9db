"""Store raw records on Cassandra, and find them by site and day (step 6 of the journey).

A record is written before its index entries, so that every indexed record exists. Large records are cut into pieces.
This module never decodes a record's value.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence, Set
from typing import Final

from hitmesh.adapters.cassandra.raw_index import SPAN_BITS, Found, Indexed, RawIndex
from hitmesh.adapters.cassandra.session import CassandraSession, Row
from hitmesh.adapters.cassandra.written import Written
from hitmesh.model.errors import StoreCorrupt
from hitmesh.model.positions import PartitionId, Position
from hitmesh.model.records import RawRecord
from hitmesh.model.sites import SiteDay
from hitmesh.model.stored import decoding
from hitmesh.model.zones import DAY_MS

# Requests in flight are limited by bytes: 64 pieces of 256 KiB are half of a node's limit for all its clients.
_PIECE_BYTES: Final = 256 * 1024
_PIECES_IN_FLIGHT: Final = 64
_RECORDS_AHEAD: Final = 16
_FAST: Final = 1
_CURE: Final = (
    "hitmesh reprocess plan --kind repair restores the record while the log has it; otherwise restore the table "
    "raw_records from a backup"
)
_INSERT: Final = """INSERT INTO raw_records (log, partition, span, offset, piece, pieces, log_time, row_count,
    min_event_time, max_event_time, schema_version, site_days, value) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
_INSERT_PIECE: Final = """INSERT INTO raw_records (log, partition, span, offset, piece, value)
    VALUES (?, ?, ?, ?, ?, ?)"""
_INSERT_DAY: Final = "INSERT INTO raw_site_days (site, day) VALUES (?, ?)"
_SELECT_SPAN: Final = """SELECT offset, piece, log_time, site_days FROM raw_records
    WHERE log = ? AND partition = ? AND span = ?"""
# The new value gets the old value's remaining time to live. All columns of the record therefore expire together.
_TTL: Final = """SELECT TTL(value) AS ttl FROM raw_records
    WHERE log = ? AND partition = ? AND span = ? AND offset = ? AND piece = 0"""
_REPLACE_FIRST: Final = """UPDATE raw_records USING TTL ?
    SET pieces = ?, min_event_time = ?, max_event_time = ?, value = ?
    WHERE log = ? AND partition = ? AND span = ? AND offset = ? AND piece = 0"""
_REPLACE_PIECE: Final = """INSERT INTO raw_records (log, partition, span, offset, piece, value)
    VALUES (?, ?, ?, ?, ?, ?) USING TTL ?"""
_DELETE_PIECE: Final = """DELETE FROM raw_records
    WHERE log = ? AND partition = ? AND span = ? AND offset = ? AND piece = ?"""
_SELECT: Final = """SELECT piece, pieces, log_time, row_count, min_event_time, max_event_time, schema_version,
    site_days, value FROM raw_records WHERE log = ? AND partition = ? AND span = ? AND offset = ?"""


class CassandraRawStore:
    """Implements the port RawStore with a table of records, an index by day and site bucket, and each site's days."""

    def __init__(self, session: CassandraSession) -> None:
        self._session = session
        self._index = RawIndex(session)
        self._days_written: Written[tuple[SiteDay, int]] = Written()

    def put(self, records: Sequence[RawRecord]) -> None:
        """Store records durably, in this order: later pieces of large records, all first pieces, index, days."""
        self._session.run_many(
            _INSERT_PIECE,
            (
                (*_key(record.position), piece, record.value[start : start + _PIECE_BYTES])
                for record in records
                for piece, start in enumerate(range(_PIECE_BYTES, len(record.value), _PIECE_BYTES), 1)
            ),
            max_in_flight=_PIECES_IN_FLIGHT,
        )
        self._session.run_many(_INSERT, map(_row, records), max_in_flight=_PIECES_IN_FLIGHT)
        self._index.add(records)
        self._add_days(records)

    def replace(self, record: RawRecord, seen: bytes | None = None) -> bool:
        """Replace a stored record's value and event times durably. If `seen` is given, it must equal the stored value.

        All pieces are written in a single mutation, so a reader never mixes two values. The call first compares the
        stored value with `seen`, then replaces the value. If another process writes a value between the comparison and
        the replacement, the other process's value is lost.
        """
        position, value = record.position, record.value
        rows = self._session.run(_SELECT, _key(position))
        there = _record(position, rows)
        if there is None or seen not in (None, there.value):
            return False
        ttl_s = next((row.ttl or 0 for row in self._session.run(_TTL, _key(position))), 0)
        pieces = max(1, -(-len(value) // _PIECE_BYTES))
        statements: list[tuple[str, tuple[object, ...]]] = [
            (
                _REPLACE_FIRST,
                (ttl_s, pieces, record.min_event_time, record.max_event_time, value[:_PIECE_BYTES], *_key(position)),
            )
        ]
        for piece in range(1, pieces):
            part = value[piece * _PIECE_BYTES : (piece + 1) * _PIECE_BYTES]
            statements.append((_REPLACE_PIECE, (*_key(position), piece, part, ttl_s)))
        statements += [(_DELETE_PIECE, (*_key(position), row.piece)) for row in rows if row.piece >= pieces]
        self._session.run_batch(statements)
        return True

    def scan(
        self, site: str, first_day: int, end_day: int, before: Mapping[PartitionId, int] | None = None
    ) -> Iterator[RawRecord]:
        """Yield, in log order, the records with hits of the site on days in [first_day, end_day).

        Records that are stored after the caller requested the first record are not returned. The iterator reads up to
        16 records ahead.
        """
        days = [day for day in self.days(site) if first_day <= day < end_day]
        yield from self._records(self._index.find([site], days, before), {SiteDay(site, day) for day in days})

    def scan_sites(
        self,
        sites: Collection[str],
        first_day: int,
        end_day: int,
        before: Mapping[PartitionId, int] | None = None,
    ) -> Iterator[RawRecord]:
        """Yield, in log order, the records with hits of any of the sites on days in [first_day, end_day).

        The index is read once per day and bucket, not once per site.
        """
        days = range(first_day, end_day)
        wanted = {SiteDay(site, day) for site in sites for day in days}
        yield from self._records(self._index.find(sites, days, before), wanted)

    def _records(self, candidates: Sequence[Found], wanted: Set[SiteDay]) -> Iterator[RawRecord]:
        """Read the records that the index found; yield each record that has hits on a wanted site-day."""
        found = [candidate.position for candidate in candidates]
        answers = self._session.each(_SELECT, map(_key, found), max_in_flight=_RECORDS_AHEAD)
        for position, pieces in zip(found, answers, strict=True):
            record = _record(position, pieces)
            if record is None:
                raise StoreCorrupt(
                    f"raw record {position} is in the index but not in raw_records; {_CURE}",
                    position=str(position),
                )
            if not wanted.isdisjoint(record.site_days):
                yield record

    def salvage(
        self,
        site: str,
        first_day: int,
        end_day: int,
        before: Mapping[PartitionId, int] | None = None,
        after: Position | None = None,
    ) -> Iterator[tuple[Position, RawRecord | None]]:
        """Yield position and record for each record that `scan` finds, in order of position.

        For a lost or damaged record, yield None in place of the record. Records whose index entries are in damaged
        index rows are not returned.
        """
        days = [day for day in self.days(site) if first_day <= day < end_day]
        wanted = {SiteDay(site, day) for day in days}
        intact = self._index.find_intact([site], days, before)
        found = sorted(each.position for each in intact if after is None or each.position > after)
        answers = self._session.each(_SELECT, map(_key, found), max_in_flight=_RECORDS_AHEAD)
        for position, pieces in zip(found, answers, strict=True):
            try:
                record = _record(position, pieces)
            except StoreCorrupt:
                record = None
            if record is None or not wanted.isdisjoint(record.site_days):
                yield position, record

    def restore(self, records: Sequence[RawRecord]) -> None:
        """Store records durably, and replace any existing records at the same positions."""
        self.put(records)
        self._session.run_many(_INSERT_DAY, {site_day for record in records for site_day in record.site_days})

    def mend_index(self, site_day: SiteDay) -> None:
        """Restore the site-day's damaged index rows, and the row which states that the site has hits on the day.

        A damaged row is replaced by entries for all records that are still stored in the row's span.
        """
        self._session.run(_INSERT_DAY, site_day)
        for damaged in self._index.damaged(site_day):
            first = Position(damaged.log, damaged.partition, damaged.first_offset)
            self._index.replace(site_day, damaged, self._indexed(first))

    def _indexed(self, first: Position) -> Iterator[Indexed]:
        """Yield offset, log time and site-days of each intact record in the span of offsets that contains `first`."""
        log, partition, span, _ = _key(first)
        for row in self._session.stream(_SELECT_SPAN, (log, partition, span)):
            try:
                site_days = _unpacked(row.site_days or b"")
            except StoreCorrupt:
                continue
            yield Indexed(row.offset, row.log_time, site_days)

    def get(self, position: Position) -> RawRecord | None:
        """Return the record at a position; None if there is no such record."""
        return _record(position, self._session.run(_SELECT, _key(position)))

    def days(self, site: str) -> Sequence[int]:
        """Return the UTC days for which the site has hits, in ascending order."""
        return [row.day for row in self._session.run("SELECT day FROM raw_site_days WHERE site = ?", (site,))]

    def _add_days(self, records: Sequence[RawRecord]) -> None:
        """On each new day of log time, store the sites' days again, so that no day expires before the day's records."""
        missing = self._days_written.missing(
            (site_day, record.log_time // DAY_MS) for record in records for site_day in record.site_days
        )
        self._session.run_many(_INSERT_DAY, {site_day for site_day, _ in missing})
        self._days_written.note(missing)


def _key(position: Position) -> tuple[str, int, int, int]:
    log, partition, offset = position
    return log, partition, offset >> SPAN_BITS, offset


def _row(record: RawRecord) -> tuple[object, ...]:
    return (
        *_key(record.position),
        0,
        max(1, -(-len(record.value) // _PIECE_BYTES)),
        record.log_time,
        record.rows,
        record.min_event_time,
        record.max_event_time,
        record.schema_version,
        _packed(record.site_days),
        record.value[:_PIECE_BYTES],
    )


def _record(position: Position, pieces: Sequence[Row]) -> RawRecord | None:
    """Assemble the record from its pieces.

    Return None if the first piece is missing, because the first piece is written last. The first piece holds the number
    of pieces. If more pieces are stored, the additional pieces belong to an earlier, longer value.
    """
    if not pieces or pieces[0].piece != 0:
        return None
    first = pieces[0]
    pieces = [piece for piece in pieces if piece.piece < first.pieces]
    if len(pieces) != first.pieces:
        raise StoreCorrupt(
            f"raw record {position} has {len(pieces)} of {first.pieces} pieces; {_CURE}",
            position=str(position),
            pieces=len(pieces),
            expected=first.pieces,
        )
    return RawRecord(
        position=position,
        log_time=first.log_time,
        rows=first.row_count,
        min_event_time=first.min_event_time,
        max_event_time=first.max_event_time,
        value=first.value if first.pieces == 1 else b"".join(piece.value for piece in pieces),
        schema_version=first.schema_version,
        site_days=_unpacked(first.site_days),
    )


def _packed(site_days: Iterable[SiteDay]) -> bytes:
    """Return the days by site as compressed JSON; site names are long and similar, so compression saves much space."""
    by_site: dict[str, list[int]] = {}
    for site, day in sorted(site_days):
        by_site.setdefault(site, []).append(day)
    return zlib.compress(json.dumps(by_site, separators=(",", ":")).encode(), _FAST)


def _unpacked(site_days: bytes) -> frozenset[SiteDay]:
    with decoding("the site-days of a raw record", _CURE):
        by_site: dict[str, list[int]] = json.loads(zlib.decompress(site_days))
    return frozenset(SiteDay(site, day) for site, days in by_site.items() for day in days)
