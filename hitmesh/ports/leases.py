"""The port to leases, with which processes divide work."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from hitmesh.model.leases import Lease


class Leases(Protocol):
    """Stores leases. At any time, a name has at most one lease that has not expired.

    The clocks of the callers never decide whether a lease has expired; the store decides. A holder measures the length
    of the lease from before the call. A suspended holder does not notice that its lease has expired. A lease therefore
    avoids duplicate work, but does not replace conditional writes.
    """

    def acquire(self, names: Sequence[str], owner: str, length_ms: int) -> Sequence[Lease]:
        """Acquire names that are free or held by an earlier process with the same owner; return the acquired leases.

        A lease does not expire before `length_ms`, which must be at least 1.
        """

    def renew(self, leases: Sequence[Lease], length_ms: int) -> Sequence[Lease]:
        """Extend those leases that have not expired, and store their load; return the extended leases.

        A lease that expired, was released, or was acquired again with a greater token is absent from the result.
        """

    def release(self, leases: Sequence[Lease]) -> None:
        """End leases; idempotent. A lease whose name was acquired again with another token does not end."""

    def held(self, names: Sequence[str]) -> Sequence[Lease]:
        """Return the leases on these names that have not expired, in the order of `names`."""
