"""Reasons why a site-day's numbers differ between two generations: counts of the hits and visits that differ.

Only visits that reports count are compared, so visits of excluded hits are left out. Only hits with an event time in
the UTC day are compared.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass


@dataclass(frozen=True, slots=True)
class ChangeReasons:
    """Counts of visits and hits that differ between the old and the new generation of site-days.

    A side is the old or the new generation. A shared hit belongs to a visit on the old side and to a visit on the new
    side. A shared hit begins a visit if two conditions hold: the hit is the visit's first shared hit, and the visit
    began on the compared UTC day or later. The counts of visits add up exactly, as follows:

        visits(new) − visits(old) = split_visits − merged_visits + added_visits − removed_visits

    Attributes:
        merged_visits: shared hits that begin a visit of the day on the old side, but continue an earlier visit on the
            new side. The earlier visit may have begun on an earlier day.
        split_visits: shared hits that begin a visit of the day on the new side, but continue an earlier visit on the
            old side.
        moved_visits: visits that begin with the same shared hit on both sides, but start in another cell or on another
            day.
        added_visits: visits of the day on the new side that have no shared hit, or whose first shared hit begins a
            visit of another day on the old side.
        removed_visits: visits of the day on the old side that have no shared hit, or whose first shared hit begins a
            visit of another day on the new side.
        newly_excluded_hits: hits that are counted on the old side and excluded on the new side.
        no_longer_excluded_hits: hits that are excluded on the old side and counted on the new side.
        newly_duplicate_hits: hits that are duplicates on the new side only.
        no_longer_duplicate_hits: hits that are duplicates on the old side only.
        joined_hits: hits that only the new side has read, minus hits that only the old side has read.
    """

    merged_visits: int = 0
    split_visits: int = 0
    moved_visits: int = 0
    added_visits: int = 0
    removed_visits: int = 0
    newly_excluded_hits: int = 0
    no_longer_excluded_hits: int = 0
    newly_duplicate_hits: int = 0
    no_longer_duplicate_hits: int = 0
    joined_hits: int = 0

    @property
    def visits(self) -> int:
        """The difference in visits, new minus old.

        Example:
            >>> ChangeReasons(merged_visits=3, split_visits=1).visits
            -2
        """
        return self.split_visits - self.merged_visits + self.added_visits - self.removed_visits

    def plus(self, other: ChangeReasons) -> ChangeReasons:
        """Return each count plus the same count of `other`.

        Example:
            >>> ChangeReasons(joined_hits=2).plus(ChangeReasons(joined_hits=3)).joined_hits
            5
        """
        return ChangeReasons(*(mine + others for mine, others in zip(astuple(self), astuple(other), strict=True)))

    def inverse(self) -> ChangeReasons:
        """Return the reasons with the two sides exchanged.

        Example:
            >>> ChangeReasons(merged_visits=3).inverse().split_visits
            3
        """
        return ChangeReasons(
            merged_visits=self.split_visits,
            split_visits=self.merged_visits,
            moved_visits=self.moved_visits,
            added_visits=self.removed_visits,
            removed_visits=self.added_visits,
            newly_excluded_hits=self.no_longer_excluded_hits,
            no_longer_excluded_hits=self.newly_excluded_hits,
            newly_duplicate_hits=self.no_longer_duplicate_hits,
            no_longer_duplicate_hits=self.newly_duplicate_hits,
            joined_hits=-self.joined_hits,
        )
