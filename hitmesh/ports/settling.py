"""The ports of settlement: dirty days, generations with their ledger and carry, order claims, settled rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from hitmesh.model.claims import ClaimKind, OrderClaim, WholeRefund
from hitmesh.model.generations import DirtyMark, DirtySiteDay, Drift, GenerationEntry, LedgerEntry
from hitmesh.model.positions import PartitionId, Position
from hitmesh.model.sites import SiteDay

if TYPE_CHECKING:
    import polars as pl


class DirtyDays(Protocol):
    """Site-days to settle: closed days that changed, and open days that the stream counts until they close."""

    def mark(self, marks: Sequence[DirtyMark]) -> None:
        """Store dirty marks. Idempotent. Must be called only after the raw record is stored."""

    def await_close(self, site_days: Sequence[SiteDay]) -> None:
        """Note durably that the stream counts hits on these site-days; each becomes due when its day closes.

        Idempotent.
        """

    def take(self, limit: int, closed_before: int) -> Sequence[DirtySiteDay]:
        """Return at most `limit` marked or awaited site-days before the day `closed_before`, by (site, day).

        A site is never split, unless the first site alone exceeds `limit`. The site-days stay until cleared.
        """

    def clear(self, taken: DirtySiteDay) -> None:
        """Remove exactly the dirty marks in `taken`; later marks stay. The site-day is no longer awaited."""

    def pending(self, site: str) -> Sequence[DirtySiteDay]:
        """Return the site's marked site-days; days that are only awaited are absent."""

    def awaited(self, site: str) -> Sequence[int]:
        """Return the site's days that wait to close, in ascending order."""

    def marks(self, site: str) -> Sequence[DirtyMark]:
        """Return the site's dirty marks, ordered by (day, position), with their counts."""


class Generations(Protocol):
    """The generation that reports read, per site-day. Writes are conditional.

    For a site-day without an entry, reports read STREAM_GENERATION of hitmesh.model.rows.stream_columns.
    """

    def begin(self, site_day: SiteDay) -> int:
        """Return a generation number that was never returned before for the site-day: each attempt has its own."""

    def current(self, site: str, first_day: int, end_day: int) -> Mapping[int, GenerationEntry]:
        """Return the current entry per day; days without an entry are absent."""

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
        """Make a generation current, atomically with its ledger entry and the carry for the next day.

        `seen_sequence` is the sequence of the entry that was current when the scan began, 0 for none. `drift` is None
        when the stream counted no hit on the site-day. When the drift is confirmed, the attempt wrote no rows and the
        entry's generation is STREAM_GENERATION. Otherwise STREAM_GENERATION is superseded, unless an entry already
        exists.

        Raises:
            StaleGeneration: another entry was published since; nothing was written.
        """

    def carry(self, site_day: SiteDay) -> bytes | None:
        """Return the carry of the current generation; None when the site-day was never settled."""

    def ledger(self, site: str, first_day: int, end_day: int) -> Mapping[int, LedgerEntry]:
        """Return the ledger entry of the current generation per day."""

    def drifts(self, site: str | None, first_day: int, end_day: int) -> Mapping[SiteDay, Drift]:
        """Return, per site-day, the first drift that was stored; `site` None means all sites."""

    def sequence(self, site: str) -> int:
        """Return the highest sequence of the site, the version of its published numbers; 0 without any."""

    def superseded(self, published_before: int) -> Sequence[tuple[SiteDay, int]]:
        """Return generations that are not current and whose successor was published before the given time."""

    def forget(self, site_day: SiteDay, generation: int) -> None:
        """Forget a superseded generation after its rows are gone. The current generation is never forgotten."""


class OrderClaims(Protocol):
    """Which hit claimed an order or a refund first, and which refunds take the total of their order."""

    def claim(self, claims: Sequence[OrderClaim]) -> None:
        """Store claims durably. Idempotent: a stored claim keeps its duplicate flag."""

    def of(self, site: str, order_ids: Sequence[str], kind: ClaimKind = ClaimKind.ORDER) -> Sequence[OrderClaim]:
        """Return all claims of the kind on these ids in log order (log time, log, partition, offset, row)."""

    def first(self, claims: Sequence[OrderClaim]) -> Sequence[bool]:
        """Return which claims hold their order or refund in the stream; durably give unheld ids to the first claim.

        Claims must be in log order and contain no duplicates. The first claim on a (site, kind, order_id, excluded)
        holds the id for good, and gets True again when the call is repeated. Settlement decides anew from all claims.
        """

    def note_refunds(self, refunds: Sequence[WholeRefund]) -> None:
        """Note refunds of whole orders durably. Idempotent."""

    def refund_days(self, site: str, order_ids: Sequence[str]) -> Mapping[str, Sequence[int]]:
        """Return the days of noted refunds per order in ascending order; orders without refunds are absent."""

    def set_duplicates(self, site: str, verdicts: Mapping[tuple[Position, int], bool]) -> None:
        """Record which claims belong to duplicate hits, as the settlement of their day found."""


class RollupSink(Protocol):
    """The store of settled rows. Rows of a generation are invisible until the generation is published."""

    def write(self, traffic: pl.DataFrame, visits: pl.DataFrame) -> None:
        """Store rows (rollup_rows columns) durably. Each (site, day, generation) is written once."""

    def ingested(self, site_day: SiteDay, generation: int) -> bool:
        """Return whether the metric store can answer from the generation's rows."""

    def drop(self, superseded: Sequence[tuple[SiteDay, int]]) -> None:
        """Remove the rows of these generations, STREAM_GENERATION included. Idempotent."""
