"""Store refused hits on Cassandra, and count them per 15 minutes of collect time (step 6 of the journey, rule D5).

Each pair (site, cell) is a separate Cassandra partition, so a sender of many invalid hits still fills only small
partitions. In the table rejected_cells, the site "*" stands for all sites. To list the refusals of all sites, a request
first reads the cells of the site "*" from rejected_cells. Then the request reads, from the table rejected_sites, which
sites have refusals in each cell.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final

from hitmesh.adapters.cassandra.session import CassandraSession, Row
from hitmesh.adapters.cassandra.written import Written
from hitmesh.adapters.stores import KEEP_REFUSED_DAYS
from hitmesh.model.limits import CELL_MS
from hitmesh.model.positions import Position
from hitmesh.model.records import RejectedHit
from hitmesh.model.refusals import (
    RefusalKey,
    RefusalPage,
    RefusalRange,
    key_of,
    origin_bytes,
    origin_of,
)
from hitmesh.model.zones import DAY_MS

_ZERO: Final = 0
_CELLS_PER_PAGE: Final = 64
_DAY_S: Final = 86_400
_ALL_SITES: Final = "*"  # stands for all sites; no real site has this name

# Maximum number of (site, cell) pairs that a page reads. The first pair of a page is also the last pair of the previous
# page, so the maximum must be at least 2.
MAX_PLACES: Final = 256
_INSERT: Final = """INSERT INTO rejected_hits (site, cell, collect_time, log, partition, offset, row_no, reason, field,
    message, hit_id, hits) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
# Only a refusal's bytes get a time to live, because the refusal must still be counted later.
_KEY: Final = "site = ? AND cell = ? AND collect_time = ? AND log = ? AND partition = ? AND offset = ? AND row_no = ?"
_KEEP_BYTES: Final = f"UPDATE rejected_hits USING TTL ? SET original = ?, origin = ? WHERE {_KEY}"
_ERASE: Final = f"UPDATE rejected_hits SET original = null, origin = null, message = '', hit_id = '' WHERE {_KEY}"
_REPLAYED: Final = f"UPDATE rejected_hits SET replayed_at = ? WHERE {_KEY}"
_COLUMNS: Final = """SELECT site, collect_time, log, partition, offset, row_no, reason, field, message, hit_id, hits,
    original, origin, replayed_at FROM rejected_hits"""
_SELECT_CELL: Final = f"{_COLUMNS} WHERE site = ? AND cell = ?"
_SELECT: Final = f"{_COLUMNS} WHERE site = ? AND cell = ? LIMIT ?"
_SELECT_AFTER: Final = f"""{_COLUMNS} WHERE site = ? AND cell = ?
    AND (collect_time, log, partition, offset, row_no) < (?, ?, ?, ?, ?) LIMIT ?"""
_SELECT_UNTIL: Final = f"{_COLUMNS} WHERE site = ? AND cell = ? AND collect_time < ? LIMIT ?"
_CELLS: Final = "SELECT cell FROM rejected_cells WHERE site = ? AND zero = ? AND cell >= ? AND cell <= ?"


