"""Store carries (the visits that are open at the end of a day) on Cassandra, in pieces that fit a table cell."""

from __future__ import annotations

from typing import Final

from hitmesh.adapters.cassandra.session import CassandraSession
from hitmesh.model.sites import SiteDay

_PIECE_BYTES: Final = 512 << 10
_PIECES_IN_FLIGHT: Final = 16
_OF: Final = "site = ? AND day = ? AND attempt = ?"


class Carries:
    """Stores each carry under the attempt number of the settlement or restore that wrote the carry."""

    def __init__(self, session: CassandraSession) -> None:
        self._session = session

    def put(self, site_day: SiteDay, attempt: int, carry: bytes) -> int:
        """Store a carry durably, cut into pieces; return the number of pieces."""
        pieces = [carry[start : start + _PIECE_BYTES] for start in range(0, len(carry), _PIECE_BYTES)]
        self._session.run_many(
            "INSERT INTO carries (site, day, attempt, chunk, value) VALUES (?, ?, ?, ?, ?)",
            ((*site_day, attempt, number, piece) for number, piece in enumerate(pieces)),
            max_in_flight=_PIECES_IN_FLIGHT,
        )
        return len(pieces)

    def get(self, site_day: SiteDay, attempt: int, pieces: int) -> bytes | None:
        """Return a carry, or None if pieces are missing because the site-day has a newer carry."""
        rows = self._session.run(f"SELECT chunk, value FROM carries WHERE {_OF}", (*site_day, attempt))
        return b"".join(row.value for row in rows) if len(rows) == pieces else None

    def remove(self, site_day: SiteDay, attempt: int) -> None:
        """Delete a carry. Idempotent."""
        if attempt:
            self._session.run(f"DELETE FROM carries WHERE {_OF}", (*site_day, attempt))
