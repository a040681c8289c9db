"""Check a page of settled site-days against the ledger and across stores. Reads only.

The order of reads makes a hit in transit between two stores harmless: first the stream's ledger, then the dirty marks,
then the generations. A site-day that was published again during the check is checked again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
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
from hitmesh.model.positions import Topic
from hitmesh.model.rows.raw_hits import RawHits, raw_hits
from hitmesh.model.sites import SiteDay
from hitmesh.model.stored import SETTLED_CURE, opened
from hitmesh.ports import Clock

_ATTEMPTS: Final = 3
_UNSEALED_CARRY: Final = b"HMC1"


@dataclass(frozen=True, slots=True)
class CheckLimits:
    """The limits of a page.

    Attributes:
        site_days: maximum number of site-days.
        sites: maximum number of sites that are examined.
        rows: approximate maximum number of raw hits that are read, those of other sites in the same records included.
        log_records: maximum number of records of the log that are read.
        page_ms: no further site-day is begun after this time.
    """

    site_days: int = 100
    sites: int = 1_000
    rows: int = 2_000_000
    log_records: int = 2_000
    page_ms: int = 10_000


@dataclass(frozen=True, slots=True)
class CheckedPage:
    """A page: the number of checked site-days and of their accepted hits, the problems, and the last site-day.

    `last` is None if no site-days follow.
    """

    site_days: int
    hits: int
    problems: tuple[Problem, ...]
    last: SiteDay | None


@dataclass(frozen=True, slots=True)
class _Settled:
    """A settled site-day, as read before its values are compared."""

    site_day: SiteDay
    entry: GenerationEntry
    ledger: LedgerEntry
    expected: ExpectedHits


@dataclass(frozen=True, slots=True)
class _Found:
    """The findings of a site-day, and its raw hits."""

    settled: _Settled
    findings: tuple[Finding, ...]
    raw: RawHits


def check_page(
    books: Bookkeeping,
    clock: Clock,
    sites: Iterator[str],
    after: SiteDay | None,
    days: tuple[int, int],
    limits: CheckLimits,
    checkpoint: Checkpoint,
) -> CheckedPage:
    """Check the next site-days.

    Args:
        books: the stores.
        clock: times the page.
        sites: the sites in name order, from the site of `after` on.
        after: the last site-day of the page before; None for the first page.
        days: first day, and the day after the last day.
        limits: the limits of the page.
        checkpoint: called between reads.

    Raises:
        StoreCorrupt: a site's generations, ledger or dirty marks are damaged.
        Unavailable: a store does not answer.
        Abandoned: raised by the checkpoint.
    """
    ends_at = clock.now() + limits.page_ms
    wanted, following = _wanted(books, sites, after, days, limits, checkpoint)
    sums = metric_sums(books.metrics, {each.site_day: each.entry.generation for each in wanted}, checkpoint)
    found: list[_Found] = []
    rows = 0
    for each in wanted:
        if found and (rows > limits.rows or clock.now() > ends_at):
            following = found[-1].settled.site_day
            break
        found.append(_unless_settled_since(books, _checked(books, each, sums[each.site_day], checkpoint), checkpoint))
        rows += found[-1].raw.rows
    missing = _missing(books, found, limits.log_records, checkpoint)
    return CheckedPage(
        len(found),
        sum(each.settled.ledger.accepted for each in found),
        tuple(
            Problem(each.settled.site_day, each.findings, missing.get(each.settled.site_day, MissingHits()))
            for each in found
            if each.findings
        ),
        following,
    )


def _wanted(
    books: Bookkeeping,
    sites: Iterator[str],
    after: SiteDay | None,
    days: tuple[int, int],
    limits: CheckLimits,
    checkpoint: Checkpoint,
) -> tuple[list[_Settled], SiteDay | None]:
    """Return the page's site-days, and the site-day after which the next page begins; None if none follow."""
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
        looked_at += not is_begun  # so that a page with this limit always continues beyond the page before
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


def _unless_settled_since(books: Bookkeeping, found: _Found, checkpoint: Checkpoint) -> _Found:
    """Check a site-day with findings again, if its entry changed since it was read."""
    site, day = found.settled.site_day
    for _ in range(_ATTEMPTS):
        again = _settled(books, site, day, day + 1, 1) if found.findings else []
        if not again or again[0].entry.sequence == found.settled.entry.sequence:
            return found
        sums = metric_sums(books.metrics, {found.settled.site_day: again[0].entry.generation}, checkpoint)
        found = _checked(books, again[0], sums[found.settled.site_day], checkpoint)
    return found


def _checked(books: Bookkeeping, settled: _Settled, metrics: Sums | str, checkpoint: Checkpoint) -> _Found:
    checkpoint()
    site, day = settled.site_day
    records = books.raw.salvage(site, day, day + 1, settled.entry.read_through)
    raw = raw_hits(records, settled.site_day, checkpoint)
    first = "/".join(map(str, raw.damaged[0])) if raw.damaged else ""
    findings = [
        *raw_findings(settled.expected, raw.count, len(raw.damaged), first),
        *ledger_findings(settled.expected, settled.ledger),
        *_stored_findings(books, settled, metrics),
        *_carry_findings(books, settled.site_day),
    ]
    return _Found(settled, tuple(findings), raw)


def _stored_findings(books: Bookkeeping, settled: _Settled, metrics: Sums | str) -> Iterator[Finding]:
    """Yield how series and metric store differ from the ledger; if the series agrees, how the two differ."""
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
        each.settled.site_day: Incomplete(missing, each.raw, each.settled.entry.read_through)
        for each in found
        if (missing := each.settled.expected.missing(each.raw.count))
    }
    partitions = books.progress.progress(Topic.HITS) if incomplete else {}
    return missing_hits(books.log_scan, partitions, incomplete, max_records, checkpoint)


def _by_day(marks: Iterable[DirtyMark]) -> Mapping[int, list[DirtyMark]]:
    found: dict[int, list[DirtyMark]] = {}
    for mark in marks:
        found.setdefault(mark.site_day.day, []).append(mark)
    return found
