"""The ports to the permanent stores: accepted hits in their original records, and refused hits."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Protocol

from hitmesh.model.positions import PartitionId, Position
from hitmesh.model.records import RawRecord, RejectedHit
from hitmesh.model.refusals import RefusalKey, RefusalPage, RefusalRange
from hitmesh.model.sites import SiteDay


class RawStore(Protocol):
    """Keeps accepted hits permanently, in their original records."""

    def put(self, records: Sequence[RawRecord]) -> None:
        """Store records durably, keyed by position; idempotent."""

    def replace(self, record: RawRecord, seen: bytes | None = None) -> bool:
        """Replace a stored record's value and event times durably and atomically; other fields stay.

        Used to erase hits. The new value must have the same rows, some of them blank. Returns False if the record is
        absent, or if `seen` is given and is not its value. On Cassandra, of two concurrent calls with the same `seen`
        both may return True.
        """

    def scan(
        self, site: str, first_day: int, end_day: int, before: Mapping[PartitionId, int] | None = None
    ) -> Iterator[RawRecord]:
        """Yield each record with hits of the site in [first_day, end_day) once, in log order.

        A record may also hold hits of other sites and days, which the caller must filter out. With `before`, which
        gives an offset per partition, yield only records below the offset of their partition, and skip partitions
        without an offset.
        """

    def scan_sites(
        self,
        sites: Collection[str],
        first_day: int,
        end_day: int,
        before: Mapping[PartitionId, int] | None = None,
    ) -> Iterator[RawRecord]:
        """Yield, in log order, each record that has hits of any site in [first_day, end_day), once, as `scan` does.

        A record that many sites share is read once, which is the purpose of this method. All positions are in memory.
        """

    def salvage(
        self,
        site: str,
        first_day: int,
        end_day: int,
        before: Mapping[PartitionId, int] | None = None,
        after: Position | None = None,
    ) -> Iterator[tuple[Position, RawRecord | None]]:
        """Yield the positions and records of `scan`, with None for a lost or damaged record; never raise StoreCorrupt.

        The order is by position, so that a caller can continue later: with `after`, only positions beyond are yielded.
        A yielded record may still have a damaged value. A lost record whose index entry is lost too is absent.
        """

    def restore(self, records: Sequence[RawRecord]) -> None:
        """Store records durably with their index entries, in place of what is stored at their positions; idempotent."""

    def mend_index(self, site_day: SiteDay) -> None:
        """Restore damaged or lost index entries of a site-day from stored records, as far as the store can find them.

        Idempotent. A store without a separate index does nothing.
        """

    def get(self, position: Position) -> RawRecord | None:
        """Return the record at a position; None when there is no such record."""

    def days(self, site: str) -> Sequence[int]:
        """Return the UTC days for which the site has hits, in ascending order."""


class RejectedStore(Protocol):
    """Keeps and counts refused hits."""

    def put(self, hits: Sequence[RejectedHit]) -> None:
        """Store refusals, keyed by position and row. Idempotent."""

    def counts(self, site: str, day: int) -> Mapping[int, int]:
        """Return the number of refused hits per cell, keyed by the cell's start in UTC ms (rule D5).

        `day` is the UTC day of collect time. Cells without refused hits are absent.
        """

    def recent(self, site: str, limit: int) -> Sequence[RejectedHit]:
        """Return at most `limit` refusals of a site, newest first."""

    def page(self, wanted: RefusalRange, after: RefusalKey | None, limit: int) -> RefusalPage:
        """Return at most `limit` refusals of a range in list order (RefusalKey), beginning after a key.

        The work is bounded for a range of any length: a page may be short or empty, and `RefusalPage.after` says
        whether the list continues. A store on servers lists refusals of all sites only if this version or a later
        version stored them.
        """

    def get(self, key: RefusalKey) -> RejectedHit | None:
        """Return a refusal; None when there is no such refusal."""

    def note_replayed(self, key: RefusalKey, at: int) -> bool:
        """Store durably that a replay of a refusal was accepted at a time (UTC ms); idempotent.

        Return whether the refusal exists. The last call determines the time.
        """

    def drop_bytes(self, older_than_ms: int) -> int:
        """Empty `original` and `origin` of the refusals with a collect time before `older_than_ms`.

        Return how many were emptied. The counts stay. A store that uses the server's time to live for the bytes does
        nothing and returns 0.
        """

    def erase_texts(self, site: str, wanted: Callable[[RejectedHit], bool]) -> Iterator[int]:
        """Empty `original`, `message` and `hit_id` in the site's wanted refusals durably, page by page.

        Yield after each page how many refusals were emptied. `wanted` is called for each refusal that has bytes,
        message or hit id; the counts remain.
        """
