"""Store erasure marks on one machine, in settled.db."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from hitmesh.adapters.embedded.sqlite import Database
from hitmesh.model.erasures import ErasureMark

_COLUMNS: Final = "site, digest, until, created_at, reprocessing"


class EmbeddedErasures:
    """Implements the port Erasures in settled.db."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, marks: Sequence[ErasureMark]) -> None:
        """Store erasure marks durably in a single transaction.

        For each visitor, only the mark with the latest `until` is kept.
        """
        with self._database.writing() as transaction:
            transaction.run_many(
                f"""INSERT INTO erasures ({_COLUMNS}) VALUES (?, ?, ?, ?, ?)
                ON CONFLICT (site, digest) DO UPDATE SET until = excluded.until, created_at = excluded.created_at,
                    reprocessing = excluded.reprocessing WHERE excluded.until > erasures.until""",
                [(mark.site, mark.digest, mark.until, mark.created_at, mark.reprocessing) for mark in marks],
            )

    def of(self, site: str) -> Sequence[ErasureMark]:
        """Return the site's marks, ordered by digest."""
        with self._database.reading() as transaction:
            return transaction.rows(
                ErasureMark, f"SELECT {_COLUMNS} FROM erasures WHERE site = ? ORDER BY digest", (site,)
            )

    def since(self, created_at: int) -> Sequence[ErasureMark]:
        """Return all marks that were created at or after `created_at`, ordered by site and digest."""
        with self._database.reading() as transaction:
            return transaction.rows(
                ErasureMark,
                f"SELECT {_COLUMNS} FROM erasures WHERE created_at >= ? ORDER BY site, digest",
                (created_at,),
            )
