"""Dirty site-days and order claims in memory."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace

from hitmesh.adapters.shared.marks import gathered, ranges_of, taken_of, whole_sites
from hitmesh.model.claims import ClaimKind, OrderClaim, WholeRefund
from hitmesh.model.generations import DirtyMark, DirtySiteDay
from hitmesh.model.positions import Position
from hitmesh.model.sites import SiteDay


class MemoryDirtyDays:
    """A DirtyDays in memory."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._marks: dict[tuple[SiteDay, Position], DirtyMark] = {}
        self._awaited: set[SiteDay] = set()

    def mark(self, marks: Sequence[DirtyMark]) -> None:
        """Add marks; idempotent."""
        with self._lock:
            for mark in marks:
                self._marks.setdefault((mark.site_day, mark.position), mark)

    def await_close(self, site_days: Sequence[SiteDay]) -> None:
        """Note days to take once they have closed; idempotent."""
        with self._lock:
            self._awaited.update(site_days)

    def take(self, limit: int, closed_before: int) -> Sequence[DirtySiteDay]:
        """Return at most `limit` site-days by (site, day); whole sites unless the first alone exceeds `limit`."""
        with self._lock:
            marks, awaited = list(self._marks.values()), set(self._awaited)
        waiting = sorted(
            site_day for site_day in awaited | {mark.site_day for mark in marks} if site_day.day < closed_before
        )
        return taken_of(whole_sites(waiting, limit), gathered(ranges_of(marks)))

    def clear(self, taken: DirtySiteDay) -> None:
        """Remove exactly the marks in `taken`; stop awaiting the site-day."""
        with self._lock:
            self._marks = {key: mark for key, mark in self._marks.items() if not _covers(taken, mark)}
            self._awaited.discard(taken.site_day)

    def pending(self, site: str) -> Sequence[DirtySiteDay]:
        """Return a site's marked days."""
        return gathered(ranges_of(self.marks(site)))

    def awaited(self, site: str) -> Sequence[int]:
        """Return a site's days that wait to close, ascending."""
        with self._lock:
            return sorted(site_day.day for site_day in self._awaited if site_day.site == site)

    def marks(self, site: str) -> Sequence[DirtyMark]:
        """Return a site's marks, ordered by (day, position)."""
        with self._lock:
            marks = [mark for mark in self._marks.values() if mark.site_day.site == site]
        return sorted(marks, key=lambda mark: (mark.site_day, mark.position))


def _covers(taken: DirtySiteDay, mark: DirtyMark) -> bool:
    log, partition, offset = mark.position
    return mark.site_day == taken.site_day and any(
        marks.partition == (log, partition) and marks.first_offset <= offset <= marks.last_offset
        for marks in taken.marks
    )


class MemoryOrderClaims:
    """An OrderClaims in memory."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._claims: dict[tuple[Position, int], OrderClaim] = {}
        self._holders: dict[tuple[str, ClaimKind, str, bool], tuple[Position, int]] = {}
        self._refunds: set[WholeRefund] = set()

    def claim(self, claims: Sequence[OrderClaim]) -> None:
        """Store claims; existing claims stay unchanged."""
        with self._lock:
            for claim in claims:
                self._claims.setdefault((claim.position, claim.row), claim)

    def of(self, site: str, order_ids: Sequence[str], kind: ClaimKind = ClaimKind.ORDER) -> Sequence[OrderClaim]:
        """Return all claims of this kind on these ids in log order (log time, log, partition, offset, row)."""
        wanted = {(site, kind, order_id) for order_id in order_ids}
        with self._lock:
            found = [claim for claim in self._claims.values() if (claim.site, claim.kind, claim.order_id) in wanted]
        return sorted(found, key=lambda claim: (claim.log_time, claim.position, claim.row))

    def first(self, claims: Sequence[OrderClaim]) -> Sequence[bool]:
        """Return which claims hold their order or refund in the stream; an unheld id goes to its first claim."""
        with self._lock:
            holders = [
                self._holders.setdefault(
                    (claim.site, claim.kind, claim.order_id, claim.excluded), (claim.position, claim.row)
                )
                for claim in claims
            ]
        return [holder == (claim.position, claim.row) for holder, claim in zip(holders, claims, strict=True)]

    def note_refunds(self, refunds: Sequence[WholeRefund]) -> None:
        """Note refunds of whole orders; idempotent."""
        with self._lock:
            self._refunds.update(refunds)

    def refund_days(self, site: str, order_ids: Sequence[str]) -> Mapping[str, Sequence[int]]:
        """Return the days of noted refunds per refunded order, ascending."""
        wanted = set(order_ids)
        days: dict[str, list[int]] = {}
        with self._lock:
            for refund in sorted(self._refunds):
                if refund.site == site and refund.order_id in wanted:
                    days.setdefault(refund.order_id, []).append(refund.day)
        return days

    def set_duplicates(self, site: str, verdicts: Mapping[tuple[Position, int], bool]) -> None:
        """Record which claims come from duplicate hits."""
        with self._lock:
            for key, duplicate in verdicts.items():
                claim = self._claims.get(key)
                if claim is not None and claim.site == site:
                    self._claims[key] = replace(claim, duplicate=duplicate)
