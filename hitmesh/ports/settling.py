"""The ports that settlement uses: dirty site-days, generations with ledger and carry, order claims, settled rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from typing import TYPE_CHECKING, Final, Protocol

from hitmesh.model.claims import ClaimKind, OrderClaim, WholeRefund
from hitmesh.model.generations import FIRST_STREAM, DirtyMark, DirtySiteDay, Drift, GenerationEntry, LedgerEntry
from hitmesh.model.history import PastEntry, RetiredGeneration
from hitmesh.model.positions import PartitionId, Position
from hitmesh.model.reprocessings import GenerationVersion
from hitmesh.model.site_buckets import EVERY_BUCKET
from hitmesh.model.sites import SiteDay

if TYPE_CHECKING:
    import polars as pl


SUPERSEDED_PAGE: Final = 1_000
"""Default number of generations in a page of `Generations.superseded`."""


class DirtyDays(Protocol):
    """The queue of site-days to settle.

    The queue holds closed days whose data changed, and open days, which are settled after they close.
    """

    def mark(self, marks: Sequence[DirtyMark]) -> None:
        """Store dirty marks; idempotent.

        A dirty mark refers to a raw record. Call this method only after the raw record is stored.
        """

    def await_close(self, site_days: Sequence[SiteDay]) -> None:
        """Record durably that the stream counts hits on these site-days.

        `take` returns a recorded site-day as soon as its day has closed. Idempotent.
        """

    def take(self, limit: int, closed_before: int, buckets: Set[int] = EVERY_BUCKET) -> Sequence[DirtySiteDay]:
        """Return at most `limit` site-days that wait for settlement, sorted by (site, day).

        A site-day waits from the call of `mark` or `await_close` until the call of `clear`. The result contains only
        days before `closed_before`, and only sites in `buckets` (hitmesh.model.site_buckets). The result contains
        either all waiting days of a site or none. If the first site alone has more than `limit` waiting days, the
        result contains only `limit` of these days.
        """

    def clear(self, taken: DirtySiteDay) -> None:
        """Remove the dirty marks in `taken` and the record that `await_close` stored; keep all later dirty marks."""

    def pending(self, site: str) -> Sequence[DirtySiteDay]:
        """Return the site's days that have dirty marks. Days that only `await_close` stored are absent."""

    def awaited(self, site: str) -> Sequence[int]:
        """Return the site's days that `await_close` stored, in ascending order."""

    def marks(self, site: str) -> Sequence[DirtyMark]:
        """Return the site's dirty marks with their hit counts, ordered by (day, position)."""


class Generations(Protocol):
    """Stores entries for site-days.

    An entry names a generation of rows; reports read the generation in the current entry. A publication is a
    conditional write. For a site-day without an entry, reports read a stream's generation (hitmesh.model.streams). From
    the time at which a generation becomes superseded, its rows may be removed.
    """

    def begin(self, site_day: SiteDay) -> int:
        """Return a generation number for an attempt; no number is returned twice for the same site-day."""

    def current(self, site: str, first_day: int, end_day: int) -> Mapping[int, GenerationEntry]:
        """Return the current entry of each day in [first_day, end_day); days without an entry are absent."""

    def history(self, site: str, first_day: int, end_day: int) -> Mapping[int, Sequence[PastEntry]]:
        """Return each day's entries in [first_day, end_day) by ascending sequence; days without entries are absent.

        The last entry of a day is the current entry. For each day, the last MAX_PAST_ENTRIES entries are returned, even
        if the rows of their generations have been removed. Earlier versions of the store did not keep replaced entries,
        so the oldest entries may be absent.
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

        The generation, its ledger entry and `carry` take effect together. The carry contains the visits that are open
        at the end of the day; the settlement of the next day reads the carry. The settler must have read
        `seen_sequence` and `seen_site_sequence` before it read the day's hits. `seen_sequence` is the sequence of the
        day's current entry, 0 if there is no entry. `seen_site_sequence` is the site's highest sequence; None if
        changes of the site's other days are allowed. `streams` are the generations of all streams whose rows may be
        stored. `drift` is the difference between the settlement and the first stream in `streams`; None if this stream
        counted no hit on the site-day. If `drift.confirmed` is true, the attempt wrote no rows, and the first stream's
        generation becomes current. If the site-day had no entry and `drift` is not None, the generations of all other
        streams are superseded. The replaced generation becomes superseded at `now` or at `keep_until` (UTC ms),
        whichever is later. Until the generation is superseded, `restore` can make it current again. A site-day keeps at
        most MAX_KEPT_GENERATIONS replaced generations. If a publication exceeds this maximum, the replaced generations
        that expire first become superseded at `now`. `rules_version` is the version of the site's exclusion rules
        (hitmesh.model.exclusion).

        Raises:
            StaleGeneration: `seen_sequence` or `seen_site_sequence` is outdated, or the attempt was abandoned. Nothing
                was written.
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

        The generation, its ledger entry and its carry (see `publish`) take effect together. `seen_sequence` is the
        sequence of the entry that the caller read as the current entry. The generation that was current becomes
        superseded at `keep_until` (UTC ms) or at `now`, whichever is later. The drifts that `publish` stored do not
        change. While the restored entry is current, a repeated call returns this entry, even with another `now`.

        Raises:
            StaleGeneration: the current entry has another sequence, or the generation became superseded before `now`.
                Nothing was written.
        """

    def abandon(self, site: str, first_day: int, end_day: int, *, now: int, keep_until: int = 0) -> int:
        """Supersede all unpublished attempts for days in [first_day, end_day); return the number of attempts.

        The attempts become superseded at `keep_until` (UTC ms) or at `now`, whichever is later. Until an attempt is
        superseded, `restore` can make its generation current. `publish` raises StaleGeneration for an abandoned
        attempt. Idempotent.
        """

    def carry(self, site_day: SiteDay) -> bytes | None:
        """Return the carry of the current generation; None if the site-day was never settled.

        The carry contains the visits that are open at the end of the day.

        Raises:
            StoreCorrupt: the store has lost a part of the carry. If only bytes of the carry have changed, the call
                returns the damaged carry.
        """

    def ledger(self, site: str, first_day: int, end_day: int) -> Mapping[int, LedgerEntry]:
        """Return the ledger entry of each day's current generation in [first_day, end_day)."""

    def drifts(self, site: str | None, first_day: int, end_day: int) -> Mapping[SiteDay, Drift]:
        """Return each site-day's first stored drift, for days in [first_day, end_day).

        If `site` is None, the result covers all sites.
        """

    def sequence(self, site: str) -> int:
        """Return the highest sequence of the site's entries, which is part of the data version; 0 without entries."""

    def superseded(
        self, published_before: int, after: tuple[SiteDay, int] | None = None, limit: int = SUPERSEDED_PAGE
    ) -> Sequence[tuple[SiteDay, int]]:
        """Return a page of the generations, published or not, that became superseded before `published_before`.

        A page has at most `limit` generations, which follow `after` in the order (site, day, generation). The last page
        is empty. While pages are read, `forget` may be called for earlier generations.
        """

    def retired(self, site: str | None, after: SiteDay | None, limit: int) -> Sequence[RetiredGeneration]:
        """Return the generations that are not current, for at most `limit` site-days after the site-day `after`.

        If a returned generation is not superseded, `restore` can make it current. The generations of a site-day are
        always in the same page. The store chooses the order of site-days. If `site` is None, the result covers all
        sites. A page for all sites may have fewer than `limit` site-days, but each page before the end has at least
        one.
        """

    def retire(self, site_day: SiteDay, now: int) -> Sequence[int]:
        """Make every replaced generation of the site-day superseded, and return the generations' numbers.

        If a generation is kept until a time after `now`, the generation becomes superseded at `now`. After this call,
        `restore` cannot make a returned generation current. Idempotent.
        """

    def forget(self, site_day: SiteDay, generation: int) -> None:
        """Delete the entry of a superseded generation after its rows were dropped.

        Do nothing for a generation that is not superseded.
        """


