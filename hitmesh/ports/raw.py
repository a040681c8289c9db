"""The ports to what is kept for good: accepted hits as they came, refused hits, and site-days."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from hitmesh.model.positions import PartitionId, Position
from hitmesh.model.records import RawRecord, RejectedHit


class RawStore(Protocol):
    """Keeps accepted hits for good, as the records they came in."""

    def put(self, records: Sequence[RawRecord]) -> None:
        """Stores records durably, keyed by position: storing one twice is storing it once."""

    def scan(
        self, site: str, first_day: int, end_day: int, before: Mapping[PartitionId, int] | None = None
    ) -> Iterator[RawRecord]:
        """Yields each record that holds hits of the site in [first_day, end_day) once, in log order.

        A record may hold other sites and days too: the caller filters rows. With `before`, only offsets below it, and
        none of partitions it does not name.
        """

    def get(self, position: Position) -> RawRecord | None:
        """Returns one record."""

    def days(self, site: str) -> Sequence[int]:
        """Returns the UTC days for which the site has hits, ascending."""


class RejectedStore(Protocol):
    """Keeps refused hits and counts them."""

    def put(self, hits: Sequence[RejectedHit]) -> None:
        """Stores refusals, keyed by position and row: storing one twice is storing it once."""

    def counts(self, site: str, day: int) -> Mapping[int, int]:
        """Returns refused hits per cell (start in ms) of the UTC day of collect time (rule D5), of cells with any."""

    def recent(self, site: str, limit: int) -> Sequence[RejectedHit]:
        """Returns the newest refusals of a site, newest first."""

    def drop_bytes(self, older_than_ms: int) -> int:
        """Empty `original` of refusals collected before a time; they still count. Returns how many were emptied here.

        A store whose server forgets by itself does nothing.
        """
