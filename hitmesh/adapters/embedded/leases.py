"""Store leases on one machine, in leases.db.

The leases are in a separate file, so that a renewal never waits for a settlement's write transaction. The row of a
released or expired lease is not deleted, because the next token must be greater than the row's token.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from hitmesh.adapters.embedded.schema import Migration
from hitmesh.adapters.embedded.sqlite import Database
from hitmesh.model.leases import Lease
from hitmesh.ports import Clock

LEASES_SCHEMA: Final[tuple[Migration, ...]] = (
    (
        """CREATE TABLE leases (
            name TEXT PRIMARY KEY,
            owner TEXT NOT NULL,
            token INTEGER NOT NULL,
            load INTEGER NOT NULL,
            expires_at INTEGER NOT NULL
        ) WITHOUT ROWID""",
    ),
    (
        # The reports of collectors (hitmesh.adapters.embedded.collector_reports).
        """CREATE TABLE collector_reports (
            collector TEXT PRIMARY KEY,
            expires_at INTEGER NOT NULL,
            value BLOB NOT NULL
        ) WITHOUT ROWID""",
    ),
    (
        # The reports of reporters (hitmesh.adapters.embedded.reporter_reports).
        """CREATE TABLE reporter_reports (
            reporter TEXT PRIMARY KEY,
            expires_at INTEGER NOT NULL,
            value BLOB NOT NULL
        ) WITHOUT ROWID""",
    ),
)
_ACQUIRE: Final = """INSERT INTO leases VALUES (?1, ?2, 1, 0, ?3 + ?4)
    ON CONFLICT DO UPDATE SET owner = ?2, token = token + 1, load = 0, expires_at = ?3 + ?4
    WHERE owner = ?2 OR expires_at <= ?3 RETURNING name, owner, token, load"""
_RENEW: Final = """UPDATE leases SET load = ?, expires_at = ? WHERE name = ? AND token = ? AND expires_at > ?"""
_RELEASE: Final = "UPDATE leases SET expires_at = 0 WHERE name = ? AND token = ?"
_HELD: Final = "SELECT name, owner, token, load FROM leases WHERE name = ? AND expires_at > ?"


class EmbeddedLeases:
    """Implements the port Leases in leases.db.

    Args:
        database: leases.db.
        clock: the machine's clock, which decides for all processes when a lease has expired.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def acquire(self, names: Sequence[str], owner: str, length_ms: int) -> Sequence[Lease]:
        """Acquire leases on names that are free or already held by this owner; return the acquired leases."""
        if not names:
            return []
        with self._database.writing() as transaction:
            now = self._clock.now()
            found = [transaction.first(Lease, _ACQUIRE, (name, owner, now, length_ms)) for name in names]
        return [lease for lease in found if lease is not None]

    def renew(self, leases: Sequence[Lease], length_ms: int) -> Sequence[Lease]:
        """Extend the leases that have not expired; return the extended leases.

        The call also stores each lease's `load`, a number that other owners read.
        """
        if not leases:
            return []
        with self._database.writing() as transaction:
            now = self._clock.now()
            return [
                lease
                for lease in leases
                if transaction.run(_RENEW, (lease.load, now + length_ms, lease.name, lease.token, now))
            ]

    def release(self, leases: Sequence[Lease]) -> None:
        """End leases; idempotent. If a name was acquired again with another token, the newer lease does not end."""
        if leases:
            with self._database.writing() as transaction:
                transaction.run_many(_RELEASE, [(lease.name, lease.token) for lease in leases])

    def held(self, names: Sequence[str]) -> Sequence[Lease]:
        """Return the leases on these names that have not expired, in the order of `names`."""
        with self._database.reading() as transaction:
            now = self._clock.now()
            return [lease for name in names for lease in transaction.rows(Lease, _HELD, (name, now))]