class CassandraRejectedStore:
    """Implements the port RejectedStore.

    A table holds the refused hits by site and cell, and other tables list the cells.

    Attributes:
        keep_bytes_days: number of days for which the bytes of a refused hit are kept.
    """

    def __init__(
        self,
        session: CassandraSession,
        *,
        keep_bytes_days: int = KEEP_REFUSED_DAYS,
        max_places: int = MAX_PLACES,
    ) -> None:
        self.keep_bytes_days = keep_bytes_days
        self._max_places = max_places
        self._session = session
        self._cells_written: Written[tuple[str, int, int]] = Written()
        self._sites_written: Written[tuple[int, str]] = Written()

    def put(self, hits: Sequence[RejectedHit]) -> None:
        """Store refusals durably, then add each refusal's site and cell to the tables that list sites and cells."""
        self._session.run_many(_INSERT, map(_row, hits))
        with_bytes = (
            (self.keep_bytes_days * _DAY_S, hit.original, origin_bytes(hit.origin) or None, *_key(hit))
            for hit in hits
            if hit.original
        )
        self._session.run_many(_KEEP_BYTES, with_bytes)
        sites = self._sites_written.missing((_cell(hit), hit.site) for hit in hits)
        self._session.run_many("INSERT INTO rejected_sites (cell, site) VALUES (?, ?)", sites)
        self._sites_written.note(sites)
        cells = self._cells_written.missing(
            (site, _ZERO, _cell(hit)) for hit in hits for site in (hit.site, _ALL_SITES)
        )
        self._session.run_many("INSERT INTO rejected_cells (site, zero, cell) VALUES (?, ?, ?)", cells)
        self._cells_written.note(cells)

    def counts(self, site: str, day: int) -> Mapping[int, int]:
        """Return the number of refused hits per cell on a UTC day of collect time, keyed by cell start (UTC ms)."""
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
        """Return the site's newest refusals, ordered by collect time and position, newest first."""
        newest: list[RejectedHit] = []
        cells = self._session.stream(
            "SELECT cell FROM rejected_cells WHERE site = ? AND zero = ?", (site, _ZERO), page_rows=_CELLS_PER_PAGE
        )
        for row in cells:
            if len(newest) >= limit:
                break
            newest += _refusals(self._session.run(_SELECT, (site, row.cell, limit - len(newest))))
        return newest

    def page(self, wanted: RefusalRange, after: RefusalKey | None, limit: int) -> RefusalPage:
        """Return at most `limit` refusals that follow the key `after`, in list order.

        A page reads at most `max_places` pairs of site and cell.
        """
        hits: list[RejectedHit] = []
        end_of_place: RefusalKey | None = None
        for number, (cell, site) in enumerate(self._places(wanted, after)):
            if number == self._max_places:
                return RefusalPage(hits, end_of_place)
            hits += self._in_place(cell, site, wanted, after, limit + 1 - len(hits))
            if len(hits) > limit:
                return RefusalPage(hits[:limit], key_of(hits[limit - 1]))
            end_of_place = RefusalKey(site, cell, Position("", 0, 0), 0)
        return RefusalPage(hits, None)

    def _places(self, wanted: RefusalRange, after: RefusalKey | None) -> Iterator[tuple[int, str]]:
        """Yield the cells and sites with refusals in list order, beginning with the cell and site of `after`."""
        first, last = _cell_of(wanted.since), _cell_of(wanted.until - 1)
        last = last if after is None else min(last, after.cell)
        listed = _ALL_SITES if wanted.site is None else wanted.site
        cells = self._session.stream(_CELLS, (listed, _ZERO, first, last), page_rows=_CELLS_PER_PAGE)
        for row in cells:
            if wanted.site is not None:
                yield row.cell, wanted.site
                continue
            min_site = after.site if after is not None and row.cell == after.cell else ""
            sites = self._session.stream(
                "SELECT site FROM rejected_sites WHERE cell = ? AND site >= ?", (row.cell, min_site)
            )
            for found in sites:
                yield row.cell, found.site

    def _in_place(
        self, cell: int, site: str, wanted: RefusalRange, after: RefusalKey | None, limit: int
    ) -> list[RejectedHit]:
        """Return, newest first, a site's refusals that follow the key `after` within a cell."""
        if after is not None and (after.cell, after.site) == (cell, site):
            values: tuple[object, ...] = (site, cell, after.collect_time, *after.position, after.row, limit)
            found = self._session.run(_SELECT_AFTER, values)
        else:
            found = self._session.run(_SELECT_UNTIL, (site, cell, wanted.until, limit))
        return [hit for hit in _refusals(found) if wanted.since <= hit.collect_time < wanted.until]

    def get(self, key: RefusalKey) -> RejectedHit | None:
        """Return the refusal with this key; None if there is no such refusal."""
        found = self._session.run(f"{_COLUMNS} WHERE {_KEY}", _key_values(key))
        return next(iter(_refusals(found)), None)

    def note_replayed(self, key: RefusalKey, at: int) -> bool:
        """Store durably that a replay was accepted; return whether the refusal exists.

        If the refusal expires between the read and the write, the write creates a row without a reason. No read returns
        a row without a reason.
        """
        if self.get(key) is None:
            return False
        self._session.run(_REPLAYED, (at, *_key_values(key)))
        return True

    def drop_bytes(self, older_than_ms: int) -> int:
        """Do nothing and return 0: Cassandra removes the bytes when their time to live ends."""
        return 0

    def erase_texts(self, site: str, wanted: Callable[[RejectedHit], bool]) -> Iterator[int]:
        """Erase the texts of the site's refusals that `wanted` selects.

        Yield, for each cell, the number of changed refusals.
        """
        cells = self._session.stream(
            "SELECT cell FROM rejected_cells WHERE site = ? AND zero = ?", (site, _ZERO), page_rows=_CELLS_PER_PAGE
        )
        for row in cells:
            refusals = _refusals(self._session.stream(_SELECT_CELL, (site, row.cell)))
            found = [hit for hit in refusals if (hit.original or hit.message or hit.hit_id) and wanted(hit)]
            self._session.run_many(_ERASE, map(_key, found))
            yield len(found)


def _cell(hit: RejectedHit) -> int:
    return _cell_of(hit.collect_time)


def _cell_of(time: int) -> int:
    return time // CELL_MS * CELL_MS


def _key_values(key: RefusalKey) -> tuple[object, ...]:
    return (key.site, key.cell, key.collect_time, *key.position, key.row)


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


def _refusals(rows: Iterable[Row]) -> Iterator[RejectedHit]:
    return (_rejected(row) for row in rows if row.reason is not None)


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
        origin=origin_of(row.origin),
        replayed_at=row.replayed_at or 0,
    )
