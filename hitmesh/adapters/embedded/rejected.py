"""Store refused hits on one machine, in raw.db, and count them per 15 minutes of collect time (rule D5).

This module stores the bytes of a refused hit but never parses the bytes.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from hitmesh.adapters.embedded.sqlite import Database, Value
from hitmesh.model.errors import StoreCorrupt
from hitmesh.model.limits import CELL_MS
from hitmesh.model.positions import Position
from hitmesh.model.records import RejectedHit
from hitmesh.model.refusals import RefusalKey, RefusalPage, RefusalRange, key_of, origin_bytes, origin_of
from hitmesh.model.zones import DAY_MS

_REJECTED_COLUMNS: Final = """log_id, partition_no, record_offset, row_no, site, collect_time, reason, field, message,
    hit_id, hits, original, packing, origin, replayed_at"""
_AS_SENT: Final = 0
_ZLIB: Final = 1
# The index `rejected_by_cell` begins with the expression `_CELL` and sorts the rows of a cell and site by `_NEWEST`.
_CELL: Final = f"collect_time / {CELL_MS}"
_NEWEST: Final = "collect_time DESC, log_id DESC, partition_no DESC, record_offset DESC, row_no DESC"
_PLACE: Final = "(collect_time, log_id, partition_no, record_offset, row_no)"
_KEY: Final = "log_id = ? AND partition_no = ? AND record_offset = ? AND row_no = ? AND site = ? AND collect_time = ?"
_PAGE: Final = 500


class EmbeddedRejectedStore:
    """Implements the port RejectedStore in raw.db, with a row per refusal.

    The bytes of a refusal are compressed when this saves space.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, hits: Sequence[RejectedHit]) -> None:
        """Store refusals durably in a single transaction; a refusal that is already stored stays unchanged."""
        with self._database.writing() as transaction:
            transaction.run_many(
                f"INSERT OR IGNORE INTO rejected ({_REJECTED_COLUMNS}) VALUES ({', '.join('?' * 15)})",
                [
                    (
                        *hit.position,
                        hit.row,
                        hit.site,
                        hit.collect_time,
                        hit.reason,
                        hit.field,
                        hit.message,
                        hit.hit_id,
                        hit.hits,
                        *_packed(hit.original),
                        origin_bytes(hit.origin),
                        hit.replayed_at,
                    )
                    for hit in hits
                ],
            )

    def counts(self, site: str, day: int) -> Mapping[int, int]:
        """Return the number of refused hits per cell on a UTC day of collect time, keyed by cell start (UTC ms)."""
        with self._database.reading() as transaction:
            return dict(
                transaction.rows(
                    _Count,
                    """SELECT collect_time / ?1 * ?1 AS cell, sum(hits) FROM rejected
                    WHERE site = ?2 AND collect_time >= ?3 AND collect_time < ?4 GROUP BY cell HAVING sum(hits) > 0""",
                    (CELL_MS, site, day * DAY_MS, (day + 1) * DAY_MS),
                )
            )

    def recent(self, site: str, limit: int) -> Sequence[RejectedHit]:
        """Return a site's newest refusals, ordered by collect time and position, newest first."""
        with self._database.reading() as transaction:
            return transaction.rows(
                _rejected,
                f"SELECT {_REJECTED_COLUMNS} FROM rejected WHERE site = ? ORDER BY {_NEWEST} LIMIT ?",
                (site, limit),
            )

    def page(self, wanted: RefusalRange, after: RefusalKey | None, limit: int) -> RefusalPage:
        """Return at most `limit` refusals that follow the key `after`, in list order."""
        conditions, values = _conditions(wanted, after)
        order = _NEWEST if wanted.site is not None else f"{_CELL} DESC, site, {_NEWEST}"
        with self._database.reading() as transaction:
            found = transaction.rows(
                _rejected,
                f"SELECT {_REJECTED_COLUMNS} FROM rejected WHERE {conditions} ORDER BY {order} LIMIT ?",
                (*values, limit + 1),
            )
        page = found[:limit]
        return RefusalPage(page, key_of(page[-1]) if len(found) > limit else None)

    def get(self, key: RefusalKey) -> RejectedHit | None:
        """Return the refusal with this key; None if there is no such refusal."""
        with self._database.reading() as transaction:
            return transaction.first(
                _rejected, f"SELECT {_REJECTED_COLUMNS} FROM rejected WHERE {_KEY}", _key_values(key)
            )

    def note_replayed(self, key: RefusalKey, at: int) -> bool:
        """Store durably that a replay was accepted; return whether the refusal exists."""
        with self._database.writing() as transaction:
            return bool(transaction.run(f"UPDATE rejected SET replayed_at = ? WHERE {_KEY}", (at, *_key_values(key))))

    def drop_bytes(self, older_than_ms: int) -> int:
        """Empty the bytes of refusals collected before `older_than_ms`; return the number of changed refusals."""
        with self._database.writing() as transaction:
            return transaction.run(
                """UPDATE rejected SET original = x'', packing = 0, origin = x''
                WHERE collect_time < ? AND original != x''""",
                (older_than_ms,),
            )

    def erase_texts(self, site: str, wanted: Callable[[RejectedHit], bool]) -> Iterator[int]:
        """Erase the texts of the site's refusals that `wanted` selects.

        Yield, for each page, the number of changed refusals.
        """
        last, is_last = 0, False
        while not is_last:
            with self._database.reading() as transaction:
                page = transaction.rows(
                    lambda rowid, *columns: (int(rowid), _rejected(*columns)),
                    f"""SELECT rowid, {_REJECTED_COLUMNS} FROM rejected WHERE site = ? AND rowid > ?
                    AND (original != x'' OR message != '' OR hit_id != '') ORDER BY rowid LIMIT ?""",
                    (site, last, _PAGE),
                )
            found = [(rowid,) for rowid, hit in page if wanted(hit)]
            if found:
                with self._database.erasing() as transaction:
                    transaction.run_many(
                        """UPDATE rejected SET original = x'', packing = 0, message = '', hit_id = '', origin = x''
                        WHERE rowid = ?""",
                        found,
                    )
            is_last = len(page) < _PAGE
            last = page[-1][0] if page else last
            yield len(found)


