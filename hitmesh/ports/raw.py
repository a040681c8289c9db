"""The ports to the permanent stores: accepted hits as received, refused hits, and site-days."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from hitmesh.model.positions import PartitionId, Position
from hitmesh.model.records import RawRecord, RejectedHit


class RawStore(Protocol):
    """Keeps accepted hits for good, in their original records."""

    def put(self, records: Sequence[RawRecord]) -> None:
        """Store records durably, keyed by position. Idempotent."""

    def scan(
        self, site: str, first_day: int, end_day: int, before: Mapping[PartitionId, int] | None = None
    ) -> Iterator[RawRecord]:
        """Yield each record with hits of the site in [first_day, end_day) once, in log order.

        A record may also hold other sites and days: the caller filters rows. With `before`, yield only offsets below
        the limit of their partition, and no record of partitions without a limit.
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
        """Return refused hits per cell (start in ms) of the UTC day of collect time (rule D5).

        Cells without refused hits are absent.
        """

    def recent(self, site: str, limit: int) -> Sequence[RejectedHit]:
        """Return at most `limit` refusals of a site, newest first."""

    def drop_bytes(self, older_than_ms: int) -> int:
        """Empty `original` of refusals collected before a time; return how many this call emptied. Counts stay.

        A store whose server expires the bytes by itself does nothing.
        """
