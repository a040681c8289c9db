"""Publish settled days as settlement publishes them, but without rows."""

from __future__ import annotations

from typing import Final

from hitmesh.model.generations import Drift, LedgerEntry
from hitmesh.model.sites import SiteDay
from hitmesh.ports import Generations

NO_HITS: Final = LedgerEntry(0, 0, 0, 0, 0, 0)


def publish_day(
    generations: Generations, site_day: SiteDay, now: int, ledger: LedgerEntry = NO_HITS, drift: Drift | None = None
) -> None:
    """Publish the first generation of a site-day."""
    generations.publish(
        site_day,
        generations.begin(site_day),
        logic_version=2,
        read_through={},
        seen_sequence=0,
        ledger=ledger,
        carry=b"",
        now=now,
        drift=drift,
    )
