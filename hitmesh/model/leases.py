"""Leases. A lease gives its owner the exclusive right to work on a named thing until the lease expires."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Lease:
    """A lease that an owner holds.

    Attributes:
        name: the thing's name.
        owner: the holder's name; unique among running holders, and the same after a restart.
        token: the fencing token; greater than the token of every earlier lease on the thing.
        load: a number that the owner stores and other owners read.
    """

    name: str
    owner: str
    token: int
    load: int = 0
