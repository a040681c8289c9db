"""GetReprocessingDiff: return how the new generations differ from the old generations.

If logic, rules and hits did not change, the difference is empty (invariant P10).

Limits: a page has at most 1,000 days, 100 sites, 100 values and 100 cells. A comparison by dimension covers at most
2,000 site-days. A comparison by cell covers at most 500 site-days.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Final, NamedTuple

from control.backend import Backend
from control.rpc.paging import checked_size, last_in, page_token_mismatch, token_of
from control.rpc.reprocessing.changed_rows import add_rows
from control.rpc.reprocessing.damage import note_damage
from control.rpc.reprocessing.difference_messages import (
    day_difference,
    ledger_message,
    metric_messages,
    reasons_message,
    site_difference,
)
from control.rpc.reprocessing.differences import UNITS, Differences, differences, most_changed, ranking
from control.rpc.reprocessing.messages import not_applicable_warnings, reprocessing_message
from control.rpc.reprocessing.names import id_of, not_found
from control.rpc.reprocessing.speed import measured_speed
from control.rpc.reprocessing.transitions import refuse_unreadable
from hitmesh.access.callers import Caller
from hitmesh.api.control.v1 import reprocessing_pb2 as pb
from hitmesh.model.checkpoints import Checkpoint
from hitmesh.model.days import date_text, day_message, day_of
from hitmesh.model.errors import RefusedError
from hitmesh.model.names import SITE_PATTERN
from hitmesh.model.reasons import ErrorReason
from hitmesh.model.reprocessings import Rebuilt, Reprocessing
from hitmesh.model.similar_names import nearest, similar
from hitmesh.model.sites import SiteDay
from hitmesh.ports import Generations, Reprocessings

DEFAULT_PAGE: Final = 100
MAX_PAGE: Final = 1_000
DEFAULT_TOP: Final = 10
MAX_TOP: Final = 100
MAX_DISTURBED: Final = 100
READ_SITE_DAYS: Final = 32
"""Maximum number of recomputed site-days in memory.

