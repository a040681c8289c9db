"""ScheduleVisitPolicy: change a site's visit policy from a UTC day on.

The call is idempotent. A stored change is never edited.

Limits: the day must begin 2 hours to 366 days from now; a site has at most 100 changes.
"""

from __future__ import annotations

from typing import Final

from control.backend import Backend
from control.rpc.admin.site_messages import site_message
from hitmesh.access.callers import Caller
from hitmesh.access.checks import site_not_found
from hitmesh.api.control.v1 import admin_pb2 as pb
from hitmesh.model.days import date_text, day_of
from hitmesh.model.errors import RefusedError
from hitmesh.model.names import SITE_PATTERN
from hitmesh.model.reasons import ErrorReason
from hitmesh.model.sites import MAX_POLICY_AHEAD_DAYS, POLICY_AHEAD_MS, PolicyChange
from hitmesh.model.zones import DAY_MS

_FIELD: Final = "change.first_utc_date"


def schedule_visit_policy(
    backend: Backend, caller: Caller | None, request: pb.ScheduleVisitPolicyRequest
) -> pb.ScheduleVisitPolicyResponse:
    """Return the site with the change.

    Raises:
        NotFound: the merchant does not have the site.
        AlreadyExists: the site already has a different change for this day.
        RefusedError: a value is missing or invalid, or the site has too many changes.
    """
    if not SITE_PATTERN.fullmatch(request.name):
        raise RefusedError(
            f"name {request.name[:160]!r} is not a site: write merchants/{{merchant}}/sites/{{site}}",
            field="name",
            value=request.name,
        )
    if backend.directory.site(request.name) is None:
        raise site_not_found(request.name, "name")
    wanted = request.change
    if not wanted.HasField("visit_policy"):
        raise RefusedError(
            "change.visit_policy is missing: send the whole policy, because a stored change cannot be completed later; "
            "an empty object {} means policy v1",
            field="change.visit_policy",
            reason=ErrorReason.MISSING_FIELD,
        )
    day = checked_day(day_of(_FIELD, wanted.first_utc_date), backend.clock.now())
    change = PolicyChange(
        day, not wanted.visit_policy.campaign_keeps_visit, wanted.visit_policy.split_at_local_midnight
    )
    return pb.ScheduleVisitPolicyResponse(site=site_message(backend.directory.change_policy(request.name, change)))


def checked_day(day: int, now: int) -> int:
    """Return the day.

    Args:
        day: the first UTC day of the change.
        now: the current time, in UTC ms.

    Raises:
        RefusedError: the day begins too early or too late.
    """
    first = (now + POLICY_AHEAD_MS + DAY_MS - 1) // DAY_MS
    last = now // DAY_MS + MAX_POLICY_AHEAD_DAYS
    if not first <= day <= last:
        raise RefusedError(
            f"first_utc_date {date_text(day)} must begin at least 2 hours and at most {MAX_POLICY_AHEAD_DAYS} days "
            f"from now: send a date from {date_text(first)} to {date_text(last)}",
            field=_FIELD,
            value=date_text(day),
            first=date_text(first),
            last=date_text(last),
            limit=MAX_POLICY_AHEAD_DAYS,
        )
    return day
