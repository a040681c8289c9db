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
        missing: the number of hits that are missing.
        there: the raw hits that this page found in the raw store, in records after the position `after`.
        read_through: per partition, the position up to which the site-day's generation has read the log.
        after: the position of the last raw record that an earlier page read; None if this page read all raw records.
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
    """Return each site-day's number of missing hits, and the number of missing hits that the log still has.

    Args:
        log: the log.
        partitions: the partitions of the current log of hits.
        incomplete: the site-days whose raw hits are incomplete.
        max_records: maximum number of log records that are read.
        checkpoint: called for each record.
        is_stored: returns whether the raw store has a readable record for a log position; called only for positions up
            to `Incomplete.after`, which an earlier page has read.
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
    """Yield the retained log records that may contain hits of the site-days, up to the positions in `read_through`."""
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
