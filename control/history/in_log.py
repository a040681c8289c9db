"""Count the missing hits that the log still has. At most a given number of records is read."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
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
    """A site-day whose raw hits are incomplete: how many are missing, and which exist."""

    missing: int
    there: RawHits
    read_through: Mapping[PartitionId, int]


def missing_hits(
    log: LogScan,
    partitions: Collection[PartitionId],
    incomplete: Mapping[SiteDay, Incomplete],
    max_records: int,
    checkpoint: Checkpoint,
) -> Mapping[SiteDay, MissingHits]:
    """Return how many hits each site-day lacks, and how many of them are in records of the log that are not raw.

    Args:
        log: the log.
        partitions: the partitions of the current log of hits.
        incomplete: the site-days.
        max_records: how many records are read at most.
        checkpoint: called for each record.
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
            if _is_missing(record.position, incomplete[site_day]):
                in_log[site_day] += hits
    is_whole = next(records, None) is None
    return {
        site_day: MissingHits(each.missing, min(in_log[site_day], each.missing) if is_whole else None)
        for site_day, each in incomplete.items()
    }


def _records(
    log: LogScan, partitions: Collection[PartitionId], incomplete: Mapping[SiteDay, Incomplete]
) -> Iterator[LoggedRecord]:
    """Yield the retained records that can have hits of the site-days, and that their generations have read."""
    # A hit's event time is ahead of the record's log time by less than a day (rule T2).
    first_time = min(site_day.day for site_day in incomplete) * DAY_MS - MAX_AHEAD_MS
    for partition in sorted(partitions):
        end = max(each.read_through.get(partition, 0) for each in incomplete.values())
        yield from log.read(partition, log.offset_at(partition, first_time), end)


def _is_missing(position: Position, of: Incomplete) -> bool:
    partition = PartitionId(position.log, position.partition)
    return position.offset < of.read_through.get(partition, 0) and position not in of.there.log_times
