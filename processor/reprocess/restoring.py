"""Restores raw records that the raw store has lost but the log still has. Restoring is the first stage of a repair.

First, the raw hits on each site-day and on both neighbouring days are counted. The counts are compared with the
stream's ledger and with the settled day's ledger entry (hitmesh.model.expected_hits). The log is read only if hits are
missing. Hits that are missing in the log too are lost. A site-day keeps its published generation if the recomputation
would have fewer hits than the site-day's ledger entry.

Like the lost records, restored records contain blank rows where hits were erased. Blank rows count as raw hits,
because the stream's ledger and the settled ledger entry count blank rows too.

The work is done in portions, and is idempotent. After a crash, the next process begins from the start.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from hitmesh.model.counts import Count
from hitmesh.model.days import date_text
from hitmesh.model.expected_hits import ExpectedHits, accepted_by_day, expected_hits
from hitmesh.model.generations import DirtyMark
from hitmesh.model.limits import MAX_AHEAD_MS
from hitmesh.model.positions import PartitionId, Position, Topic
from hitmesh.model.records import LoggedRecord, RecordKind
from hitmesh.model.reprocessings import (
    MAX_LOST_NAMED,
    MAX_RESTORED_NAMED,
    LostHits,
    RawRepair,
    Reprocessing,
    RestoredRecord,
)
from hitmesh.model.rows.raw_hits import RawHits, raw_hits, site_days_in
from hitmesh.model.sites import SiteDay
from hitmesh.model.zones import DAY_MS
from hitmesh.ports import Clock
from hitmesh.runtime.logs import logger
from processor.erase.known import KnownErasures
from processor.reprocess.pace import ReprocessPace
from processor.settle.stores import SettlerStores
from processor.stream.intake import take_in

_NOTHING: Final = RawRepair()


@dataclass(frozen=True, slots=True)
class _Examined:
    """A site-day whose raw hits are incomplete."""

    expected: ExpectedHits
    read_through: Mapping[PartitionId, int]
    found: RawHits


@dataclass(frozen=True, slots=True)
class _SiteLedger:
    """A site's accepted hits according to the stream's ledger, by UTC day.

    The site's dirty marks (`marks`) were read after the ledger.
    """

    site: str
    streamed: Mapping[int, Count]
    marks: Sequence[DirtyMark]


@dataclass(slots=True)
class _Progress:
    """A repair's progress: site-days to examine, incomplete site-days, unread log records, and findings."""

    id: str
    to_examine: Iterator[SiteDay]
    incomplete: dict[SiteDay, _Examined] = field(default_factory=dict)
    is_examined: bool = False
    log: Iterator[Sequence[LoggedRecord]] | None = None
    reached: dict[PartitionId, int] = field(default_factory=dict)
    kept: set[SiteDay] = field(default_factory=set)
    repair: RawRepair = _NOTHING
    is_done: bool = False


