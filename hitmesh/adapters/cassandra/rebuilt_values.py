"""Store recomputed site-days as values on Cassandra, in pieces that fit a table cell.

A value is written under a new version. A row in `rebuilt_site_days` then makes this version visible, so a reader never
joins pieces of two values. The new row's write timestamp exceeds the timestamp of the row that it replaces. A later
write therefore takes effect even if the writers' clocks differ.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Final

from hitmesh.adapters.cassandra.session import PAGE_ROWS, CassandraSession, Row
from hitmesh.adapters.shared.reprocessing_values import incomplete, subject_of
from hitmesh.model.errors import Unavailable
from hitmesh.model.sites import SiteDay

_PIECE_BYTES: Final = 512 << 10
_PIECES_IN_FLIGHT: Final = 16
_MAX_TRIES: Final = 8
_BEFORE_ALL: Final = SiteDay("", 0)
_OF: Final = "reprocessing = ? AND site = ? AND day = ?"
_PIECES: Final = f"SELECT value FROM rebuilt_values WHERE {_OF} AND version = ?"
_VISIBLE: Final = f"SELECT site, day, version, pieces, writetime(version) AS written FROM rebuilt_site_days WHERE {_OF}"


class RebuiltValues:
    """Stores the values of reprocessings, by site-day."""

    def __init__(self, session: CassandraSession) -> None:
        self._session = session

    def put(self, id_: str, values: Mapping[SiteDay, bytes]) -> None:
        """Store values durably, in place of the site-days' earlier values."""
        keys = {site_day: (id_, *site_day) for site_day in values}
        found = dict(zip(keys, self._session.run_each(_VISIBLE, keys.values()), strict=True))
        before = {site_day: rows[0] for site_day, rows in found.items() if rows and rows[0].version is not None}
        # Rows in `rebuilt_site_days` are written before the pieces, so that `remove` finds the pieces even after an
        # interrupted write.
        self._session.run_many(
            "INSERT INTO rebuilt_site_days (reprocessing, site, day) VALUES (?, ?, ?)",
            [key for site_day, key in keys.items() if site_day not in before],
        )
        versions = {site_day: uuid.uuid1() for site_day in values}
        pieces = {site_day: _pieces(value) for site_day, value in values.items()}
        self._session.run_many(
            """INSERT INTO rebuilt_values (reprocessing, site, day, version, piece, value)
            VALUES (?, ?, ?, ?, ?, ?)""",
            (
                (*keys[site_day], versions[site_day], number, piece)
                for site_day, in_order in pieces.items()
                for number, piece in enumerate(in_order)
            ),
            max_in_flight=_PIECES_IN_FLIGHT,
        )
        now_us = time.time_ns() // 1_000
        self._session.run_many(
            """INSERT INTO rebuilt_site_days (reprocessing, site, day, version, pieces) VALUES (?, ?, ?, ?, ?)
            USING TIMESTAMP ?""",
            [
                (*key, versions[site_day], len(pieces[site_day]), _later(now_us, before.get(site_day)))
                for site_day, key in keys.items()
            ],
        )
        self._session.run_many(
            f"DELETE FROM rebuilt_values WHERE {_OF} AND version = ?",
            [(*keys[site_day], row.version) for site_day, row in before.items()],
        )

    def read(self, id_: str, after: SiteDay | None, limit: int) -> Iterator[tuple[SiteDay, bytes]]:
        """Yield at most `limit` site-days that follow `after`, with their values, in the order (site, day).

        Raises:
            StoreCorrupt: a value lacks pieces.
            Unavailable: another process replaced a value during every read.
        """
        rows = self._session.stream(
            """SELECT site, day, version, pieces FROM rebuilt_site_days
            WHERE reprocessing = ? AND (site, day) > (?, ?)""",
            (id_, *(after or _BEFORE_ALL)),
            page_rows=max(1, min(limit, PAGE_ROWS)),
        )
        visible = list(islice((row for row in rows if row.version is not None), limit))
        answers = self._session.each(
            _PIECES,
            [(id_, row.site, row.day, row.version) for row in visible],
            max_in_flight=_PIECES_IN_FLIGHT,
        )
        for row, pieces in zip(visible, answers, strict=True):
            value = _joined(row, pieces)
            if value is None:
                value = self._read_again(id_, row, len(pieces))
            if value is not None:
                yield SiteDay(row.site, row.day), value

    def remove(self, id_: str) -> None:
        """Delete a reprocessing's values, including pieces that interrupted writes left. Idempotent."""
        rows = self._session.run(
            "SELECT site, day, writetime(version) AS written FROM rebuilt_site_days WHERE reprocessing = ?", (id_,)
        )
        # The deletions get a timestamp that is at least the write time of every value, even if the writers' clocks
        # differ.
        until_us = max([time.time_ns() // 1_000, *(row.written for row in rows if row.written is not None)])
        self._session.run_many(
            f"DELETE FROM rebuilt_values USING TIMESTAMP ? WHERE {_OF}",
            [(until_us, id_, row.site, row.day) for row in rows],
        )
        self._session.run("DELETE FROM rebuilt_site_days USING TIMESTAMP ? WHERE reprocessing = ?", (until_us, id_))

    def _read_again(self, id_: str, row: Row, pieces: int) -> bytes | None:
        """Read a value a second time, because pieces were missing. Return None if the value was removed meanwhile."""
        for _ in range(_MAX_TRIES):
            found = self._session.run(_VISIBLE, (id_, row.site, row.day))
            if not found or found[0].version is None:
                return None
            if found[0].version == row.version:
                raise incomplete(id_, SiteDay(row.site, row.day), pieces, row.pieces)
            row = found[0]
            answer = self._session.run(_PIECES, (id_, row.site, row.day, row.version))
            value, pieces = _joined(row, answer), len(answer)
            if value is not None:
                return value
        name = subject_of(id_, SiteDay(row.site, row.day))
        raise Unavailable(f"{name} was replaced during every read; try again", call=name)


def _pieces(value: bytes) -> list[bytes]:
    return [value[start : start + _PIECE_BYTES] for start in range(0, len(value), _PIECE_BYTES)]


def _joined(row: Row, pieces: Sequence[Row]) -> bytes | None:
    """Return the value that the pieces form; None if pieces are missing."""
    return b"".join(piece.value for piece in pieces) if len(pieces) == row.pieces else None


def _later(now_us: int, before: Row | None) -> int:
    """Return a write timestamp that exceeds the replaced row's timestamp."""
    return now_us if before is None else max(now_us, before.written + 1)
