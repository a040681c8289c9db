"""The sites, days, site-days and hits of a plan, within the limits of control.backend.ReprocessingLimits."""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Final, NamedTuple

from control.backend import ReprocessingLimits
from hitmesh.api.control.v1 import reprocessing_pb2 as pb
from hitmesh.model.checkpoints import Checkpoint
from hitmesh.model.closing import first_open_day
from hitmesh.model.days import date_text, day_of
from hitmesh.model.errors import NotFound, RefusedError
from hitmesh.model.names import MERCHANT_PATTERN, SITE_PATTERN
from hitmesh.model.positions import PartitionId, PartitionProgress
from hitmesh.model.reasons import ErrorReason
from hitmesh.model.sites import Site
from hitmesh.ports import Generations, SiteDirectory

ALL_SITES: Final = "merchants/-/sites/-"
_PAGE: Final = 1_000
_SITES_OF_MERCHANT: Final = re.compile(rf"({MERCHANT_PATTERN.pattern})/sites/-")


class Scope(NamedTuple):
    """The sites' full names in ascending order, and the numbers of settled site-days and accepted hits."""

    sites: tuple[str, ...]
    site_days: int
    hits: int


def days_of(wanted: pb.Reprocessing, progress: Mapping[PartitionId, PartitionProgress]) -> tuple[int, int]:
    """Return the days of a requested reprocessing: the first day, and the day after the last day.

    Args:
        wanted: the requested reprocessing.
        progress: the processor's committed progress in the hits topic.

    Raises:
        RefusedError: a date is missing or invalid, the range is empty, or the last day is not closed.
    """
    for field in ("first_utc_date", "last_utc_date"):
        if not wanted.HasField(field):
            raise RefusedError(
                f"{field} is missing: send a UTC day", field=_path(field), reason=ErrorReason.MISSING_FIELD
            )
    first = day_of(_path("first_utc_date"), wanted.first_utc_date)
    last = day_of(_path("last_utc_date"), wanted.last_utc_date)
    if first > last:
        raise RefusedError(
            f"first_utc_date {date_text(first)} is after last_utc_date {date_text(last)}: swap the dates",
            field=_path("first_utc_date"),
            first=date_text(first),
            last=date_text(last),
        )
    _refuse_open(last, first_open_day(min((reached.log_time for reached in progress.values()), default=0)))
    return first, last + 1


def scope_of(
    names: Sequence[str],
    first_day: int,
    end_day: int,
    directory: SiteDirectory,
    generations: Generations,
    limits: ReprocessingLimits,
    checkpoint: Checkpoint,
) -> Scope:
    """Return the sites that the names select, and count the sites' settled site-days and hits in [first_day, end_day).

    If a site is selected only by a name with `-` and has no settled day in the range, the result leaves the site out.
    Each site and each ledger is read separately. The checkpoint is called before each read.

    Raises:
        NotFound: a site does not exist, or a merchant has no sites.
        RefusedError: a name is invalid, or a limit is exceeded.
        Abandoned: the caller left or the deadline passed.
    """
    named, listed = _resolved(names, directory, limits, checkpoint)
    sites, site_days, hits = [], 0, 0
    for site in sorted(named | listed):
        checkpoint()
        entries = generations.ledger(site, first_day, end_day)
        if entries or site in named:
            sites.append(site)
        site_days += len(entries)
        hits += sum(entry.accepted for entry in entries.values())
        if site_days > limits.site_days:
            raise RefusedError(
                f"the sites have more than {limits.site_days:,} settled site-days in the range: name fewer sites or "
                "days",
                field=_path("sites"),
                reason=ErrorReason.TOO_MANY_SITE_DAYS,
                limit=limits.site_days,
            )
    return Scope(tuple(sites), site_days, hits)


def sites_in_order(
    names: Sequence[str], directory: SiteDirectory, first: str, limits: ReprocessingLimits, checkpoint: Checkpoint
) -> Iterator[str]:
    """Return an iterator over the sites that the names stand for, in name order, beginning with the site `first`.

    The names are checked before the iterator is returned. Sites are read in pages while the caller iterates, so the
    number of sites is not limited.

    Raises:
        NotFound: a site does not exist, or a merchant has no sites.
        RefusedError: a name is invalid, or there are too many names.
    """
    _refuse_number(names, "sites", limits.names)
    parts: list[Iterator[str]] = []
    named: list[str] = []
    for index, name in enumerate(names):
        checkpoint()
        path = f"sites[{index}]"
        if name == ALL_SITES:
            parts = [_from_site(directory, None, first)]
            named = []
            break
        if found := _SITES_OF_MERCHANT.fullmatch(name):
            _refuse_none(directory, found[1], path, name)
            parts.append(_from_site(directory, found[1], first))
        else:
            named.append(existing_site(directory, name, path).name)
    merged = heapq.merge(sorted(site for site in named if site >= first), *parts)
    return (site for site, _ in groupby(merged))