class Restoring:
    """Restores raw records. An instance must be used by one thread only."""

    def __init__(self, stores: SettlerStores, clock: Clock, pace: ReprocessPace) -> None:
        self._stores = stores
        self._pace = pace
        self._erased = KnownErasures(stores.erasures, stores.directory, clock, refresh_ms=0)
        self._progress: _Progress | None = None
        self._site: _SiteLedger | None = None

    def forget(self) -> None:
        """Forget the progress, so that the next `advance` call begins from the start."""
        self._progress = None

    def repair_of(self, reprocessing: Reprocessing) -> RawRepair | None:
        """Return the findings so far: the lost hits, and the restored records."""
        in_hand = self._progress
        return in_hand.repair if in_hand and in_hand.id == reprocessing.id else reprocessing.raw_repair

    def keep(self, site_day: SiteDay) -> None:
        """Record that a site-day cannot be recomputed because raw hits that the recomputation needs are damaged."""
        if self._progress is not None:
            self._note_lost(self._progress, LostHits(site_day, 0, kept=True))

    def advance(self, reprocessing: Reprocessing, is_over: Callable[[], bool]) -> frozenset[SiteDay] | None:
        """Restore raw records until the work portion is over.

        If the work is finished, return the site-days that must not be recomputed; otherwise, return None.
        """
        this = self._progress
        if this is None or this.id != reprocessing.id:
            this = self._progress = self._begun(reprocessing)
        is_begun = False
        while not this.is_done:
            if is_begun and is_over():
                return None
            is_begun = True
            self._step(this, reprocessing)
        return frozenset(this.kept)

    def _begun(self, reprocessing: Reprocessing) -> _Progress:
        """Return the progress with which a repair begins.

        The count of restored records includes the records that an earlier process restored. The count of lost hits
        begins at 0.
        """
        before = reprocessing.raw_repair or _NOTHING
        unreadable = tuple(each for each in before.named if not each.hits)
        self._site = None
        return _Progress(
            reprocessing.id,
            self._site_days(reprocessing),
            repair=replace(before, lost_hits=0, lost_site_days=len(unreadable), named=unreadable),
        )

    def _step(self, this: _Progress, reprocessing: Reprocessing) -> None:
        """Do one repair step.

        A step examines a site-day, reads some records of the log, or counts the lost hits of the incomplete site-days.
        """
        positions = sum(len(each.found.log_times) for each in this.incomplete.values())
        if this.log is None and not this.is_examined and positions <= self._pace.examined_positions:
            self._examine_next(this)
        elif not this.incomplete:
            this.is_done = True
        else:
            this.log = this.log or self._log(this.incomplete)
            records = next(this.log, None)
            if records is None:
                self._conclude(this, reprocessing)
            else:
                self._restore(this, records)

    # ------------------------------------------------------------------------------------------------------- examine

    def _site_days(self, reprocessing: Reprocessing) -> Iterator[SiteDay]:
        """Yield the plan's settled site-days and their neighbouring days, which a recomputation reads too."""
        for site in sorted(reprocessing.sites):
            days = self._stores.generations.current(site, reprocessing.first_day - 1, reprocessing.end_day + 1)
            yield from (SiteDay(site, day) for day in sorted(days))

    def _examine_next(self, this: _Progress) -> None:
        site_day = next(this.to_examine, None)
        if site_day is None:
            this.is_examined = True
        elif (examined := self._incomplete(site_day)) is not None:
            this.incomplete[site_day] = examined

    def _incomplete(self, site_day: SiteDay) -> _Examined | None:
        """If raw hits of a site-day are missing or damaged, repair the raw store's index for the site-day.

        If hits are still missing or damaged, return the findings; otherwise, return None.
        """
        if self._examined(site_day) is None:
            return None
        self._stores.raw.mend_index(site_day)
        return self._examined(site_day)

    def _examined(self, site_day: SiteDay) -> _Examined | None:
        """Count a site-day's raw hits. Return None if no raw hit is missing.

        The stream's ledger is read first, then the dirty marks, then the generation. If a hit is stored between the
        reads, the order of the reads ensures that the hit is not taken for a missing hit.
        """
        site, day = site_day
        of_site = self._site_ledger(site)
        entry = self._stores.generations.current(site, day, day + 1).get(day)
        ledger = self._stores.generations.ledger(site, day, day + 1).get(day)
        if entry is None or ledger is None:
            return None
        marks = [mark for mark in of_site.marks if mark.site_day == site_day]
        expected = expected_hits(entry, ledger, of_site.streamed.get(day, Count()), marks)
        found = raw_hits(self._stores.raw.salvage(site, day, day + 1, entry.read_through), site_day)
        is_whole = expected.is_complete(found.count) and not found.damaged
        return None if is_whole else _Examined(expected, entry.read_through, found)

    def _site_ledger(self, site: str) -> _SiteLedger:
        """Return a site's ledger in the stream and its dirty marks.

        Ledger and marks are read once for all the site's site-days.
        """
        if self._site is None or self._site.site != site:
            streamed = accepted_by_day(self._stores.ledger.read(site))
            self._site = _SiteLedger(site, streamed, self._stores.dirty.marks(site))
        return self._site

    # ------------------------------------------------------------------------------------------------------- restore

    def _log(self, incomplete: Mapping[SiteDay, _Examined]) -> Iterator[Sequence[LoggedRecord]]:
        """Yield the log's records that may have hits of the incomplete site-days, some records at a time."""
        # A hit's event time is at most a day ahead of its record's log time (rule T2), so earlier records need not be
        # read.
        first_time = min(site_day.day for site_day in incomplete) * DAY_MS - MAX_AHEAD_MS
        for partition, progress in sorted(self._stores.progress.progress(Topic.HITS).items()):
            offset, log_time = self._stores.log_scan.offset_at(partition, first_time), 0
            while offset < progress.next_offset:
                end = min(offset + self._pace.log_records, progress.next_offset)
                records = list(self._stores.log_scan.read(partition, offset, end, log_time))
                offset, log_time = end, records[-1].log_time if records else log_time
                yield records

    def _restore(self, this: _Progress, records: Sequence[LoggedRecord]) -> None:
        """Store the records that the raw store has lost or damaged.

        The restored records' claims may also be lost, so the claims are stored as well. Each call first reads the
        erasure marks again, so that all erased visitors' hits become blank.
        """
        lost: list[LoggedRecord] = []
        for record in records:
            if record.record.kind == RecordKind.HITS and (among := site_days_in(record.record.value, this.incomplete)):
                found = [this.incomplete[site_day].found for site_day in among]
                partition = PartitionId(record.position.log, record.position.partition)
                known = max(each.log_times.get(record.position, 0) for each in found)
                at = this.reached[partition] = max(this.reached.get(partition, 0), record.log_time, known)
                if any(record.position not in each.log_times for each in found):
                    lost.append(replace(record, log_time=known or at))
        if not lost:
            return
        self._erased.refresh()
        intake = take_in(lost, self._erased.visitors)
        self._stores.raw.restore(intake.raw)
        self._stores.claims.claim(intake.claims)
        self._stores.claims.note_refunds(sorted(intake.refunds))
        self._note_restored(this, [RestoredRecord(record.position, record.rows) for record in intake.raw])
        logger().info("raw_records_restored", id=this.id, records=len(intake.raw), first=str(_first(lost)))

    def _note_restored(self, this: _Progress, records: Sequence[RestoredRecord]) -> None:
        known = set(this.repair.restored)
        further = [record for record in records if record not in known]
        this.repair = replace(
            this.repair,
            restored_records=this.repair.restored_records + len(further),
            restored_hits=this.repair.restored_hits + sum(record.hits for record in further),
            restored=(*this.repair.restored, *further)[:MAX_RESTORED_NAMED],
        )

    # ------------------------------------------------------------------------------------------------------ conclude

    def _conclude(self, this: _Progress, reprocessing: Reprocessing) -> None:
        """Count the incomplete site-days' lost hits, so that the next step examines further site-days."""
        self._site = None
        for site_day in sorted(this.incomplete):
            still = self._examined(site_day)
            missing = still.expected.missing(still.found.count) if still else 0
            if still is None or not missing or not reprocessing.first_day <= site_day.day < reprocessing.end_day:
                continue
            is_kept = still.found.count.hits < still.expected.settled.hits
            if is_kept:
                this.kept.add(site_day)
            self._note_lost(this, LostHits(site_day, missing, is_kept))
        this.incomplete, this.log = {}, None

    def _note_lost(self, this: _Progress, lost: LostHits) -> None:
        site, day = lost.site_day
        if any(each.site_day == lost.site_day for each in this.repair.named):
            return
        logger().error("hits_are_lost", id=this.id, site=site, date=date_text(day), hits=lost.hits, kept=lost.kept)
        this.repair = replace(
            this.repair,
            lost_hits=this.repair.lost_hits + lost.hits,
            lost_site_days=this.repair.lost_site_days + 1,
            named=(*this.repair.named, lost)[:MAX_LOST_NAMED],
        )


def _first(records: Sequence[LoggedRecord]) -> Position:
    return records[0].position
