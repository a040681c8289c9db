"""A settler's share of the sites."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from hitmesh.model.site_buckets import EVERY_BUCKET


class Share(Protocol):
    """The buckets of sites on which a settler may work (hitmesh.model.site_buckets)."""

    def begin(self) -> frozenset[int]:
        """Begin a settlement pass or a reprocessing portion, which ends when `begin` is called next.

        Return the buckets whose site-days the settler may work on.
        """

    def holds(self, site: str) -> bool:
        """Return whether the settler's lease still covers the site, so that the settler may publish results."""

    def note(self, work: str, loads: Mapping[int, int]) -> None:
        """Record, for a kind of work, how many site-days wait in each bucket.

        The given numbers replace all earlier numbers for the same kind of work.
        """


class WholeShare:
    """A settler's share when there are no other settlers: every site."""

    def begin(self) -> frozenset[int]:
        """Return every bucket."""
        return EVERY_BUCKET

    def holds(self, site: str) -> bool:
        """Return True."""
        return True

    def note(self, work: str, loads: Mapping[int, int]) -> None:
        """Do nothing, because there is no other settler."""
