"""The ports of settlement: dirty days, generations with their ledger and carry, order claims, settled rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import polars as pl

from hitmesh.model.claims import ClaimKind, OrderClaim, WholeRefund
from hitmesh.model.generations import DirtyMark, DirtySiteDay, Drift, GenerationEntry, LedgerEntry
from hitmesh.model.positions import PartitionId, Position
from hitmesh.model.sites import SiteDay


class DirtyDays(Protocol):
    """Site-days that wait to be settled: closed ones that changed, and ones that the stream counts until they close."""

    def mark(self, marks: Sequence[DirtyMark]) -> None:
        """Adds marks durably. Marking twice is marking once. Called only after the raw record is stored."""

    def await_close(self, site_days: Sequence[SiteDay]) -> None:
        """Notes durably that the stream counts hits of these; each is taken once its day has closed. Idempotent."""

    def take(self, limit: int, closed_before: int) -> Sequence[DirtySiteDay]:
        """Returns site-days before the day `closed_before` that are marked or awaited, by (site, day).

        Whole sites first; they stay until cleared.
        """

    def clear(self, taken: DirtySiteDay) -> None:
        """Removes the marks in `taken`, and only those: marks that came later stay. It is awaited no longer."""

    def pending(self, site: str) -> Sequence[DirtySiteDay]:
        """Returns what is marked of a site; days that are only awaited are not among it."""

    def awaited(self, site: str) -> Sequence[int]:
        """Returns the days of a site that wait to close, ascending."""

    def marks(self, site: str) -> Sequence[DirtyMark]:
        """Returns the marks of a site, ordered by (day, position), with what they count."""


class Generations(Protocol):
    """Which generation of a site-day is read. Conditional writes.

    A site-day without an entry is read as the stream has it: STREAM_GENERATION of hitmesh.model.rows.stream_columns.
    """

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
        drift: Drift | None = None,
    ) -> GenerationEntry:
        """Makes a generation current, with its ledger entry and the carry it hands to the next day, all or nothing.

        `seen_sequence` is that of the entry seen when the scan began, 0 for none. `drift` is None where the stream
        counted nothing. With a drift that is confirmed, the entry's generation is STREAM_GENERATION: the attempt
        wrote no rows. With one that is not, STREAM_GENERATION is superseded, unless an entry is there already.

        Raises:
            StaleGeneration: another entry was published since; nothing was written.
        """

    def carry(self, site_day: SiteDay) -> bytes | None:
        """Returns the carry of the current generation; None when the site-day was never settled."""

    def ledger(self, site: str, first_day: int, end_day: int) -> Mapping[int, LedgerEntry]:
        """Returns the ledger entry of the current generation per day."""

    def drifts(self, site: str | None, first_day: int, end_day: int) -> Mapping[SiteDay, Drift]:
        """Returns the drift stored with the first entry that had one, per site-day; of one site, or of all."""

    def sequence(self, site: str) -> int:
        """Returns the highest sequence of the site: the version of its published numbers; 0 without any."""

    def superseded(self, published_before: int) -> Sequence[tuple[SiteDay, int]]:
        """Returns generations that are not current and whose successor was published before that time."""

    def forget(self, site_day: SiteDay, generation: int) -> None:
        """Forgets a superseded generation after its rows are gone. The current one is never forgotten."""


class OrderClaims(Protocol):
    """Who claimed an order or a refund first, and which refunds take the total of their order."""

    def claim(self, claims: Sequence[OrderClaim]) -> None:
        """Stores claims durably: storing one twice is storing it once, and keeps its duplicate flag."""

    def of(self, site: str, order_ids: Sequence[str], kind: ClaimKind = ClaimKind.ORDER) -> Sequence[OrderClaim]:
        """Returns all claims of the kind on these ids in log order (log time, log, partition, offset, row)."""

    def first(self, claims: Sequence[OrderClaim]) -> Sequence[bool]:
        """Returns which claims hold their order or refund in the stream, taking those that nobody holds, durably.

        Claims are in log order, none is a duplicate. The first to ask for a (site, kind, order_id, excluded) holds it
        for good, and finds itself again when it asks again; settlement decides anew from all claims.
        """

    def note_refunds(self, refunds: Sequence[WholeRefund]) -> None:
        """Notes refunds of whole orders durably. Noting one twice is noting it once."""

    def refund_days(self, site: str, order_ids: Sequence[str]) -> Mapping[str, Sequence[int]]:
        """Returns the days of noted refunds per order that has any, ascending."""

    def set_duplicates(self, site: str, verdicts: Mapping[tuple[Position, int], bool]) -> None:
        """Records which claims are of duplicate hits, as the settlement of their day found."""


class RollupSink(Protocol):
    """Where settled rows go. Rows of a generation are invisible until the generation is published."""

    def write(self, traffic: pl.DataFrame, visits: pl.DataFrame) -> None:
        """Stores rows (rollup_rows columns) durably. Each (site, day, generation) is written once."""

    def ingested(self, site_day: SiteDay, generation: int) -> bool:
        """Returns whether the metric store can answer from the generation's rows."""

    def drop(self, superseded: Sequence[tuple[SiteDay, int]]) -> None:
        """Removes the rows of these generations, of STREAM_GENERATION too; removing twice is removing once."""
