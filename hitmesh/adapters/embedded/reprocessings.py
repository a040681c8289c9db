"""Store reprocessings and their recomputed site-days on one machine, in settled.db.

Both the control service and the processor write the reprocessings. SQLite never runs two write transactions at once.
The transaction that replaces a value also compares the version of the stored value. The stored version therefore cannot
change between the comparison and the commit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from hitmesh.adapters.embedded.sqlite import Database
from hitmesh.adapters.shared.reprocessing_values import (
    rebuilt_of,
    rebuilt_value,
    reprocessing_of,
    reprocessing_value,
    reprocessings_of,
    taken,
)
from hitmesh.model.reprocessings import OnDamage, Rebuilt, Reprocessing
from hitmesh.model.sites import SiteDay

_BEFORE_ALL: Final = SiteDay("", 0)
# Number of rows that a removal deletes per transaction, so that other writers need not wait for the whole removal.
_REMOVED_ROWS: Final = 500
_REMOVE_SOME: Final = """DELETE FROM rebuilt_site_days WHERE rowid IN (
    SELECT rowid FROM rebuilt_site_days WHERE reprocessing = ? LIMIT ?)"""


class EmbeddedReprocessings:
    """Implements the port Reprocessings in settled.db."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, reprocessing: Reprocessing) -> None:
        """Store a new reprocessing durably.

        Raises:
            AlreadyExists: a reprocessing with this id exists.
        """
        with self._database.writing() as transaction:
            if not transaction.run(
                "INSERT OR IGNORE INTO reprocessings VALUES (?, ?, ?)",
                (reprocessing.id, reprocessing.version, reprocessing_value(reprocessing)),
            ):
                raise taken(reprocessing.id)

    def get(self, id_: str) -> Reprocessing | None:
        """Return the reprocessing with this id; None if there is no such reprocessing.

        Raises:
            StoreCorrupt: the stored value does not decode.
        """
        with self._database.reading() as transaction:
            return transaction.first(reprocessing_of, "SELECT id, value FROM reprocessings WHERE id = ?", (id_,))

    def all(self, on_damage: OnDamage | None = None) -> Sequence[Reprocessing]:
        """Return all reprocessings, newest first. For a damaged value, call `on_damage` and leave out the value.

        Raises:
            StoreCorrupt: a stored value does not decode, and `on_damage` is None.
        """
        with self._database.reading() as transaction:
            rows = transaction.rows(lambda id_, value: (id_, value), "SELECT id, value FROM reprocessings")
        return reprocessings_of(rows, on_damage)

    def replace(self, reprocessing: Reprocessing) -> bool:
        """Store a reprocessing if its version directly follows the stored version; return True if it is now stored."""
        with self._database.writing() as transaction:
            if transaction.run(
                "UPDATE reprocessings SET version = ?, value = ? WHERE id = ? AND version = ?",
                (reprocessing.version, reprocessing_value(reprocessing), reprocessing.id, reprocessing.version - 1),
            ):
                return True
        return self.get(reprocessing.id) == reprocessing

    def remove(self, id_: str) -> None:
        """Remove a reprocessing and its recomputed site-days. The site-days are removed first. Idempotent."""
        removed = _REMOVED_ROWS
        while removed == _REMOVED_ROWS:
            with self._database.writing() as transaction:
                removed = transaction.run(_REMOVE_SOME, (id_, _REMOVED_ROWS))
        with self._database.writing() as transaction:
            transaction.run("DELETE FROM reprocessings WHERE id = ?", (id_,))

    def put(self, id_: str, rebuilt: Sequence[Rebuilt]) -> None:
        """Store recomputed site-days in a single durable transaction; a site-day that is stored already is replaced."""
        rows = [(id_, *value.site_day, rebuilt_value(value)) for value in rebuilt]
        with self._database.writing() as transaction:
            transaction.run_many("REPLACE INTO rebuilt_site_days VALUES (?, ?, ?, ?)", rows)

    def rebuilt(self, id_: str, after: SiteDay | None = None, limit: int = 1_000) -> Sequence[Rebuilt]:
        """Return at most `limit` recomputed site-days that follow `after`, in the order (site, day).

        Raises:
            StoreCorrupt: a stored value does not decode.
        """
        with self._database.reading() as transaction:
            return transaction.rows(
                lambda site, day, value: rebuilt_of(id_, SiteDay(site, day), value),
                """SELECT site, day, value FROM rebuilt_site_days WHERE reprocessing = ? AND (site, day) > (?, ?)
                ORDER BY site, day LIMIT ?""",
                (id_, *(after or _BEFORE_ALL), limit),
            )
