"""Store raw records on one machine, in raw.db (step 6 of the journey).

Records are found through an index by site and day. This module never decodes a record's value.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from hitmesh.adapters.embedded.sqlite import Database, Transaction
from hitmesh.model.errors import StoreCorrupt
from hitmesh.model.positions import PartitionId, Position
from hitmesh.model.records import RawRecord
from hitmesh.model.sites import SiteDay
from hitmesh.model.stored import COPY_CURE, decoding

_SCAN_CHUNK_RECORDS: Final = 32
_NO_RECORD: Final = -1
_CURE: Final = f"hitmesh reprocess plan --kind repair restores the record while the log has it; otherwise {COPY_CURE}"
_RECORD_COLUMNS: Final = """log_id, partition_no, record_offset, log_time, row_count, min_event_time,
    max_event_time, schema_version, site_days, value"""

_FIND: Final = """SELECT DISTINCT record, log_id, partition_no, record_offset, log_time
    FROM raw_index JOIN raw_records USING (record)
    WHERE site = ? AND day >= ? AND day < ?
    ORDER BY log_time, log_id, partition_no, record_offset"""
_FIND_AFTER: Final = """SELECT DISTINCT record, log_id, partition_no, record_offset, log_time
    FROM raw_index JOIN raw_records USING (record)
    WHERE site = ? AND day >= ? AND day < ? AND (log_id, partition_no, record_offset) > (?, ?, ?)
    ORDER BY log_id, partition_no, record_offset"""
_BEFORE_ALL: Final = Position("", -1, -1)
_FIND_OF_SITES: Final = """SELECT record, log_id, partition_no, record_offset, log_time
    FROM (
        SELECT DISTINCT record FROM json_each(?) AS asked CROSS JOIN raw_index
        WHERE site = asked.value AND day >= ? AND day < ?
    ) JOIN raw_records USING (record)
    ORDER BY log_time, log_id, partition_no, record_offset"""
_REPLACED: Final = ("log_time", "row_count", "min_event_time", "max_event_time", "schema_version", "site_days", "value")
_REPLACE: Final = f"""(log_id, partition_no, record_offset) DO UPDATE SET
    {", ".join(f"{name} = excluded.{name}" for name in _REPLACED)}"""


class EmbeddedRawStore:
    """Implements the port RawStore in raw.db, with a table of records and an index of records by site and day."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, records: Sequence[RawRecord]) -> None:
        """Store records durably in a single transaction; a record that is already stored stays unchanged."""
        with self._database.writing() as transaction:
            for record in records:
                _insert(transaction, record)

    def replace(self, record: RawRecord, seen: bytes | None = None) -> bool:
        """Replace a stored record's value and event times durably, and overwrite the replaced bytes."""
        with self._database.erasing() as transaction:
            changed = transaction.run(
                """UPDATE raw_records SET value = ?1, min_event_time = ?2, max_event_time = ?3
                WHERE log_id = ?4 AND partition_no = ?5 AND record_offset = ?6 AND value = coalesce(?7, value)""",
                (record.value, record.min_event_time, record.max_event_time, *record.position, seen),
            )
        return changed > 0

    def scan(
        self, site: str, first_day: int, end_day: int, before: Mapping[PartitionId, int] | None = None
    ) -> Iterator[RawRecord]:
        """Yield, in log order, the records with hits of the site on days in [first_day, end_day).

        Records that are stored after the caller requested the first record are not returned. Values are read in small
        chunks.
        """
        return self._scan(_FIND, (site, first_day, end_day), before)

    def scan_sites(
        self,
        sites: Collection[str],
        first_day: int,
        end_day: int,
        before: Mapping[PartitionId, int] | None = None,
    ) -> Iterator[RawRecord]:
        """Yield, in log order, the records with hits of any of the sites on days in [first_day, end_day)."""
        return self._scan(_FIND_OF_SITES, (json.dumps(sorted(set(sites))), first_day, end_day), before)

    def _scan(
        self, find: str, values: Sequence[str | int], before: Mapping[PartitionId, int] | None
    ) -> Iterator[RawRecord]:
        def number_if_wanted(number: int, log: str, partition: int, offset: int, _: int) -> int:
            return number if _is_before(before, log, partition, offset) else _NO_RECORD

        with self._database.reading() as transaction:
            found = transaction.rows(number_if_wanted, find, values)
        numbers = array("q", (number for number in found if number != _NO_RECORD))
        del found  # free the list before the scan, because a day with small records may have millions of records
        for start in range(0, len(numbers), _SCAN_CHUNK_RECORDS):
            with self._database.reading() as transaction:
                chunk = [_read(transaction, number) for number in numbers[start : start + _SCAN_CHUNK_RECORDS]]
            yield from chunk

    def salvage(
        self,
        site: str,
        first_day: int,
        end_day: int,
        before: Mapping[PartitionId, int] | None = None,
        after: Position | None = None,
    ) -> Iterator[tuple[Position, RawRecord | None]]:
        """Yield position and record for each record that `scan` finds, in order of position.

        For a damaged record, yield None in place of the record.
        """
        with self._database.reading() as transaction:
            found = transaction.rows(_Found, _FIND_AFTER, (site, first_day, end_day, *(after or _BEFORE_ALL)))
        for index_row in found:
            if not _is_before(before, index_row.log, index_row.partition, index_row.offset):
                continue
            try:
                with self._database.reading() as transaction:
                    record = _read(transaction, index_row.record)
            except StoreCorrupt:
                record = None
            yield Position(index_row.log, index_row.partition, index_row.offset), record

    def restore(self, records: Sequence[RawRecord]) -> None:
        """Store records durably in a single transaction, and replace any existing records at the same positions."""
        with self._database.writing() as transaction:
            for record in records:
                _insert(transaction, record, _REPLACE)

    def mend_index(self, site_day: SiteDay) -> None:
        """Restore a site-day's index entries. The call scans the whole table for records with hits on the site-day."""
        with self._database.writing() as transaction:
            transaction.run(
                """INSERT OR IGNORE INTO raw_index SELECT ?1, ?2, record FROM raw_records
                WHERE EXISTS (
                    SELECT 1 FROM json_each(CASE WHEN json_valid(site_days) THEN site_days ELSE '{}' END) AS of_site,
                    json_each(of_site.value) AS of_day WHERE of_site.key = ?1 AND of_day.value = ?2
                )""",
                site_day,
            )

    def get(self, position: Position) -> RawRecord | None:
        """Return the record at a position; None if there is no such record."""
        with self._database.reading() as transaction:
            return transaction.first(
                _record,
                f"""SELECT {_RECORD_COLUMNS} FROM raw_records
                WHERE log_id = ? AND partition_no = ? AND record_offset = ?""",
                position,
            )

    def days(self, site: str) -> Sequence[int]:
        """Return the UTC days on which the site has hits, ascending. The call costs an index look-up for each day."""
        with self._database.reading() as transaction:
            return transaction.rows(
                int,
                """WITH RECURSIVE found (day) AS (
                    SELECT min(day) FROM raw_index WHERE site = ?1
                    UNION ALL
                    SELECT (SELECT min(day) FROM raw_index WHERE site = ?1 AND day > found.day)
                    FROM found WHERE found.day IS NOT NULL
                ) SELECT day FROM found WHERE day IS NOT NULL""",
                (site,),
            )


