"""Refused hits on one machine, in raw.db, counted by cell of collect time (rule D5).

This module stores the bytes of a refused hit but never parses the bytes.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from hitmesh.adapters.embedded.sqlite import Database
from hitmesh.model.errors import StoreCorrupt
from hitmesh.model.limits import CELL_MS
from hitmesh.model.positions import Position
from hitmesh.model.records import RejectedHit
from hitmesh.model.zones import DAY_MS

_REJECTED_COLUMNS: Final = """log_id, partition_no, record_offset, row_no, site, collect_time, reason, field, message,
    hit_id, hits, original, packing"""
_AS_SENT: Final = 0
_ZLIB: Final = 1
_PAGE: Final = 500


class EmbeddedRejectedStore:
    """A RejectedStore in raw.db: a row per refusal, with bytes compressed where this saves space."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, hits: Sequence[RejectedHit]) -> None:
        """Store refusals durably in a single transaction; existing refusals stay unchanged."""
        with self._database.writing() as transaction:
            transaction.run_many(
                f"INSERT OR IGNORE INTO rejected ({_REJECTED_COLUMNS}) VALUES ({', '.join('?' * 13)})",
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
                    )
                    for hit in hits
                ],
            )

    def counts(self, site: str, day: int) -> Mapping[int, int]:
        """Return the number of refused hits per cell (start in UTC ms) on a UTC day of collect time (rule D5)."""
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
        """Return a site's newest refusals, newest first, by collect time, then by position."""
        with self._database.reading() as transaction:
            return transaction.rows(
                _rejected,
                f"""SELECT {_REJECTED_COLUMNS} FROM rejected WHERE site = ?
                ORDER BY collect_time DESC, log_id DESC, partition_no DESC, record_offset DESC, row_no DESC
                LIMIT ?""",
                (site, limit),
            )

    def drop_bytes(self, older_than_ms: int) -> int:
        """Empty `original` of refusals collected before `older_than_ms`; return the number of changed refusals."""
        with self._database.writing() as transaction:
            return transaction.run(
                "UPDATE rejected SET original = x'', packing = 0 WHERE collect_time < ? AND original != x''",
                (older_than_ms,),
            )

    def erase_texts(self, site: str, wanted: Callable[[RejectedHit], bool]) -> int:
        """Empty the texts of the site's wanted refusals durably, page by page; return how many."""
        erased, last = 0, 0
        while True:
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
                        "UPDATE rejected SET original = x'', packing = 0, message = '', hit_id = '' WHERE rowid = ?",
                        found,
                    )
            erased += len(found)
            if len(page) < _PAGE:
                return erased
            last = page[-1][0]


class _Count(NamedTuple):
    cell: int
    hits: int


def _packed(original: bytes) -> tuple[bytes, int]:
    """Return bytes in their stored encoding, and the encoding's number."""
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
) -> RejectedHit:
    position = Position(log, partition, offset)
    return RejectedHit(
        position, row, site, collect_time, reason, field, message, hit_id, hits, _unpacked(original, packing)
    )
