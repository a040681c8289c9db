"""Store reprocessings and their recomputed site-days on Cassandra.

A new version of a reprocessing replaces only the directly preceding version. The module
hitmesh.adapters.cassandra.rebuilt_values stores the recomputed site-days.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from hitmesh.adapters.cassandra.rebuilt_values import RebuiltValues
from hitmesh.adapters.cassandra.session import CassandraSession, Values
from hitmesh.adapters.shared.reprocessing_values import (
    rebuilt_of,
    rebuilt_value,
    reprocessing_of,
    reprocessing_value,
    reprocessings_of,
    taken,
)
from hitmesh.model.errors import Unavailable
from hitmesh.model.reprocessings import OnDamage, Rebuilt, Reprocessing
from hitmesh.model.sites import SiteDay

_INSERT: Final = "INSERT INTO reprocessings (zero, id, version, value) VALUES (0, ?, ?, ?) IF NOT EXISTS"
_UPDATE: Final = "UPDATE reprocessings SET version = ?, value = ? WHERE zero = 0 AND id = ? IF version = ?"


class CassandraReprocessings:
    """Implements the port Reprocessings. Thread-safe."""

    def __init__(self, session: CassandraSession) -> None:
        self._session = session
        self._values = RebuiltValues(session)

    def create(self, reprocessing: Reprocessing) -> None:
        """Store a new reprocessing durably.

        Raises:
            AlreadyExists: a reprocessing with this id exists.
            Unavailable: the outcome is unknown; `get` tells whether the reprocessing was stored.
        """
        values = (reprocessing.id, reprocessing.version, reprocessing_value(reprocessing))
        if not self._applied(_INSERT, values, reprocessing):
            raise taken(reprocessing.id)

    def get(self, id_: str) -> Reprocessing | None:
        """Return the reprocessing with this id; None if there is no such reprocessing.

        Raises:
            StoreCorrupt: the stored value does not decode.
        """
        return self._get(id_, serial=False)

    def all(self, on_damage: OnDamage | None = None) -> Sequence[Reprocessing]:
        """Return all reprocessings, newest first. For a damaged value, call `on_damage` and leave out the value.

        Raises:
            StoreCorrupt: a stored value does not decode, and `on_damage` is None.
        """
        rows = self._session.run("SELECT id, value FROM reprocessings WHERE zero = 0")
        return reprocessings_of(((row.id, row.value) for row in rows), on_damage)

    def replace(self, reprocessing: Reprocessing) -> bool:
        """Store a reprocessing if its version directly follows the stored version; return True if it is now stored.

        Raises:
            Unavailable: the outcome is unknown; a repeated call returns the outcome.
        """
        values = (reprocessing.version, reprocessing_value(reprocessing), reprocessing.id, reprocessing.version - 1)
        if self._applied(_UPDATE, values, reprocessing):
            return True
        return self._get(reprocessing.id, serial=True) == reprocessing

    def remove(self, id_: str) -> None:
        """Remove a reprocessing and its recomputed site-days. The site-days are removed first. Idempotent."""
        self._values.remove(id_)
        self._session.apply("DELETE FROM reprocessings WHERE zero = 0 AND id = ? IF EXISTS", (id_,))

    def put(self, id_: str, rebuilt: Sequence[Rebuilt]) -> None:
        """Store recomputed site-days durably; a site-day that is stored already is replaced."""
        self._values.put(id_, {value.site_day: rebuilt_value(value) for value in rebuilt})

    def rebuilt(self, id_: str, after: SiteDay | None = None, limit: int = 1_000) -> Sequence[Rebuilt]:
        """Return at most `limit` recomputed site-days that follow `after`, in the order (site, day).

        Raises:
            StoreCorrupt: a stored value does not decode, or lacks pieces.
        """
        return [rebuilt_of(id_, site_day, value) for site_day, value in self._values.read(id_, after, limit)]

    def _applied(self, cql: str, values: Values, reprocessing: Reprocessing) -> bool:
        """Run a conditional write; if its outcome is unknown, read the stored value to determine the outcome."""
        try:
            return self._session.apply(cql, values)
        except Unavailable:
            if self._get(reprocessing.id, serial=True) == reprocessing:
                return True
            raise

    def _get(self, id_: str, *, serial: bool) -> Reprocessing | None:
        rows = self._session.run("SELECT value FROM reprocessings WHERE zero = 0 AND id = ?", (id_,), serial=serial)
        return reprocessing_of(id_, rows[0].value) if rows else None