def _conditions(wanted: RefusalRange, after: RefusalKey | None) -> tuple[str, tuple[Value, ...]]:
    """Return the conditions of a WHERE clause, and the values for the parameters in these conditions."""
    values: list[Value]
    if wanted.site is not None:
        conditions, values = "site = ? AND collect_time >= ? AND collect_time < ?", [*wanted]
        if after is not None:
            conditions += f" AND {_PLACE} < (?, ?, ?, ?, ?)"
            values += _place(after)
        return conditions, tuple(values)
    cells = (wanted.since // CELL_MS, -(-wanted.until // CELL_MS))
    conditions = f"{_CELL} >= ? AND {_CELL} < ? AND collect_time >= ? AND collect_time < ?"
    values = [*cells, wanted.since, wanted.until]
    if after is not None:
        cell = after.cell // CELL_MS
        conditions += f" AND {_CELL} <= ? AND ({_CELL} < ? OR site > ? OR (site = ? AND {_PLACE} < (?, ?, ?, ?, ?)))"
        values += [cell, cell, after.site, after.site, *_place(after)]
    return conditions, tuple(values)


def _place(key: RefusalKey) -> tuple[Value, ...]:
    return (key.collect_time, *key.position, key.row)


def _key_values(key: RefusalKey) -> tuple[Value, ...]:
    return (*key.position, key.row, key.site, key.collect_time)


class _Count(NamedTuple):
    cell: int
    hits: int


def _packed(original: bytes) -> tuple[bytes, int]:
    """Return the bytes to store, and the number that identifies the encoding."""
    packed = zlib.compress(original)
    return (packed, _ZLIB) if len(packed) < len(original) else (original, _AS_SENT)


def _unpacked(original: bytes, packing: int) -> bytes:
    if packing == _AS_SENT:
        return original
    try:
        return zlib.decompress(original)
    except zlib.error as error:
        raise StoreCorrupt("bytes of a refused hit in raw.db are damaged: restore the file from a backup") from error


def _rejected(
    log: str,
    partition: int,
    offset: int,
    row: int,
    site: str,
    collect_time: int,
    reason: str,
    field: str,
    message: str,
    hit_id: str,
    hits: int,
    original: bytes,
    packing: int,
    origin: bytes,
    replayed_at: int,
) -> RejectedHit:
    position = Position(log, partition, offset)
    return RejectedHit(
        position,
        row,
        site,
        collect_time,
        reason,
        field,
        message,
        hit_id,
        hits,
        _unpacked(original, packing),
        origin_of(origin),
        replayed_at,
    )
