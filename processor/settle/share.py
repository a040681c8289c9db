"""The share of the sites on which a settler works."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from hitmesh.model.site_buckets import EVERY_BUCKET


class Share(Protocol):
    """The buckets of sites that are a settler's to work on (hitmesh.model.site_buckets)."""

    def begin(self) -> frozenset[int]:
        """Begin a pass or a portion, which ends with the next call; return the buckets to work on."""

    def holds(self, site: str) -> bool:
        """Return whether the site is still the settler's, so that results may be published."""

    def note(self, work: str, loads: Mapping[int, int]) -> None:
        """Note how many site-days wait, by bucket, for a kind of work; replaces the last note on this kind of work."""


class WholeShare:
    """The share of a settler that works alone: every site."""

    def begin(self) -> frozenset[int]:
        """Return every bucket."""
        return EVERY_BUCKET

    def holds(self, site: str) -> bool:
        """Return True."""
        return True

    def note(self, work: str, loads: Mapping[int, int]) -> None:
        """Ignore the note: there is no other settler."""
