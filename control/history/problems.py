"""The problems that a settled site-day's stored values can have, and the comparison of sums. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from hitmesh.model.counts import Count
from hitmesh.model.expected_hits import ExpectedHits
from hitmesh.model.generations import LedgerEntry
from hitmesh.model.sites import SiteDay

SHOWN_DAMAGE_CHARS: Final = 300


class Part(StrEnum):
    """The stored value that was compared. Each enum value is the last word of a CheckedStore name in the contract."""

    RAW = "raw"
    LEDGER = "ledger"
    SERIES = "series"
    METRICS = "metrics"
    CARRY = "carry"


@dataclass(frozen=True, slots=True)
class Finding:
    """A stored value with a problem: a sum differs, or `damage` states why the value is unreadable or wrong."""

    part: Part
    measure: str = ""
    found: int = 0
    expected: int = 0
    damage: str = ""


@dataclass(frozen=True, slots=True)
class MissingHits:
    """The number of missing raw hits, and the number of missing hits that are still in the log.

    `in_log` is None if the search ended before the end of the log.
    """

    hits: int = 0
    in_log: int | None = 0

    @property
    def lost(self) -> int | None:
        """The number of hits that no repair can restore; None if this number is not known."""
        return None if self.in_log is None else max(0, self.hits - self.in_log)


@dataclass(frozen=True, slots=True)
class Problem:
    """A site-day whose stored values do not add up."""

    site_day: SiteDay
    findings: tuple[Finding, ...]
    missing: MissingHits = field(default_factory=MissingHits)


def damaged(part: Part, message: str) -> Finding:
    """Return the finding for a value that is not readable, or whose checksums are wrong."""
    return Finding(part, damage=message[:SHOWN_DAMAGE_CHARS])


def raw_findings(expected: ExpectedHits, found: Count, unreadable: int, first: str) -> Iterator[Finding]:
    """Yield the differences between a site-day's raw hits and both ledgers.

    Args:
        expected: the hits that the raw store must have according to both ledgers.
        found: the hits in readable raw records.
        unreadable: the number of unreadable raw records.
        first: the position of the first unreadable record.
    """
    if unreadable:
        yield damaged(Part.RAW, f"{unreadable:,} raw records are damaged or lost, the first at {first}")
    if missing := expected.missing(found):
        yield Finding(Part.RAW, "hits", found.hits, found.hits + missing)
    elif not expected.is_complete(found):
        yield damaged(
            Part.RAW, f"the checksums of the {found.hits:,} raw hits differ from the ledger: a hit was replaced"
        )


def ledger_findings(expected: ExpectedHits, ledger: LedgerEntry) -> Iterator[Finding]:
    """Yield the differences within a ledger entry, and between the entry and the stream's ledger."""
    classified = ledger.counted + ledger.duplicate + ledger.excluded + ledger.erased
    if classified != ledger.accepted:
        yield Finding(Part.LEDGER, "counted + duplicate + excluded + erased", classified, ledger.accepted)
    if expected.settled.hits < expected.streamed.hits:
        yield Finding(Part.LEDGER, "accepted", expected.settled.hits, expected.streamed.hits)
    elif expected.settled.hits == expected.streamed.hits and expected.settled != expected.streamed:
        yield damaged(Part.LEDGER, "the checksums differ from the live stream's ledger")


def of_ledger(ledger: LedgerEntry) -> dict[str, int]:
    """Return the sums that the rows of a site-day must have according to its ledger entry.

    Example:
        >>> of_ledger(LedgerEntry(accepted=9, counted=5, duplicate=1, excluded=3, sum64=0, xor64=0))
        {'hits': 8, 'excluded_hits': 3, 'duplicate_hits': 1}
    """
    return {
        "hits": ledger.counted + ledger.excluded,
        "excluded_hits": ledger.excluded,
        "duplicate_hits": ledger.duplicate,
    }


def different(part: Part, found: Mapping[str, int], expected: Mapping[str, int]) -> list[Finding]:
    """Return a finding for each measure whose sum differs, in the order of `expected`."""
    return [
        Finding(part, measure, found[measure], value) for measure, value in expected.items() if found[measure] != value
    ]
