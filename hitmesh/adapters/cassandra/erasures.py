"""Store erasure marks on Cassandra, by site and by creation time.

Rows are added but never changed. A writer therefore never overwrites another writer's mark for the same visitor. For
each visitor, a read returns the mark with the latest `until`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from hitmesh.adapters.cassandra.session import CassandraSession, Row
from hitmesh.model.erasures import ErasureMark

_INSERT: Final = "INSERT INTO erasures (site, digest, until, created_at, reprocessing) VALUES (?, ?, ?, ?, ?)"
_INSERT_BY_TIME: Final = """INSERT INTO erasures_by_time (zero, created_at, site, digest, until, reprocessing)
    VALUES (0, ?, ?, ?, ?, ?)"""
_COLUMNS: Final = "site, digest, until, created_at, reprocessing"


class CassandraErasures:
    """Implements the port Erasures. Thread-safe."""

    def __init__(self, session: CassandraSession) -> None:
        self._session = session

    def put(self, marks: Sequence[ErasureMark]) -> None:
        """Store erasure marks durably in the tables `erasures` and `erasures_by_time`."""
        self._session.run_many(
            _INSERT, [(mark.site, mark.digest, mark.until, mark.created_at, mark.reprocessing) for mark in marks]
        )
        self._session.run_many(
            _INSERT_BY_TIME,
            [(mark.created_at, mark.site, mark.digest, mark.until, mark.reprocessing) for mark in marks],
        )

    def of(self, site: str) -> Sequence[ErasureMark]:
        """Return the site's marks, ordered by digest."""
        return _latest(self._session.run(f"SELECT {_COLUMNS} FROM erasures WHERE site = ?", (site,)))

    def since(self, created_at: int) -> Sequence[ErasureMark]:
        """Return all marks that were created at or after `created_at`, ordered by site and digest."""
        return _latest(
            self._session.stream(
                f"SELECT {_COLUMNS} FROM erasures_by_time WHERE zero = 0 AND created_at >= ?", (created_at,)
            )
        )


def _latest(rows: Iterable[Row]) -> list[ErasureMark]:
    """Return, for each visitor, the mark with the latest `until`."""
    found: dict[tuple[str, str], ErasureMark] = {}
    for row in rows:
        there = found.get((row.site, row.digest))
        if there is None or there.until < row.until:
            found[row.site, row.digest] = ErasureMark(row.site, row.digest, row.until, row.created_at, row.reprocessing)
    return [found[key] for key in sorted(found)]
