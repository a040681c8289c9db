"""Issues writer numbers. Each number is greater than all earlier numbers, and each owner's newest number is stored.

Adapters use the newest number to fence earlier writers; this module only issues the numbers.
"""

from __future__ import annotations

from typing import Final

from hitmesh.adapters.cassandra.session import CassandraSession
from hitmesh.model.errors import Unavailable

_MAX_TRIES: Final = 50


class Writers:
    """Issues the mesh's writer numbers. Thread-safe."""

    def __init__(self, session: CassandraSession) -> None:
        self._session = session

    def next(self, owner: str) -> int:
        """Return a writer number that was never returned before, and store the number as the owner's newest number.

        Raises:
            Unavailable: Cassandra is unavailable, or every try failed because another caller took the number first.
        """
        for _ in range(_MAX_TRIES):
            rows = self._session.run("SELECT last FROM writer_numbers WHERE zero = 0", serial=True)
            last = rows[0].last if rows else 0
            if self._took(last):
                # The number is also the row's write timestamp, so two concurrent writes leave the greater number.
                self._session.run(
                    "INSERT INTO writers (owner, number) VALUES (?, ?) USING TIMESTAMP ?", (owner, last + 1, last + 1)
                )
                return int(last + 1)
        raise Unavailable("no writer number was free, because other writers took each number first; try again")

    def newest(self, owner: str) -> int:
        """Return the owner's newest writer number; 0 if the owner never had a number."""
        rows = self._session.run("SELECT number FROM writers WHERE owner = ?", (owner,))
        return int(rows[0].number) if rows else 0

    def _took(self, last: int) -> bool:
        if last == 0:
            return self._session.apply("INSERT INTO writer_numbers (zero, last) VALUES (0, ?) IF NOT EXISTS", (1,))
        return self._session.apply("UPDATE writer_numbers SET last = ? WHERE zero = 0 IF last = ?", (last + 1, last))
