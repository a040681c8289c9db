"""The ports that settlement uses: dirty site-days, generations with ledger and carry, order claims, settled rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from typing import TYPE_CHECKING, Protocol

from hitmesh.model.claims import ClaimKind, OrderClaim, WholeRefund
from hitmesh.model.generations import FIRST_STREAM, DirtyMark, DirtySiteDay, Drift, GenerationEntry, LedgerEntry
from hitmesh.model.history import PastEntry, RetiredGeneration
from hitmesh.model.positions import PartitionId, Position
from hitmesh.model.reprocessings import GenerationVersion
from hitmesh.model.site_buckets import EVERY_BUCKET
from hitmesh.model.sites import SiteDay

if TYPE_CHECKING:
    import polars as pl


class DirtyDays(Protocol):
    """The queue of site-days to settle.

    It holds closed days whose data changed, and open days that are settled once they close.
    """

    def mark(self, marks: Sequence[DirtyMark]) -> None:
        """Store dirty marks; idempotent.

        Must be called only after the raw records to which the marks refer are stored.
        """

    def await_close(self, site_days: Sequence[SiteDay]) -> None:
        """Record durably that the stream counts hits on these site-days.

        The site-days must be settled when their day closes. Idempotent.
        """

    def take(self, limit: int, closed_before: int, buckets: Set[int] = EVERY_BUCKET) -> Sequence[DirtySiteDay]:
        """Return at most `limit` marked or awaited site-days before the day `closed_before`, sorted by (site, day).

        Only site-days of sites in these buckets (hitmesh.model.site_buckets) are returned. Either all or none of a
        site's site-days are returned, unless the first site alone exceeds `limit`. Site-days stay in the store until
        `clear` is called.
        """

    def clear(self, taken: DirtySiteDay) -> None:
        """Remove the dirty marks in `taken` and keep all later dirty marks. The site-day is no longer awaited."""

    def pending(self, site: str) -> Sequence[DirtySiteDay]:
        """Return the site's days that have dirty marks; days that are only awaited are absent."""

    def awaited(self, site: str) -> Sequence[int]:
        """Return the site's awaited days (`await_close`), in ascending order."""

    def marks(self, site: str) -> Sequence[DirtyMark]:
        """Return the site's dirty marks with their hit counts, ordered by (day, position)."""


class Generations(Protocol):
    """Stores, per site-day, the entry of the generation that reports read. A publication is a conditional write.

    For a site-day without an entry, reports read a stream's generation (hitmesh.model.streams).
    """

    def begin(self, site_day: SiteDay) -> int:
        """Return a generation number for an attempt; no number is returned twice for the same site-day."""

    def current(self, site: str, first_day: int, end_day: int) -> Mapping[int, GenerationEntry]:
        """Return the current entry of each day in [first_day, end_day); days without an entry are absent."""

    def history(self, site: str, first_day: int, end_day: int) -> Mapping[int, Sequence[PastEntry]]:
        """Return each day's entries in [first_day, end_day) by ascending sequence; days without entries are absent.

        The last entry of a day is the current entry. For each day, the last MAX_PAST_ENTRIES entries are returned, even
        if the rows of their generations have been removed. Entries that were replaced before the store began to record
        entries are absent.
        """

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
        keep_until: int = 0,
        seen_site_sequence: int | None = None,
        rules_version: int = 0,
        streams: Sequence[int] = FIRST_STREAM,
    ) -> GenerationEntry:
        """Make a generation current.

        The generation, its ledger entry and the carry for the next day take effect together. `seen_sequence` is the
        sequence of the entry that was current when the scan began, 0 if there was no entry. `seen_site_sequence` is the
        site's highest sequence when the scan began; None if changes of the site's other days are allowed. `drift` is
        None if the stream counted no hit on the site-day. `streams` are the generations of all streams whose rows may
        be stored. The settlement was compared with the first stream. If the drift is confirmed, the attempt wrote no
        rows, and the first stream's generation becomes current. If the site-day had no entry and `drift` is not None,
        all streams whose generation does not become current are superseded. The replaced generation becomes superseded
        at `now` or at `keep_until` (UTC ms), whichever is later. Until the generation is superseded, `restore` can make
        it current again. If more than MAX_KEPT_GENERATIONS would be kept, the generation that would be superseded first
        becomes superseded at `now`. `rules_version` is the version of the site's exclusion rules
        (hitmesh.model.exclusion).

        Raises:
            StaleGeneration: since the scan began, an entry was published on the site-day. If `seen_site_sequence` is
                given, an entry on any day of the site counts. Nothing was written.
        """

    def restore(
        self,
        site_day: SiteDay,
        version: GenerationVersion,
        *,
        seen_sequence: int,
        now: int,
        keep_until: int,
    ) -> GenerationEntry:
        """Make a replaced generation current again.

        The generation, its ledger entry and its carry take effect together. `seen_sequence` is the sequence of the
        current entry. The generation that was current becomes superseded at `keep_until` (UTC ms) or at `now`,
        whichever is later. Stored drifts do not change. While the restored entry is current, a repeated call returns
        this entry, even with another `now`.

        Raises:
            StaleGeneration: the current entry has another sequence, or the generation is no longer kept at `now`;
                nothing was written.
        """

    def abandon(self, site: str, first_day: int, end_day: int, *, now: int, keep_until: int = 0) -> int:
        """Supersede all unpublished attempts for days in [first_day, end_day); return the number of attempts.

        The attempts become superseded at `keep_until` (UTC ms) or at `now`, whichever is later. Until an abandoned
        attempt is superseded, `restore` can make its generation current. `publish` raises StaleGeneration for the
        attempt. Idempotent.
        """

    def carry(self, site_day: SiteDay) -> bytes | None:
        """Return the carry of the current generation; None if the site-day was never settled.

        Raises:
            StoreCorrupt: a part of the carry is lost. A carry that is returned may still be damaged.
        """

    def ledger(self, site: str, first_day: int, end_day: int) -> Mapping[int, LedgerEntry]:
        """Return the ledger entry of each day's current generation in [first_day, end_day)."""

    def drifts(self, site: str | None, first_day: int, end_day: int) -> Mapping[SiteDay, Drift]:
        """Return each site-day's first stored drift, for days in [first_day, end_day); `site` None means all sites."""

    def sequence(self, site: str) -> int:
        """Return the highest sequence of the site's entries, which is part of the data version; 0 without entries."""

    def superseded(self, published_before: int) -> Sequence[tuple[SiteDay, int]]:
        """Return the generations, published or not, that became superseded before the time `published_before`."""

    def retired(self, site: str | None, after: SiteDay | None, limit: int) -> Sequence[RetiredGeneration]:
        """Return the superseded and the kept generations of at most `limit` site-days that follow `after`.

        The generations of a site-day are returned together. The store chooses the order of site-days. `site` None means
        all sites. A page may then have fewer than `limit` site-days, but each page before the end has at least one.
        """

    def retire(self, site_day: SiteDay, now: int) -> Sequence[int]:
        """Make the site-day's replaced generations superseded at `now` at the latest; return their numbers.

        After this call, `restore` cannot make any of these generations current again. Idempotent.
        """

    def forget(self, site_day: SiteDay, generation: int) -> None:
        """Delete a superseded generation's entry after its rows were dropped. For any other generation, do nothing."""


