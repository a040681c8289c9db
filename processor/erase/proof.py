"""Searches for an erased visitor in all stores that can contain the visitor's key (kind ERASE).

Raw records are searched in another stage, because reading raw records takes long. The log is not searched. If the log
consists of files, blanking has already removed the hits from all log records. If the log is a Kafka topic, the records
are kept until the time that the receipt states.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from hitmesh.model.generations import SETTLEMENT_LOG, MarkRange
from hitmesh.model.logic import LOGICS
from hitmesh.model.positions import Topic
from hitmesh.model.sites import SiteDay
from hitmesh.ports import Reprocessings
from processor.erase.carries import cleaned, rebuilt_of_site, without_visitors
from processor.erase.purge import tables_with_erased
from processor.erase.visitors import ErasedVisitors
from processor.settle.stores import SettlerStores
from processor.stream.live.snapshot import joined, unpacked


@dataclass(frozen=True, slots=True)
class Look:
    """The result from searching the stores for an erased visitor.

    Attributes:
        left: the reason why the erasure is not complete; empty if the erasure is complete.
        scanned: how many values were read from each store.
    """

    left: str
    scanned: Mapping[str, int]


class Proof:
    """Searches the stores for an erased visitor.

    The search changes nothing in the stores, with one exception: it retires replaced generations that are still kept.
    """

    def __init__(self, stores: SettlerStores, reprocessings: Reprocessings) -> None:
        self._stores = stores
        self._reprocessings = reprocessings

    def look(self, site: str, visitors: ErasedVisitors, days: Iterable[int], now: int) -> Look:
        """Search all stores except raw records and the log for the visitor's values on the given days."""
        days = sorted(days)
        kept = [day for day in with_following(days) if self._stores.generations.retire(SiteDay(site, day), now)]
        if kept:
            return Look(f"replaced generations of {len(kept)} days are kept until no query reads them", {})
        waiting = [entry for entry in self._stores.dirty.pending(site) if _is_by_settlement(entry.marks)]
        if waiting:
            return Look(f"{len(waiting)} days wait to be settled again", {})
        snapshots, held = self._snapshots(visitors)
        if held:
            return Look(f"snapshots of {held} partitions still contain the visitor", {})
        near = sorted({day + step for day in days for step in (-1, 0, 1)})
        carries = [carry for day in near if (carry := self._stores.generations.carry(SiteDay(site, day))) is not None]
        if any(without_visitors(carry, site, visitors) != carry for carry in carries):
            return Look("a published carry still contains the visitor", {})
        rebuilt = 0
        for _, each in rebuilt_of_site(self._reprocessings, site):
            rebuilt += 1
            if cleaned(each, visitors) != each:
                return Look("a recomputed site-day still contains the visitor", {})
        return Look("", {"snapshots": snapshots, "carries": len(carries) + 2 * rebuilt})

    def _snapshots(self, visitors: ErasedVisitors) -> tuple[int, int]:
        """Return two numbers: how many snapshots were read, and how many of them contain the visitor."""
        count = held = 0
        table = self._stores.streams.read()
        streams = {*table.generations(), *(gone.generation for gone in table.gone)}
        for stream in sorted(streams):
            states = self._stores.stream(stream, is_shadow=False).states
            for partition in self._stores.progress.progress(Topic.HITS):
                for logic in LOGICS:
                    found = states.load(partition, logic.number)
                    if found is not None:
                        count += 1
                        held += tables_with_erased(unpacked(joined(found[1])), visitors)
        return count, held


def with_following(days: Iterable[int]) -> list[int]:
    """Return the given days, and the day after each given day.

    The following day is included, because the following day's replaced generations used the carry from the given day.

    Example:
        >>> with_following([1, 2, 9])
        [1, 2, 3, 9, 10]
    """
    return sorted({day + step for day in days for step in (0, 1)})


def _is_by_settlement(marks: Sequence[MarkRange]) -> bool:
    return any(mark_range.partition.log == SETTLEMENT_LOG for mark_range in marks)