class OrderClaims(Protocol):
    """Stores the claims that hits make on order ids and refund ids, and the refunds of whole orders (rule D3)."""

    def claim(self, claims: Sequence[OrderClaim]) -> None:
        """Store claims durably. Idempotent: if a claim is already stored, its duplicate flag does not change."""

    def of(self, site: str, order_ids: Sequence[str], kind: ClaimKind = ClaimKind.ORDER) -> Sequence[OrderClaim]:
        """Return all claims of this kind on these ids, in log order (log time, log, partition, offset, row)."""

    def first(self, claims: Sequence[OrderClaim]) -> Sequence[bool]:
        """Return, for each claim, whether the live stream counts the claim.

        For each (site, kind, order_id, excluded), the live stream counts only the first claim, which is called the
        holder. A holder is stored durably and never changes, so a repeated call returns the same result. The claims
        must be in log order and must not include claims of duplicate hits. Settlement does not use the holders:
        settlement reads all stored claims and decides anew which claim counts.
        """

    def note_refunds(self, refunds: Sequence[WholeRefund]) -> None:
        """Store durably on which day each order was refunded as a whole; idempotent."""

    def refund_days(self, site: str, order_ids: Sequence[str]) -> Mapping[str, Sequence[int]]:
        """Return each order's stored refund days, in ascending order; orders without refunds are absent."""

    def set_duplicates(self, site: str, verdicts: Mapping[tuple[Position, int], bool]) -> None:
        """Set the duplicate flag of each claim, keyed by position and row, to the value that settlement computed."""

    def remove(self, claims: Sequence[OrderClaim]) -> None:
        """Remove claims durably; idempotent.

        A removed claim may be a holder, which is a claim that the live stream counts (see `first`). The store then
        keeps the order id and the claim's position, but no visitor key. If the stream reads the log again, `first`
        therefore returns the same result.
        """


class RollupSink(Protocol):
    """Stores settled rows. No report reads the rows of a generation before the generation is published."""

    def write(self, traffic: pl.DataFrame, visits: pl.DataFrame) -> None:
        """Store rows with the columns of hitmesh.model.rows.rollup_rows durably.

        The rows of a (site, day, generation) must be written in a single call.
        """

    def write_portions(self, traffic: Iterable[pl.DataFrame], visits: Iterable[pl.DataFrame]) -> None:
        """Store the rows of a single generation of a site-day durably, like `write`, but portion by portion.

        The portions must be in ascending order of their cells. The store holds only a few portions in memory. If the
        call fails, the store may contain a part of the rows. After a failure, the caller must neither publish the
        generation nor write its rows again.
        """

    def ingested(self, site_day: SiteDay, generation: int) -> bool:
        """Return whether the metric store has all rows of the generation and can answer from them."""

    def drop(self, superseded: Sequence[tuple[SiteDay, int]]) -> None:
        """Remove the rows of these generations, which may include a stream's generation; idempotent."""
