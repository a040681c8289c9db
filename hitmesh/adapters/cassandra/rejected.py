"""Refused hits on Cassandra, counted by cell of collect time (step 6 of the journey, rule D5).

A Cassandra partition holds one (site, cell), so even a sender of many invalid hits fills only small partitions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from hitmesh.adapters.cassandra.session import CassandraSession, Row
from hitmesh.adapters.cassandra.written import Written
from hitmesh.adapters.stores import KEEP_REFUSED_DAYS
from hitmesh.model.limits import CELL_MS
from hitmesh.model.positions import Position
from hitmesh.model.records import RejectedHit
from hitmesh.model.zones import DAY_MS

_ZERO: Final = 0
_CELLS_PER_PAGE: Final = 64
_DAY_S: Final = 86_400
_INSERT: Final = """INSERT INTO rejected_hits (site, cell, collect_time, log, partition, offset, row_no, reason, field,
    message, hit_id, hits) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
# Only the bytes expire, because the row must still be counted.
_KEEP_BYTES: Final = """UPDATE rejected_hits USING TTL ? SET original = ? WHERE site = ? AND cell = ?
    AND collect_time = ? AND log = ? AND partition = ? AND offset = ? AND row_no = ?"""
_ERASE: Final = """UPDATE rejected_hits SET original = null, message = '', hit_id = '' WHERE site = ? AND cell = ?
    AND collect_time = ? AND log = ? AND partition = ? AND offset = ? AND row_no = ?"""
_SELECT_CELL: Final = """SELECT site, collect_time, log, partition, offset, row_no, reason, field, message, hit_id,
    hits, original FROM rejected_hits WHERE site = ? AND cell = ?"""
_SELECT: Final = """SELECT site, collect_time, log, partition, offset, row_no, reason, field, message, hit_id, hits,
    original FROM rejected_hits WHERE site = ? AND cell = ? LIMIT ?"""


class CassandraRejectedStore:
    """A RejectedStore: refused hits by site and cell, and the cells that have refused hits.

    Attributes:
        keep_bytes_days: how many days a refused hit's bytes are kept after the write.
    """

    def __init__(self, session: CassandraSession, *, keep_bytes_days: int = KEEP_REFUSED_DAYS) -> None:
        self.keep_bytes_days = keep_bytes_days
        self._session = session
        self._cells_written: Written[tuple[str, int, int]] = Written()

    def put(self, hits: Sequence[RejectedHit]) -> None:
        """Store refusals durably, then their cells."""
        self._session.run_many(_INSERT, map(_row, hits))
        with_bytes = ((self.keep_bytes_days * _DAY_S, hit.original, *_key(hit)) for hit in hits if hit.original)
        self._session.run_many(_KEEP_BYTES, with_bytes)
        cells = self._cells_written.missing((hit.site, _ZERO, _cell(hit)) for hit in hits)
        self._session.run_many("INSERT INTO rejected_cells (site, zero, cell) VALUES (?, ?, ?)", cells)
        self._cells_written.note(cells)

    def counts(self, site: str, day: int) -> Mapping[int, int]:
        """Return the number of refused hits per cell (start in UTC ms) on a UTC day of collect time (rule D5)."""
        known = self._session.run(
            "SELECT cell FROM rejected_cells WHERE site = ? AND zero = ? AND cell >= ? AND cell < ?",
            (site, _ZERO, day * DAY_MS, (day + 1) * DAY_MS),
        )
        cells = sorted(row.cell for row in known)
        sums = self._session.run_each(
            "SELECT sum(hits) AS hits FROM rejected_hits WHERE site = ? AND cell = ?", [(site, cell) for cell in cells]
        )
        return {cell: rows[0].hits for cell, rows in zip(cells, sums, strict=True) if rows[0].hits}

    def recent(self, site: str, limit: int) -> Sequence[RejectedHit]:
        """Return the site's newest refusals, newest first: by collect time, then by position."""
        newest: list[RejectedHit] = []
        cells = self._session.stream(
            "SELECT cell FROM rejected_cells WHERE site = ? AND zero = ?", (site, _ZERO), page_rows=_CELLS_PER_PAGE
        )
        for row in cells:
            if len(newest) >= limit:
                break
            newest += map(_rejected, self._session.run(_SELECT, (site, row.cell, limit - len(newest))))
        return newest

    def drop_bytes(self, older_than_ms: int) -> int:
        """Do nothing: Cassandra expires the bytes by their time to live."""
        return 0

    def erase_texts(self, site: str, wanted: Callable[[RejectedHit], bool]) -> int:
        """Empty the texts of the site's wanted refusals durably, cell by cell; return how many."""
        erased = 0
        cells = self._session.stream(
            "SELECT cell FROM rejected_cells WHERE site = ? AND zero = ?", (site, _ZERO), page_rows=_CELLS_PER_PAGE
        )
        for row in cells:
            refusals = map(_rejected, self._session.stream(_SELECT_CELL, (site, row.cell)))
            found = [hit for hit in refusals if (hit.original or hit.message or hit.hit_id) and wanted(hit)]
            self._session.run_many(_ERASE, map(_key, found))
            erased += len(found)
        return erased


def _cell(hit: RejectedHit) -> int:
    return hit.collect_time // CELL_MS * CELL_MS


def _key(hit: RejectedHit) -> tuple[object, ...]:
    return (hit.site, _cell(hit), hit.collect_time, *hit.position, hit.row)


def _row(hit: RejectedHit) -> tuple[object, ...]:
    return (
        *_key(hit),
        hit.reason,
        hit.field,
        hit.message,
        hit.hit_id,
        hit.hits,
    )


def _rejected(row: Row) -> RejectedHit:
    return RejectedHit(
        position=Position(row.log, row.partition, row.offset),
        row=row.row_no,
        site=row.site,
        collect_time=row.collect_time,
        reason=row.reason,
        field=row.field,
        message=row.message,
        hit_id=row.hit_id,
        hits=row.hits,
        original=row.original or b"",
    )
