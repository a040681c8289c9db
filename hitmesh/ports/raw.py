"""The ports to the permanent stores of accepted hits (in their original records) and of refused hits."""

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
        """Replace a stored record's value and event times durably and atomically; other fields do not change.

        The erasure of a visitor uses this method to remove hits. The new value must have the same number of rows; the
        rows of erased hits are blank. Returns False if no such record is stored, or if `seen` is given and differs from
        the stored value. On Cassandra, two concurrent calls with the same `seen` may both return True.
        """

    def scan(
        self, site: str, first_day: int, end_day: int, before: Mapping[PartitionId, int] | None = None
    ) -> Iterator[RawRecord]:
        """Yield, in log order, the records with hits of the site on days in [first_day, end_day).

        A record may also hold hits of other sites and days, which the caller must filter out. `before` maps partitions
        to end offsets. If `before` is given, only records below their partition's end offset are returned, and
        partitions without an end offset are skipped.
        """

    def scan_sites(
        self,
        sites: Collection[str],
        first_day: int,
        end_day: int,
        before: Mapping[PartitionId, int] | None = None,
    ) -> Iterator[RawRecord]:
        """Yield, in log order, the records with hits of any of these sites on days in [first_day, end_day).

        This method reads each record only once. If `scan` were called for each site, a record with hits of several
        sites would be read several times. The call holds the positions of all records in memory.
        """

    def salvage(
        self,
        site: str,
        first_day: int,
        end_day: int,
        before: Mapping[PartitionId, int] | None = None,
        after: Position | None = None,
    ) -> Iterator[tuple[Position, RawRecord | None]]:
        """Yield the position and the record for each record that `scan` would find.

        Never raises StoreCorrupt. For a record that is lost or cannot be read, the method yields the position and None.
        If a record and its index entry are both lost, the method yields nothing for the record. The value of a yielded
        record may be damaged. The records are ordered by position. Only positions that follow `after` are yielded, so
        that a caller can continue later.
        """

    def restore(self, records: Sequence[RawRecord]) -> None:
        """Store records durably with their index entries; replace records that are already stored. Idempotent."""

    def mend_index(self, site_day: SiteDay) -> None:
        """Restore a site-day's damaged or lost index entries from the stored records that the store can find.

        Idempotent. A store without a separate index does nothing.
        """

    def get(self, position: Position) -> RawRecord | None:
        """Return the record at a position; None if there is no such record."""

    def days(self, site: str) -> Sequence[int]:
        """Return the UTC days on which the site has hits, in ascending order."""


class RejectedStore(Protocol):
    """Keeps and counts refused hits."""

    def put(self, hits: Sequence[RejectedHit]) -> None:
        """Store refusals, keyed by position and row. Idempotent."""

    def counts(self, site: str, day: int) -> Mapping[int, int]:
        """Return the number of refused hits per cell, keyed by the cell's start in UTC ms (rule D5).

        `day` is the UTC day on which the collector received the hits (their collect time). Cells without refused hits
        are absent.
        """

    def recent(self, site: str, limit: int) -> Sequence[RejectedHit]:
        """Return at most `limit` refusals of a site, newest first."""

    def page(self, wanted: RefusalRange, after: RefusalKey | None, limit: int) -> RefusalPage:
        """Return at most `limit` refusals in a range that follow the key `after`, in list order (RefusalKey).

        Even if the range is long, a call does only a bounded amount of work. A page may therefore be short or empty;
        `RefusalPage.after` tells whether the list continues. For a list of all sites, a Cassandra store omits refusals
        that earlier versions of hitmesh stored.
        """

    def get(self, key: RefusalKey) -> RejectedHit | None:
        """Return the refusal with this key; None if there is no such refusal."""

    def note_replayed(self, key: RefusalKey, at: int) -> bool:
        """Store durably that a replay of a refusal was accepted at a time (UTC ms); idempotent.

        Returns whether the refusal exists. A later call replaces the time that was stored before.
        """

    def drop_bytes(self, older_than_ms: int) -> int:
        """Empty the fields `original` and `origin` of all refusals with a collect time before `older_than_ms`.

        Returns the number of changed refusals. The counts of refused hits do not change. In a store that gives the
        bytes a time to live, this method does nothing and returns 0.
        """

    def erase_texts(self, site: str, wanted: Callable[[RejectedHit], bool]) -> Iterator[int]:
        """Empty the fields `original`, `message` and `hit_id` of the site's refusals that `wanted` selects.

        The refusals are changed durably, page by page. After each page, the method yields the number of refusals that
        changed. `wanted` is called for each refusal that has bytes, a message or a hit id. `wanted` returns whether to
        empty the refusal's fields. The counts of refused hits do not change.
        """