class OrderClaims(Protocol):
    """Stores the claims on orders and refunds, and the refunds that take their amount from the order (rule D3)."""

    def claim(self, claims: Sequence[OrderClaim]) -> None:
        """Store claims durably. Idempotent: if a claim is already stored, its duplicate flag does not change."""

    def of(self, site: str, order_ids: Sequence[str], kind: ClaimKind = ClaimKind.ORDER) -> Sequence[OrderClaim]:
        """Return all claims of this kind on these ids, in log order (log time, log, partition, offset, row)."""

    def first(self, claims: Sequence[OrderClaim]) -> Sequence[bool]:
        """Return, for each claim, whether the claim holds its order id in the stream.

        If a (site, kind, order_id, excluded) has no holder yet, the first claim in `claims` with these values becomes
        the holder. A holder is stored durably and never changes. A repeated call returns True for the holder again. The
        claims must be in log order and must not include claims of duplicate hits. Settlement ignores the holders. It
        reads all stored claims to decide which claim counts.
        """

    def note_refunds(self, refunds: Sequence[WholeRefund]) -> None:
        """Store durably the days on which orders were refunded as a whole; idempotent."""

    def refund_days(self, site: str, order_ids: Sequence[str]) -> Mapping[str, Sequence[int]]:
        """Return each order's stored refund days, in ascending order; orders without refunds are absent."""

    def set_duplicates(self, site: str, verdicts: Mapping[tuple[Position, int], bool]) -> None:
        """Set the claims' duplicate flags, by position and row, to the verdicts of the day's settlement."""

    def remove(self, claims: Sequence[OrderClaim]) -> None:
        """Remove claims durably; idempotent.

        If a removed claim holds its order id in the stream, a placeholder remains. A replay of the log therefore has
        the same result. The placeholder has the order id and the claim's position, but no visitor key.
        """


class RollupSink(Protocol):
    """Stores settled rows. No report reads the rows of a generation before the generation is published."""

    def write(self, traffic: pl.DataFrame, visits: pl.DataFrame) -> None:
        """Store rows (columns of rollup_rows) durably.

        The rows of a (site, day, generation) must be written in a single call.
        """

    def write_portions(self, traffic: Iterable[pl.DataFrame], visits: Iterable[pl.DataFrame]) -> None:
        """Store the rows of a single generation of a site-day durably, like `write`, but portion by portion.

        The portions must be in ascending order of their cells. The store holds only a few portions in memory. If the
        call fails, a part of the rows may be stored. The generation must then not be published, and must not be written
        again.
        """

    def ingested(self, site_day: SiteDay, generation: int) -> bool:
        """Return whether the metric store has all rows of the generation and can answer from them."""

    def drop(self, superseded: Sequence[tuple[SiteDay, int]]) -> None:
        """Remove the rows of these generations, which may include a stream's generation; idempotent."""
