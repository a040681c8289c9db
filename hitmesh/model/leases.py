"""Leases. A lease gives its owner the exclusive right to a name until the lease expires."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Lease:
    """The lease that an owner holds on a name.

    Attributes:
        name: the leased name.
        owner: the holder's name; unique among running holders, and the same after a restart.
        token: the fencing token; greater than the token of every earlier lease on the name.
        load: a number that the owner stores and other owners read.
    """

    name: str
    owner: str
    token: int
    load: int = 0
