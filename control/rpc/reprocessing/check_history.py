"""CheckHistory: check in pages whether the stored values of settled site-days agree with the ledger.

Limits: a request has at most 1,000 site names; a page ends after 500 site-days, 1,000 sites, about 2,000,000 raw hits
or 2,000 log records. A page may end within a site-day, and the next page continues there, so a site-day may have any
number of hits.
"""

from __future__ import annotations

import json
from dataclasses import astuple, replace
from typing import TYPE_CHECKING, Final

from control.backend import Backend
from control.rpc.paging import checked_size, last_in, page_token_mismatch, token_of
from control.rpc.reprocessing.scope import sites_in_order
from hitmesh.access.callers import Caller
from hitmesh.api.control.v1 import reprocessing_pb2 as pb
from hitmesh.model.checkpoints import Checkpoint
from hitmesh.model.counts import Count
from hitmesh.model.days import date_text, day_message, day_of
from hitmesh.model.errors import RefusedError
from hitmesh.model.money import INT64_MAX, INT64_MIN
from hitmesh.model.positions import Position
from hitmesh.model.sites import SiteDay

if TYPE_CHECKING:
    from control.history.checking import Begun, CheckLimits
    from control.history.problems import Finding, Problem

MAX_PAGE: Final = 500
_FAR: Final = 10**6
"""A UTC day, as days since 1970-01-01, that is later than every date that the contract accepts."""


def check_history(
    backend: Backend,
    caller: Caller | None,
    request: pb.CheckHistoryRequest,
    checkpoint: Checkpoint,
    limits: CheckLimits | None = None,
) -> pb.CheckHistoryResponse:
    """Return a page of checked site-days.

    Raises:
        NotFound: a site does not exist, or a merchant has no sites.
        RefusedError: a value is invalid, or the token belongs to another request (PAGE_TOKEN_MISMATCH).
        Abandoned: the caller left or the deadline passed. The checkpoint is called between reads.
    """
    from control.history.checking import CheckLimits, check_page  # loads Polars

    limits = limits or CheckLimits()
    size = checked_size("page_size", request.page_size, limits.site_days, MAX_PAGE)
    days, (after, begun) = _days_of(request), _after(request)
    page = check_page(
        backend.bookkeeping(),
        backend.clock,
        sites_in_order(request.sites, backend.directory, after.site if after else "", backend.limits, checkpoint),
        after,
        days,
        replace(limits, site_days=size),
        checkpoint,
        begun,
    )
    return pb.CheckHistoryResponse(
        site_days=page.site_days,
        hits=page.hits,
        problems=map(_problem_message, page.problems),
        next_page_token=token_of(_position_text(page.last, page.begun), _list_of(request)) if page.last else "",
        raw_hits=page.rows,
    )


def _problem_message(problem: Problem) -> pb.HistoryProblem:
    missing = problem.missing
    return pb.HistoryProblem(
        site=problem.site_day.site,
        utc_date=day_message(problem.site_day.day),
        findings=map(_finding_message, problem.findings),
        missing_hits=missing.hits,
        log_hits=missing.in_log,
        lost_hits=missing.lost,
    )


def _finding_message(finding: Finding) -> pb.HistoryFinding:
    return pb.HistoryFinding(
        store=pb.CheckedStore.Value(f"CHECKED_STORE_{finding.part.name}"),
        measure=finding.measure,
        found=_if_sum(finding, finding.found),
        expected=_if_sum(finding, finding.expected),
        damage=finding.damage,
    )


def _if_sum(finding: Finding, value: int) -> int | None:
    return None if finding.damage or not INT64_MIN <= value <= INT64_MAX else value


def _days_of(request: pb.CheckHistoryRequest) -> tuple[int, int]:
    first, end = 0, _FAR
    if request.HasField("first_utc_date"):
        first = day_of("first_utc_date", request.first_utc_date)
    if request.HasField("last_utc_date"):
        end = day_of("last_utc_date", request.last_utc_date) + 1
    if first >= end:
        raise RefusedError(
            f"first_utc_date {date_text(first)} is after last_utc_date {date_text(end - 1)}: swap the dates",
            field="first_utc_date",
            first=date_text(first),
            last=date_text(end - 1),
        )
    return first, end


def _position_text(last: SiteDay, begun: Begun | None) -> str:
    """Return, as JSON, the point at which the next page begins."""
    return json.dumps([*last, None if begun is None else astuple(begun)], separators=(",", ":"))


def _after(request: pb.CheckHistoryRequest) -> tuple[SiteDay | None, Begun | None]:
    """Return the previous page's last complete site-day, and the site-day that the page began but did not complete.

    For the first page, return (None, None). If the previous page completed its last site-day, the second item of the
    result is None.
    """
    from control.history.checking import Begun  # loads Polars

    text = last_in(request.page_token, _list_of(request))
    if not text:
        return None, None
    try:
        site, day, fields = json.loads(text)
        after = SiteDay(str(site), int(day))
        if fields is None:
            return after, None
        of_day, sequence, attempt, position, count, damaged, first_damaged = fields
        return after, Begun(
            SiteDay(*of_day), sequence, attempt, Position(*position), Count(*count), damaged, first_damaged
        )
    except (ValueError, TypeError) as error:
        raise page_token_mismatch() from error


def _list_of(request: pb.CheckHistoryRequest) -> str:
    """Return a text that identifies the request without page token and page size."""
    of_page = pb.CheckHistoryRequest()
    of_page.CopyFrom(request)
    of_page.ClearField("page_token")
    of_page.ClearField("page_size")
    return of_page.SerializeToString(deterministic=True).hex()