A carry contains the visits that are open at a day's end. The old and the new carry of a site-day may take megabytes of
memory.
"""


class Part(NamedTuple):
    """The part of a reprocessing that is compared: the days in [first_day, end_day).

    `site` is a site's name, or None for all sites.
    """

    site: str | None
    first_day: int
    end_day: int


def get_reprocessing_diff(
    backend: Backend, caller: Caller | None, request: pb.GetReprocessingDiffRequest, checkpoint: Checkpoint
) -> pb.GetReprocessingDiffResponse:
    """Return a page of changed days.

    The first page also lists the sites, values and cells that changed most.

    Raises:
        NotFound: the reprocessing does not exist.
        RefusedError: a value is invalid, the difference cannot be read in this state (WRONG_STATE), or a limit is
            exceeded.
        Abandoned: the caller left or the deadline passed. The checkpoint is called between reads.
    """
    id_ = id_of(request.name)
    _refuse_metric(request.order_by)
    page_size = checked_size("page_size", request.page_size, DEFAULT_PAGE, MAX_PAGE)
    top = checked_size("top", request.top, DEFAULT_TOP, MAX_TOP)
    after = _day_in(request)
    books, now = backend.bookkeeping(), backend.clock.now()
    found = books.reprocessings.get(id_)
    if found is None:
        raise not_found(request.name)
    refuse_unreadable(found, now)
    part = _part_of(request, found)
    compared = differences(rebuilt_in(books.reprocessings, id_, part, checkpoint))
    response = _response(compared, [day for day in compared.days if day > after], page_size, request)
    response.reprocessing.CopyFrom(
        reprocessing_message(found, now, measured_speed(books.reprocessings.all(note_damage)))
    )
    if not request.page_token:
        _add_sites(response, compared, request.order_by, top)
        _add_disturbed(response, compared, found, books.generations)
        if request.dimension or request.cells:
            rebuilt = rebuilt_in(books.reprocessings, id_, part, checkpoint)
            add_rows(response, books, found, now, rebuilt, request, top, backend.limits, checkpoint)
    return response


def rebuilt_in(stored: Reprocessings, id_: str, part: Part, checkpoint: Checkpoint) -> Iterator[Rebuilt]:
    """Yield the recomputed site-days in a part of a reprocessing, sorted by site and day.

    Each site-day has only the values that a comparison needs.
    """
    after = None if part.site is None else SiteDay(part.site, part.first_day - 1)
    while page := [_compared_only(each) for each in stored.rebuilt(id_, after, READ_SITE_DAYS)]:
        checkpoint()
        for each in page:
            if part.site not in (None, each.site_day.site):
                return
            if part.first_day <= each.site_day.day < part.end_day:
                yield each
        after = page[-1].site_day


def _compared_only(rebuilt: Rebuilt) -> Rebuilt:
    before, after = (replace(version, carry=b"", read_through={}) for version in (rebuilt.before, rebuilt.after))
    return replace(rebuilt, before=before, after=after, flags={})


def _response(
    compared: Differences, days: Sequence[int], page_size: int, request: pb.GetReprocessingDiffRequest
) -> pb.GetReprocessingDiffResponse:
    page, total = days[:page_size], compared.total
    return pb.GetReprocessingDiffResponse(
        site_days=total.site_days,
        changed_site_days=total.changed_site_days,
        totals=metric_messages(total.changed),
        ledger_before=ledger_message(total.before),
        ledger_after=ledger_message(total.after),
        days=[day_difference(day, compared.days[day]) for day in page],
        changed_sites=len(compared.sites),
        reasons=reasons_message(total),
        warnings=not_applicable_warnings(total.not_applicable),
        next_page_token=token_of(str(page[-1]), _list_of(request)) if len(days) > page_size else "",
    )


def _add_sites(response: pb.GetReprocessingDiffResponse, compared: Differences, order_by: str, top: int) -> None:
    metric = order_by or ranking(compared.total.sums)
    sites = most_changed(compared.sites, metric, top)
    response.sites_ranked_by = metric if sites else ""
    response.sites.extend(site_difference(site, compared.sites[site]) for site in sites)


def _add_disturbed(
    response: pb.GetReprocessingDiffResponse,
    compared: Differences,
    reprocessing: Reprocessing,
    generations: Generations,
) -> None:
    """Add the settled site-days that are outside the plan, and that the settler settles again after the publication."""
    disturbed = sorted(each for each in compared.disturbed if not reprocessing.is_planned(each.day))
    for site, of_site in groupby(disturbed, key=lambda each: each.site):
        days = [each.day for each in of_site]
        settled = generations.current(site, days[0], days[-1] + 1)
        for day in filter(settled.__contains__, days):
            response.disturbed_site_days += 1
            if response.disturbed_site_days <= MAX_DISTURBED:
                response.disturbed.add(site=site, utc_date=day_message(day))


def _part_of(request: pb.GetReprocessingDiffRequest, reprocessing: Reprocessing) -> Part:
    first, end = reprocessing.first_day, reprocessing.reach
    if request.HasField("first_utc_date"):
        first = max(first, day_of("first_utc_date", request.first_utc_date))
    if request.HasField("last_utc_date"):
        end = min(end, day_of("last_utc_date", request.last_utc_date) + 1)
    if first >= end:
        days = date_text(reprocessing.first_day), date_text(reprocessing.reach - 1)
        raise RefusedError(
            f"the dates select no day of the reprocessing, which has {days[0]} to {days[1]}: send dates in this range",
            field="first_utc_date",
            days=f"{days[0]} to {days[1]}",
        )
    return Part(_site_of(request, reprocessing), first, end)


def _site_of(request: pb.GetReprocessingDiffRequest, reprocessing: Reprocessing) -> str | None:
    if not request.HasField("site"):
        return None
    if not SITE_PATTERN.fullmatch(request.site) or request.site not in reprocessing.sites:
        raise RefusedError(
            f"site {request.site[:160]!r} does not belong to the reprocessing: use one of its sites",
            field="site",
            value=request.site,
        )
    return request.site


def _refuse_metric(order_by: str) -> None:
    if order_by and order_by not in UNITS:
        raise RefusedError(
            f"unknown metric {order_by[:64]!r}: {nearest(order_by, UNITS)}",
            field="order_by",
            reason=ErrorReason.UNKNOWN_METRIC,
            value=order_by,
            similar=similar(order_by, UNITS),
        )


def _list_of(request: pb.GetReprocessingDiffRequest) -> str:
    """Return a text that identifies the request without its paging fields."""
    of_page = pb.GetReprocessingDiffRequest()
    of_page.CopyFrom(request)
    of_page.ClearField("page_token")
    of_page.ClearField("page_size")
    return of_page.SerializeToString(deterministic=True).hex()


def _day_in(request: pb.GetReprocessingDiffRequest) -> int:
    """Return the previous page's last day; -1 for the first page."""
    last = last_in(request.page_token, _list_of(request))
    if last and not last.isdecimal():
        raise page_token_mismatch()
    return int(last) if last else -1
