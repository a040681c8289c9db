"""Check a page of settled site-days against the ledger and across stores. Reads only.

The stream's ledger is read first, then the dirty marks, then the generations, so that a hit in transit between two
stores does not appear as missing. If a site-day with findings was published again during the check, the site-day is
checked again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

from control.backend import Bookkeeping
from control.history.in_log import Incomplete, missing_hits
from control.history.problems import (
    Finding,
    MissingHits,
    Part,
    Problem,
    damaged,
    different,
    ledger_findings,
    of_ledger,
    raw_findings,
)
from control.history.stored_sums import Sums, metric_sums, series_sums
from hitmesh.model.checkpoints import Checkpoint
from hitmesh.model.counts import Count
from hitmesh.model.errors import StoreCorrupt
from hitmesh.model.expected_hits import ExpectedHits, accepted_by_day, expected_hits
from hitmesh.model.generations import DirtyMark, GenerationEntry, LedgerEntry
from hitmesh.model.positions import Position, Topic
from hitmesh.model.rows.raw_hits import RawHits, is_readable, raw_hits
from hitmesh.model.sites import SiteDay
from hitmesh.model.stored import SETTLED_CURE, opened
from hitmesh.ports import Clock, RawStore

_ATTEMPTS: Final = 3
_UNSEALED_CARRY: Final = b"HMC1"


@dataclass(frozen=True, slots=True)
class CheckLimits:
    """The limits for a page of a history check.

    Attributes:
        site_days: maximum number of site-days.
        sites: maximum number of sites that are examined.
        rows: approximate maximum number of raw hits that are read, including other sites' hits in the same records.
        log_records: maximum number of log records that are read.
        page_ms: time limit in ms; after this time, the page reads nothing more.
    """

    site_days: int = 100
    sites: int = 1_000
    rows: int = 2_000_000
    log_records: int = 2_000
    page_ms: int = 10_000


@dataclass(frozen=True, slots=True)
class Begun:
    """A site-day whose raw hits are read over several pages.

    Attributes:
        site_day: the site-day.
        sequence: the number of the generation entry when reading began.
        attempt: how often reading restarted from the first raw record, because the generation entry had changed.
        after: the position of the last raw record that has been read; None before the first record.
        count: number and checksums of the site-day's hits in the records that have been read.
        damaged: the number of unreadable records so far.
        first_damaged: the first unreadable record's position as a text.
    """

    site_day: SiteDay
    sequence: int
    attempt: int = 0
    after: Position | None = None
    count: Count = field(default_factory=Count)
    damaged: int = 0
    first_damaged: str = ""


@dataclass(frozen=True, slots=True)
class CheckedPage:
    """A page of a history check.

    Attributes:
        site_days: the number of checked site-days.
        hits: the number of accepted hits on the checked site-days.
        rows: the number of raw hits that were read, including other sites' hits in the same records.
        problems: the site-days whose stored values do not add up.
        last: the last checked site-day, after which the next page begins; None if no site-days follow.
        begun: the site-day after `last`, if only some raw hits of this site-day were read.
    """

    site_days: int
    hits: int
    rows: int
    problems: tuple[Problem, ...]
    last: SiteDay | None
    begun: Begun | None = None


@dataclass(frozen=True, slots=True)
class _Settled:
    """The generation entry and the ledgers of a settled site-day.

    The check compares every other stored value of the site-day with the generation entry and the ledgers.
    """

    site_day: SiteDay
    entry: GenerationEntry
    ledger: LedgerEntry
    expected: ExpectedHits


@dataclass(frozen=True, slots=True)
class _Found:
    """The findings of a site-day, the count of the site-day's raw hits, and the raw hits that this page read.

    This page read the raw records after the position `after`.
    """

    settled: _Settled
    findings: tuple[Finding, ...]
    count: Count
    raw: RawHits
    after: Position | None


class _Budget:
    """The number of raw hits that a page may still read, and the time that remains for the page. Not thread-safe."""

    def __init__(self, clock: Clock, limits: CheckLimits) -> None:
        self._clock = clock
        self._ends_at = clock.now() + limits.page_ms
        self._max_rows = limits.rows
        self.rows = 0

    def is_over(self, further: int = 0) -> bool:
        """Return whether the page's time has passed, or `further` raw hits would exceed the page's limit."""
        return self.rows + further > self._max_rows or self._clock.now() > self._ends_at


def check_page(
    books: Bookkeeping,
    clock: Clock,
    sites: Iterator[str],
    after: SiteDay | None,
    days: tuple[int, int],
    limits: CheckLimits,
    checkpoint: Checkpoint,
    begun: Begun | None = None,
) -> CheckedPage:
    """Check the next site-days. If reading a site-day's raw hits takes too long, the page ends within this site-day.

    Args:
        books: the stores.
        clock: measures the page's duration.
        sites: the sites in name order, beginning with the site of `after`.
        after: the previous page's last site-day; None for the first page.
        days: the first day of the range, and the day after the range.
        limits: the limits of the page.
        checkpoint: called between reads.
        begun: the site-day within which the previous page ended.

    Raises:
        StoreCorrupt: a site's generations, ledger or dirty marks are damaged.
        Unavailable: a store does not answer.
        Abandoned: the caller left or the deadline passed.
    """
    budget = _Budget(clock, limits)
    wanted, following = _wanted(books, sites, after, days, limits, checkpoint)
    sums = metric_sums(books.metrics, {each.site_day: each.entry.generation for each in wanted}, checkpoint)
    found: list[_Found] = []
    for each in wanted:
        if found and budget.is_over():
            return _page(books, found, budget, limits, checkpoint, found[-1].settled.site_day)
        of_day = begun if begun is not None and begun.site_day == each.site_day else None
        checked = _checked(books, each, sums[each.site_day], checkpoint, budget, of_day)
        if isinstance(checked, _Found):
            checked = _unless_settled_since(books, checked, checkpoint, budget)
        if isinstance(checked, Begun):
            site, day = checked.site_day
            return _page(books, found, budget, limits, checkpoint, SiteDay(site, day - 1), checked)
        found.append(checked)
    return _page(books, found, budget, limits, checkpoint, following)


def _page(
    books: Bookkeeping,
    found: Sequence[_Found],
    budget: _Budget,
    limits: CheckLimits,
    checkpoint: Checkpoint,
    last: SiteDay | None,
    begun: Begun | None = None,
) -> CheckedPage:
    missing = _missing(books, found, limits.log_records, checkpoint)
    return CheckedPage(
        len(found),
        sum(each.settled.ledger.accepted for each in found),
        budget.rows,
        tuple(
            Problem(each.settled.site_day, each.findings, missing.get(each.settled.site_day, MissingHits()))
            for each in found
            if each.findings
        ),
        last,
        begun,
    )


def _wanted(
    books: Bookkeeping,
    sites: Iterator[str],
    after: SiteDay | None,
    days: tuple[int, int],
    limits: CheckLimits,
    checkpoint: Checkpoint,
) -> tuple[list[_Settled], SiteDay | None]:
    """Return the page's site-days, and the site-day after which the next page begins.

    If no site-days follow, the second item of the result is None.
    """
    found: list[_Settled] = []
    last: SiteDay | None = None
    first_day, end_day = days
    looked_at = 0
    for site in sites:
        checkpoint()
        if looked_at == limits.sites or len(found) == limits.site_days:
            return found, last
        is_begun = after is not None and after.site == site
        begin = max(first_day, after.day + 1) if after is not None and is_begun else first_day
        # Do not count the site with which the previous page ended, so that every page makes progress.
        looked_at += not is_begun
        settled = _settled(books, site, begin, end_day, limits.site_days - len(found) + 1)
        room = limits.site_days - len(found)
        found += settled[:room]
        if len(settled) > room:
            return found, found[-1].site_day
        last = SiteDay(site, end_day)
    return found, None


def _settled(books: Bookkeeping, site: str, first_day: int, end_day: int, limit: int) -> list[_Settled]:
    """Return the first settled site-days of a site."""
    known = sorted(books.generations.current(site, first_day, end_day))[:limit]
    if not known:
        return []
    first_day, end_day = known[0], known[-1] + 1
    streamed = accepted_by_day(books.ledger.read(site))
    marks = _by_day(books.dirty.marks(site))
    entries = books.generations.current(site, first_day, end_day)
    ledgers = books.generations.ledger(site, first_day, end_day)
    return [
        _Settled(
            SiteDay(site, day),
            entries[day],
            ledgers[day],
            expected_hits(entries[day], ledgers[day], streamed.get(day, Count()), marks.get(day, ())),
        )
        for day in known
        if day in entries and day in ledgers
    ]


def _unless_settled_since(books: Bookkeeping, found: _Found, checkpoint: Checkpoint, budget: _Budget) -> _Found | Begun:
    """Check the site-day again if there are findings and a new generation was published since the first check."""
    site, day = found.settled.site_day
    for attempt in range(1, _ATTEMPTS + 1):
        again = _settled(books, site, day, day + 1, 1) if found.findings else []
        if not again or again[0].entry.sequence == found.settled.entry.sequence:
            return found
        sums = metric_sums(books.metrics, {found.settled.site_day: again[0].entry.generation}, checkpoint)
        anew = Begun(found.settled.site_day, again[0].entry.sequence, attempt)
        checked = _checked(books, again[0], sums[found.settled.site_day], checkpoint, budget, anew)
        if isinstance(checked, Begun):
            return checked
        found = checked
    return found


def _checked(
    books: Bookkeeping,
    settled: _Settled,
    metrics: Sums | str,
    checkpoint: Checkpoint,
    budget: _Budget,
    begun: Begun | None,
) -> _Found | Begun:
    """Check a site-day, or read only a part of the site-day's raw hits if the page reaches a limit.

    If the generation entry changed between two pages, reading restarts from the first raw record, at most `_ATTEMPTS`
    times.
    """
    checkpoint()
    site, day = settled.site_day
    begun = begun or Begun(settled.site_day, settled.entry.sequence)
    if begun.sequence != settled.entry.sequence and begun.attempt < _ATTEMPTS:
        begun = Begun(settled.site_day, settled.entry.sequence, begun.attempt + 1)
    records = books.raw.salvage(site, day, day + 1, settled.entry.read_through, begun.after)
    raw = raw_hits(records, settled.site_day, checkpoint, budget.is_over)
    budget.rows += raw.rows
    first = "/".join(map(str, raw.damaged[0])) if raw.damaged else ""
    read = replace(
        begun,
        after=raw.through,
        count=begun.count + raw.count,
        damaged=begun.damaged + len(raw.damaged),
        first_damaged=begun.first_damaged or first,
    )
    if raw.through is not None:
        return read
    findings = [
        *raw_findings(settled.expected, read.count, read.damaged, read.first_damaged),
        *ledger_findings(settled.expected, settled.ledger),
        *_stored_findings(books, settled, metrics),
        *_carry_findings(books, settled.site_day),
    ]
    return _Found(settled, tuple(findings), read.count, raw, begun.after)


def _stored_findings(books: Bookkeeping, settled: _Settled, metrics: Sums | str) -> Iterator[Finding]:
    """Yield findings about sums in the series and in the metric store that differ from the ledger.

    If the series agrees with the ledger, the metric store is also compared with the series.
    """
    by_ledger, series = of_ledger(settled.ledger), None
    try:
        series = series_sums(books.series, settled.site_day, settled.entry.generation)
    except StoreCorrupt as error:
        yield damaged(Part.SERIES, error.message)
    of_series = different(Part.SERIES, series, by_ledger) if series is not None else []
    yield from of_series
    if isinstance(metrics, str):
        yield damaged(Part.METRICS, metrics)
        return
    expected = by_ledger if series is None or of_series else {**series, **by_ledger}
    yield from different(Part.METRICS, metrics, expected)


def _carry_findings(books: Bookkeeping, site_day: SiteDay) -> Iterator[Finding]:
    try:
        carry = books.generations.carry(site_day)
        if carry:
            opened(carry, "a carry", SETTLED_CURE, _UNSEALED_CARRY)
    except StoreCorrupt as error:
        yield damaged(Part.CARRY, error.message)


def _missing(
    books: Bookkeeping, found: Sequence[_Found], max_records: int, checkpoint: Checkpoint
) -> Mapping[SiteDay, MissingHits]:
    incomplete = {
        each.settled.site_day: Incomplete(missing, each.raw, each.settled.entry.read_through, each.after)
        for each in found
        if (missing := each.settled.expected.missing(each.count))
    }
    partitions = books.progress.progress(Topic.HITS) if incomplete else {}
    return missing_hits(books.log_scan, partitions, incomplete, max_records, checkpoint, partial(_is_stored, books.raw))


def _is_stored(raw: RawStore, position: Position) -> bool:
    try:
        return is_readable(raw.get(position))
    except StoreCorrupt:
        return False


def _by_day(marks: Iterable[DirtyMark]) -> Mapping[int, list[DirtyMark]]:
    found: dict[int, list[DirtyMark]] = {}
    for mark in marks:
        found.setdefault(mark.site_day.day, []).append(mark)
    return found
