"""The share of the sites that belongs to a settler."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from hitmesh.model.site_buckets import EVERY_BUCKET


class Share(Protocol):
    """The buckets of sites on which a settler may work (hitmesh.model.site_buckets)."""

    def begin(self) -> frozenset[int]:
        """Begin a pass of settlement or a portion of reprocessing, which ends with the next call of `begin`.

        Return the buckets whose site-days the settler may work on.
        """

    def holds(self, site: str) -> bool:
        """Return whether the settler's lease still covers the site, so that the settler may publish results."""

    def note(self, work: str, loads: Mapping[int, int]) -> None:
        """Record, for a kind of work, the number of waiting site-days in each bucket.

        The given numbers replace all earlier numbers for the same kind of work.
        """


class WholeShare:
    """The share of a settler without other settlers: every site."""

    def begin(self) -> frozenset[int]:
        """Return every bucket."""
        return EVERY_BUCKET

    def holds(self, site: str) -> bool:
        """Return True."""
        return True

    def note(self, work: str, loads: Mapping[int, int]) -> None:
        """Do nothing, because there is no other settler."""
