"""The port that stores reprocessings and their recomputed site-days."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from hitmesh.model.reprocessings import OnDamage, Rebuilt, Reprocessing
from hitmesh.model.sites import SiteDay


class Reprocessings(Protocol):
    """Stores reprocessings. A stored value is replaced only if it has not changed since the caller read it."""

    def create(self, reprocessing: Reprocessing) -> None:
        """Store a new reprocessing durably.

        Raises:
            AlreadyExists: a reprocessing with this id exists.
        """

    def get(self, id_: str) -> Reprocessing | None:
        """Return the reprocessing with this id; None if there is no such reprocessing.

        Raises:
            StoreCorrupt: the stored value does not decode.
        """

    def all(self, on_damage: OnDamage | None = None) -> Sequence[Reprocessing]:
        """Return all reprocessings, newest first (`created_at`, then id, both descending).

        Args:
            on_damage: called with the error for each value that does not decode; this value is not returned.

        Raises:
            StoreCorrupt: a stored value does not decode, and `on_damage` is None.
        """

    def replace(self, reprocessing: Reprocessing) -> bool:
        """Replace the stored value durably, if its version is one below the new value's version.

        Returns whether the given value is now stored, so a repeated call with the same value returns True.
        """

    def remove(self, id_: str) -> None:
        """Remove a reprocessing with its recomputed site-days; idempotent."""

    def put(self, id_: str, rebuilt: Sequence[Rebuilt]) -> None:
        """Store recomputed site-days durably; a site-day that is stored already is replaced."""

    def rebuilt(self, id_: str, after: SiteDay | None = None, limit: int = 1_000) -> Sequence[Rebuilt]:
        """Return at most `limit` recomputed site-days that follow `after`, in the order (site, day).

        Raises:
            StoreCorrupt: a stored value does not decode.
        """
