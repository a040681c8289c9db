"""The raw hits that a settled site-day must have according to its ledger entry and the stream's ledger (rule D5). Pure.

The ledger entry and the stream's ledger are independent of each other. Settlement counts the raw hits that it reads;
the stream counts the hits that it takes from the log. If either ledger has more hits than the raw store, raw hits are
missing. There is an exception: if the raw hits equal the hits in the stream's ledger, the site-day's ledger entry is
damaged, and no hit is missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hitmesh.model.counts import Count
from hitmesh.model.generations import DirtyMark, GenerationEntry, LedgerEntry
from hitmesh.model.ledger import LedgerClass, LedgerKind
from hitmesh.model.positions import PartitionId

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True, slots=True)
class ExpectedHits:
    """The accepted hits that a settled site-day must have, among the log records that its settlement has read.

    Attributes:
        settled: the hits in the ledger entry.
        streamed: the hits in the stream's ledger, without the hits that wait for the next settlement.
    """

    settled: Count
    streamed: Count

    def is_complete(self, found: Count) -> bool:
        """Return whether no expected hit is missing in `found`, and no expected hit was replaced by another hit.

        Example:
            >>> expected = ExpectedHits(settled=Count(5, 50, 1), streamed=Count(5, 50, 1))
            >>> expected.is_complete(Count(5, 50, 1)), expected.is_complete(Count(5, 51, 1))
            (True, False)
        """
        is_other = found.hits == self.settled.hits and found not in (self.settled, self.streamed)
        return not self.missing(found) and not is_other

    def missing(self, found: Count) -> int:
        """Return the number of missing raw hits.

        Example:
            >>> expected = ExpectedHits(settled=Count(5, 50, 1), streamed=Count(6, 60, 2))
            >>> expected.missing(Count(4, 40, 3)), expected.missing(Count(6, 60, 2))
            (2, 0)
        """
        if found == self.streamed and found.hits:  # stores from early versions have no ledger for the stream
            return 0
        return max(0, self.settled.hits - found.hits, self.streamed.hits - found.hits)


def expected_hits(
    entry: GenerationEntry, ledger: LedgerEntry, streamed: Count, marks: Iterable[DirtyMark]
) -> ExpectedHits:
    """Return the hits that a site-day must have.

    Args:
        entry: the current generation.
        ledger: this generation's ledger entry.
        streamed: the accepted hits in the stream's ledger (`accepted_by_day`).
        marks: the dirty marks of the site-day; a mark beyond the entry's offsets stands for hits that wait for
            settlement.

    Example:
        >>> entry = GenerationEntry(sequence=1, generation=1, logic_version=2, read_through={}, published_at=0)
        >>> expected_hits(entry, LedgerEntry(5, 5, 0, 0, 50, 1), Count(5, 50, 1), []).settled
        Count(hits=5, sum64=50, xor64=1)
    """
    waiting = Count()
    for mark in marks:
        partition = PartitionId(mark.position.log, mark.position.partition)
        if mark.position.offset >= entry.read_through.get(partition, 0):
            waiting += Count(mark.hits, mark.sum64, mark.xor64)
    return ExpectedHits(Count(ledger.accepted, ledger.sum64, ledger.xor64), streamed - waiting)


def accepted_by_day(sums: pl.DataFrame) -> Mapping[int, Count]:
    """Return the accepted hits by UTC day in a site's LEDGER_SUMS.

    Example:
        >>> import polars as pl
        >>> names = ("kind", "at", "class", "hits", "sum64", "xor64")
        >>> accepted_by_day(pl.DataFrame([("day", 20_000, "accepted", 5, 50, 1)], schema=names, orient="row"))
        {20000: Count(hits=5, sum64=50, xor64=1)}
    """
    rows = sums.select("kind", "at", "class", "hits", "sum64", "xor64").iter_rows()
    return {
        at: Count(hits, sum64, xor64)
        for kind, at, name, hits, sum64, xor64 in rows
        if (kind, name) == (LedgerKind.DAY, LedgerClass.ACCEPTED)
    }
