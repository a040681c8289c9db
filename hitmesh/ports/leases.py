"""The port to leases. Processes use leases to divide work among themselves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from hitmesh.model.leases import Lease


class Leases(Protocol):
    """Stores leases. At any time, a name has at most one lease that has not expired.

    The clocks of the callers never decide whether a lease has expired; the store decides. A holder must measure the
    lease's length from a time before the call of `acquire` or `renew`. A holder that was suspended does not notice that
    its lease has expired. A lease therefore avoids duplicate work, but results must still be stored by conditional
    writes.
    """

    def acquire(self, names: Sequence[str], owner: str, length_ms: int) -> Sequence[Lease]:
        """Acquire the names that are free or already held by this owner; return the acquired leases.

        A lease does not expire earlier than `length_ms` (at least 1) after the call began.
        """

    def renew(self, leases: Sequence[Lease], length_ms: int) -> Sequence[Lease]:
        """Extend the leases that have not expired; return the extended leases.

        The call also stores each lease's `load`, which other owners read. The result does not contain leases that have
        expired, that were released, or whose name was acquired with a greater token.
        """

    def release(self, leases: Sequence[Lease]) -> None:
        """End leases; idempotent. If a name was acquired again with another token, the newer lease does not end."""

    def held(self, names: Sequence[str]) -> Sequence[Lease]:
        """Return the leases on these names that have not expired, in the order of `names`."""