class _Found(NamedTuple):
    record: int
    log: str
    partition: int
    offset: int
    log_time: int


def _is_before(before: Mapping[PartitionId, int] | None, log: str, partition: int, offset: int) -> bool:
    return before is None or offset < before.get(PartitionId(log, partition), 0)


def _packed(site_days: Iterable[SiteDay]) -> str:
    """Return the days by site as JSON, in half the space of a list of (site, day) pairs."""
    by_site: dict[str, list[int]] = {}
    for site, day in sorted(site_days):
        by_site.setdefault(site, []).append(day)
    return json.dumps(by_site, separators=(",", ":"))


def _unpacked(site_days: str) -> frozenset[SiteDay]:
    with decoding("the site-days of a raw record", _CURE):
        by_site: dict[str, list[int]] = json.loads(site_days)
    return frozenset(SiteDay(site, day) for site, days in by_site.items() for day in days)


def _insert(transaction: Transaction, record: RawRecord, on_conflict: str = "DO NOTHING") -> None:
    """Insert a record with its index entries; by default, a record that is already stored stays unchanged."""
    number = transaction.first(
        int,
        f"""INSERT INTO raw_records ({_RECORD_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
        ON CONFLICT {on_conflict} RETURNING record""",
        (
            *record.position,
            record.log_time,
            record.rows,
            record.min_event_time,
            record.max_event_time,
            record.schema_version,
            _packed(record.site_days),
            record.value,
        ),
    )
    if number is not None:
        # Equal index entries may exist already. If a record is lost, its index entries keep the lost record's number.
        # If no other record has a higher number, SQLite assigns the lost record's number again.
        transaction.run_many(
            "INSERT OR IGNORE INTO raw_index VALUES (?, ?, ?)",
            [(site, day, number) for site, day in sorted(record.site_days)],
        )


def _read(transaction: Transaction, number: int) -> RawRecord:
    (record,) = transaction.rows(_record, f"SELECT {_RECORD_COLUMNS} FROM raw_records WHERE record = ?", (number,))
    return record


def _record(
    log: str,
    partition: int,
    offset: int,
    log_time: int,
    rows: int,
    min_event_time: int,
    max_event_time: int,
    schema_version: int,
    site_days: str,
    value: bytes,
) -> RawRecord:
    return RawRecord(
        position=Position(log, partition, offset),
        log_time=log_time,
        rows=rows,
        min_event_time=min_event_time,
        max_event_time=max_event_time,
        value=value,
        schema_version=schema_version,
        site_days=_unpacked(site_days),
    )