def _from_site(directory: SiteDirectory, merchant: str | None, first: str) -> Iterator[str]:
    """Yield a merchant's sites, or all sites, in name order, beginning with the site `first`."""
    if first and (merchant is None or first.startswith(f"{merchant}/")) and directory.site(first) is not None:
        yield first
    yield from _sites(directory, merchant, first)


def _refuse_none(directory: SiteDirectory, merchant: str, path: str, name: str) -> None:
    if not directory.sites(merchant, "", 1):
        raise _stands_for_none(path, name)


def _refuse_open(last: int, open_day: int) -> None:
    if last < open_day:
        return
    closed = date_text(open_day - 1) if open_day else ""
    cure = f"{closed} is the last closed day" if closed else "no day is closed yet"
    raise RefusedError(
        f"last_utc_date {date_text(last)} is not closed, because hits can still change the day: {cure}",
        field=_path("last_utc_date"),
        reason=ErrorReason.DAY_NOT_CLOSED,
        value=date_text(last),
        last=closed,
    )


def _resolved(
    names: Sequence[str], directory: SiteDirectory, limits: ReprocessingLimits, checkpoint: Checkpoint
) -> tuple[set[str], set[str]]:
    """Return two lists: the sites that are named in full, and the sites that a name with `-` selects."""
    _refuse_number(names, _path("sites"), limits.names)
    named: set[str] = set()
    listed: set[str] = set()
    for index, name in enumerate(names):
        path = _path(f"sites[{index}]")
        checkpoint()
        if name == ALL_SITES:
            _add(listed, _sites(directory, None), path, name, limits.sites)
        elif found := _SITES_OF_MERCHANT.fullmatch(name):
            _add(listed, _sites(directory, found[1]), path, name, limits.sites)
        else:
            named.add(existing_site(directory, name, path).name)
    return named, listed


def _refuse_number(names: Sequence[str], path: str, limit: int) -> None:
    if not 1 <= len(names) <= limit:
        raise RefusedError(
            f"{len(names):,} sites are named; the limit is 1 to {limit:,}: name merchants/{{merchant}}/sites/- for all "
            "sites of a merchant",
            field=path,
            count=len(names),
            limit=limit,
        )


def existing_site(directory: SiteDirectory, name: str, path: str, *, or_deleted: bool = False) -> Site:
    """Return the site with this full name. A deleted site exists only with `or_deleted`.

    Raises:
        NotFound: the site does not exist.
        RefusedError: the text is not a site name.
    """
    if not SITE_PATTERN.fullmatch(name):
        raise RefusedError(
            f"{name[:160]!r} is not a site name: write merchants/{{merchant}}/sites/{{site}}, or - for all sites",
            field=path,
            value=name,
        )
    site = directory.site_or_deleted(name) if or_deleted else directory.site(name)
    if site is None:
        raise NotFound(
            f"site {name[:160]!r} does not exist: list the sites with `hitmesh sites` (ListSites)",
            field=path,
            value=name,
        )
    return site


def _add(listed: set[str], sites: Iterator[str], path: str, name: str, limit: int) -> None:
    site = ""
    for site in sites:
        listed.add(site)
        if len(listed) > limit:
            raise RefusedError(
                f"there are more than {limit:,} sites: name the sites of one merchant, or single sites",
                field=path,
                reason=ErrorReason.TOO_MANY_SITES,
                limit=limit,
            )
    if not site:
        raise _stands_for_none(path, name)


def _stands_for_none(path: str, name: str) -> NotFound:
    return NotFound(
        f"{name[:160]!r} matches no site: list the sites with `hitmesh sites` (ListSites)", field=path, value=name
    )


def _sites(directory: SiteDirectory, merchant: str | None, after: str = "") -> Iterator[str]:
    while page := directory.sites(merchant, after, _PAGE):
        yield from (site.name for site in page)
        after = page[-1].name


def _path(field: str) -> str:
    return f"reprocessing.{field}"
