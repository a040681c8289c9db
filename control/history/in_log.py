"""Count the missing hits that the log still has. The search reads at most a given number of log records."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

from control.history.problems import MissingHits
from hitmesh.model.checkpoints import Checkpoint
from hitmesh.model.limits import MAX_AHEAD_MS
from hitmesh.model.positions import PartitionId, Position
from hitmesh.model.records import LoggedRecord, RecordKind
from hitmesh.model.rows.raw_hits import RawHits, site_days_in
from hitmesh.model.sites import SiteDay
from hitmesh.model.zones import DAY_MS
from hitmesh.ports import LogScan


@dataclass(frozen=True, slots=True)
class Incomplete:
    """A site-day whose raw hits are incomplete.

    Attributes:
        missing: how many hits are missing.
        there: the raw hits that the raw store has, from records beyond `after`.
        read_through: the positions that the site-day's generation has read.
        after: the position up to which earlier pages read the raw records; None if this page read all raw records.
    """

    missing: int
    there: RawHits
    read_through: Mapping[PartitionId, int]
    after: Position | None = None


def missing_hits(
    log: LogScan,
    partitions: Collection[PartitionId],
    incomplete: Mapping[SiteDay, Incomplete],
    max_records: int,
    checkpoint: Checkpoint,
    is_stored: Callable[[Position], bool],
) -> Mapping[SiteDay, MissingHits]:
    """Return how many hits each site-day lacks, and how many of the missing hits the log still has.

    Args:
        log: the log.
        partitions: the partitions of the current log of hits.
        incomplete: the site-days whose raw hits are incomplete.
        max_records: maximum number of log records that are read.
        checkpoint: called for each record.
        is_stored: returns whether the raw record at a position is readable; called for positions of earlier pages.
    """
    if not incomplete:
        return {}
    in_log = dict.fromkeys(incomplete, 0)
    records = _records(log, partitions, incomplete)
    for record in islice(records, max_records):
        checkpoint()
        if record.record.kind != RecordKind.HITS:
            continue
        for site_day, hits in site_days_in(record.record.value, incomplete).items():
            if _is_missing(record.position, incomplete[site_day], is_stored):
                in_log[site_day] += hits
    is_whole = next(records, None) is None
    return {
        site_day: MissingHits(each.missing, min(in_log[site_day], each.missing) if is_whole else None)
        for site_day, each in incomplete.items()
    }


def _records(
    log: LogScan, partitions: Collection[PartitionId], incomplete: Mapping[SiteDay, Incomplete]
) -> Iterator[LoggedRecord]:
    """Yield retained log records that may have hits of the site-days and that the site-days' generations have read."""
    # A hit's event time is less than a day ahead of the record's log time (rule T2).
    first_time = min(site_day.day for site_day in incomplete) * DAY_MS - MAX_AHEAD_MS
    for partition in sorted(partitions):
        end = max(each.read_through.get(partition, 0) for each in incomplete.values())
        yield from log.read(partition, log.offset_at(partition, first_time), end)


def _is_missing(position: Position, of: Incomplete, is_stored: Callable[[Position], bool]) -> bool:
    partition = PartitionId(position.log, position.partition)
    if position.offset >= of.read_through.get(partition, 0) or position in of.there.log_times:
        return False
    return of.after is None or position > of.after or not is_stored(position)
