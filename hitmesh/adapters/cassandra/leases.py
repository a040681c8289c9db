"""Store leases on Cassandra, as rows with a time to live that only conditional writes change.

A lease has expired when its row is gone. Rows expire according to the clocks of Cassandra's nodes, so the clocks of the
processes do not matter. Cassandra counts a time to live in whole seconds, from the start of a second. A row therefore
lives up to two seconds longer than its lease. Writer numbers (hitmesh.adapters.cassandra.writers) serve as tokens,
because an expired row no longer shows its token. The column of the token is `fence`, because TOKEN is a reserved word.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from hitmesh.adapters.cassandra.session import CassandraSession
from hitmesh.adapters.cassandra.writers import Writers
from hitmesh.model.leases import Lease

_TAKE: Final = "UPDATE leases USING TTL ? SET owner = ?, fence = ?, load = ? WHERE name = ? IF fence = null"
_REPLACE: Final = "UPDATE leases USING TTL ? SET owner = ?, fence = ?, load = ? WHERE name = ? IF fence = ?"
_RELEASE: Final = "DELETE FROM leases WHERE name = ? IF fence = ?"
_HELD: Final = "SELECT name, owner, fence, load FROM leases WHERE name = ?"
_TOKENS: Final = "leases"  # this owner's writer numbers serve as the leases' tokens


class CassandraLeases:
    """Implements the port Leases. Thread-safe."""

    def __init__(self, session: CassandraSession, writers: Writers) -> None:
        self._session = session
        self._writers = writers

    def acquire(self, names: Sequence[str], owner: str, length_ms: int) -> Sequence[Lease]:
        """Acquire leases on names that are free or already held by this owner; return the acquired leases.

        Raises:
            Unavailable: the outcome is unknown; a repeated call by the same owner acquires the names again.
        """
        there = {lease.name: lease for lease in self._held(names, serial=True)}
        free = [name for name in names if name not in there]
        mine = [there[name] for name in names if name in there and there[name].owner == owner]
        if not free and not mine:
            return []
        token = self._writers.next(_TOKENS)
        taken = [Lease(name, owner, token) for name in free]
        applied = self._session.apply_each(_TAKE, [_values(lease, length_ms) for lease in taken])
        taken_over = [replace(lease, token=token, load=0) for lease in mine]
        applied += self._session.apply_each(
            _REPLACE, [(*_values(lease, length_ms), old.token) for lease, old in zip(taken_over, mine, strict=True)]
        )
        return [lease for lease, is_applied in zip([*taken, *taken_over], applied, strict=True) if is_applied]

    def renew(self, leases: Sequence[Lease], length_ms: int) -> Sequence[Lease]:
        """Extend the leases that have not expired; return the extended leases.

        The call also stores each lease's `load`, a number that other owners read.

        Raises:
            Unavailable: the outcome is unknown; a repeated call returns the outcome.
        """
        applied = self._session.apply_each(_REPLACE, [(*_values(lease, length_ms), lease.token) for lease in leases])
        return [lease for lease, is_applied in zip(leases, applied, strict=True) if is_applied]

    def release(self, leases: Sequence[Lease]) -> None:
        """End leases; idempotent. If a name was acquired again with another token, the newer lease does not end."""
        self._session.apply_each(_RELEASE, [(lease.name, lease.token) for lease in leases])

    def held(self, names: Sequence[str]) -> Sequence[Lease]:
        """Return the leases on these names that have not expired, in the order of `names`."""
        return self._held(names, serial=False)

    def _held(self, names: Sequence[str], *, serial: bool) -> list[Lease]:
        answers = self._session.run_each(_HELD, [(name,) for name in names], serial=serial)
        rows = [row for answer in answers for row in answer if row.fence is not None]
        return [Lease(row.name, row.owner, row.fence, row.load) for row in rows]


def _values(lease: Lease, length_ms: int) -> tuple[object, ...]:
    return (_ttl_s(length_ms), lease.owner, lease.token, lease.load, lease.name)


def _ttl_s(length_ms: int) -> int:
    """Return the shortest time to live, in seconds, with which a lease does not expire too early."""
    return -(-length_ms // 1_000) + 1
