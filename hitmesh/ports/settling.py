"""The ports of settlement: dirty days, generations with their ledger and carry, order claims, settled rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import polars as pl

from hitmesh.ports.log import PartitionId, Position
from hitmesh.ports.raw import SiteDay

# Marks that settlement itself makes (a changed carry, a changed order winner) come from this log.
SETTLEMENT_LOG = "settlement"


@dataclass(frozen=True, slots=True)
class DirtyMark:
    """Says that a record at `position` changed what is known of a site-day."""

    site_day: SiteDay
    position: Position
    log_time: int


@dataclass(frozen=True, slots=True)
class MarkRange:
    """The marks of one partition on one site-day: [first_offset, last_offset], both marked."""

    partition: PartitionId
    first_offset: int
    last_offset: int
    first_log_time: int


@dataclass(frozen=True, slots=True)
class DirtySiteDay:
    """A site-day that waits to be settled, with the marks as they were when it was taken."""

    site_day: SiteDay
    marks: tuple[MarkRange, ...]


class DirtyDays(Protocol):
    """Site-days that wait to be settled."""

    def mark(self, marks: Sequence[DirtyMark]) -> None:
        """Adds marks durably. Marking twice is marking once. Called only after the raw record is stored."""

    def take(self, limit: int) -> Sequence[DirtySiteDay]:
        """Returns dirty site-days by (site, day), whole sites first; they stay dirty until cleared."""

    def clear(self, taken: DirtySiteDay) -> None:
        """Removes the marks in `taken`, and only those: marks that came later stay."""

    def pending(self, site: str) -> Sequence[DirtySiteDay]:
        """Returns what waits for a site."""


@dataclass(frozen=True, slots=True)
class GenerationEntry:
    """A published generation of a site-day. The highest sequence wins (decision A9)."""

    generation: int
    sequence: int
    logic_version: int
    read_through: Mapping[PartitionId, int]  # the scan saw every record below these offsets
    published_at: int


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """What became of the accepted hits of a site-day in a generation (rule D5), with checksums over hash64(hit)."""

    accepted: int
    counted: int
    duplicate: int
    excluded: int
    sum64: int
    xor64: int


class Generations(Protocol):
    """Which generation of a site-day is read. Conditional writes."""

    def begin(self, site_day: SiteDay) -> int:
        """Returns a generation number never returned before for the site-day: each attempt has its own."""

    def current(self, site: str, first_day: int, end_day: int) -> Mapping[int, GenerationEntry]:
        """Returns the winning entry per day that has one."""

    def publish(
        self,
        site_day: SiteDay,
        generation: int,
        *,
        logic_version: int,
        read_through: Mapping[PartitionId, int],
        seen_sequence: int,
        ledger: LedgerEntry,
        carry: bytes,
        now: int,
    ) -> GenerationEntry:
        """Makes a generation current, with its ledger entry and the carry it hands to the next day, all or nothing.

        `seen_sequence` is that of the entry seen when the scan began, 0 for none.

        Raises:
            StaleGeneration: another entry was published since; nothing was written.
        """

    def carry(self, site_day: SiteDay) -> bytes | None:
        """Returns the carry of the current generation; None when the site-day was never settled."""

    def ledger(self, site: str, first_day: int, end_day: int) -> Mapping[int, LedgerEntry]:
        """Returns the ledger entry of the current generation per day."""

    def sequence(self, site: str) -> int:
        """Returns the highest sequence of the site: the version of its published numbers; 0 without any."""

    def superseded(self, published_before: int) -> Sequence[tuple[SiteDay, int]]:
        """Returns generations that are not current and whose successor was published before that time."""

    def forget(self, site_day: SiteDay, generation: int) -> None:
        """Forgets a superseded generation after its rows are gone. The current one is never forgotten."""


@dataclass(frozen=True, slots=True)
class OrderClaim:
    """An ORDER hit's claim on (site, order_id), keyed by position and row (rule D3)."""

    site: str
    order_id: str
    log_time: int
    position: Position
    row: int
    visitor_hi: int
    visitor_lo: int
    hit_id: str
    day: int
    excluded: bool
    duplicate: bool = False


class OrderClaims(Protocol):
    """Who claimed an order first."""

    def claim(self, claims: Sequence[OrderClaim]) -> None:
        """Stores claims durably: storing one twice is storing it once, and keeps its duplicate flag."""

    def of(self, site: str, order_ids: Sequence[str]) -> Sequence[OrderClaim]:
        """Returns all claims on these orders in log order (log time, log, partition, offset, row)."""

    def set_duplicates(self, site: str, verdicts: Mapping[tuple[Position, int], bool]) -> None:
        """Records which claims are of duplicate hits, as the settlement of their day found."""


class RollupSink(Protocol):
    """Where settled rows go. Rows of a generation are invisible until the generation is published."""

    def write(self, traffic: pl.DataFrame, visits: pl.DataFrame) -> None:
        """Stores rows (hitmesh.rollup_rows columns) durably. Each (site, day, generation) is written once."""

    def ingested(self, site_day: SiteDay, generation: int) -> bool:
        """Returns whether the metric store can answer from the generation's rows."""

    def drop(self, superseded: Sequence[tuple[SiteDay, int]]) -> None:
        """Removes the rows of these generations; removing twice is removing once."""
