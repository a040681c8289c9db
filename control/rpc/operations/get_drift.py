"""GetDrift: return the differences between a site's settled days and the live stream's counts (architecture A8).

Limits: 400 days per answer.
"""

from __future__ import annotations

from control.backend import Backend
from control.rpc.operations.days import END_DAY, FIRST_DAY, listed_days
from hitmesh.access.callers import Caller
from hitmesh.access.checks import found_site
from hitmesh.api.control.v1 import operations_pb2 as pb
from hitmesh.model.days import date_text, day_message
from hitmesh.model.errors import RefusedError
from hitmesh.model.generations import Drift
from hitmesh.model.money import INT64_MAX, INT64_MIN
from hitmesh.model.reasons import ErrorReason


def get_drift(backend: Backend, caller: Caller | None, request: pb.GetDriftRequest) -> pb.GetDriftResponse:
    """Return how a site's settled days differ from the live stream's counts (the drift).

    Raises:
        NotFound: the site does not exist.
        RefusedError: a date is invalid, the name stands for several sites, or a sum is beyond int64 (SUM_OUT_OF_RANGE).
    """
    site = found_site(backend.directory, request.site, "site")
    generations = backend.bookkeeping().generations
    drifts = {site_day.day: drift for site_day, drift in generations.drifts(site.name, FIRST_DAY, END_DAY).items()}
    listed = listed_days(drifts, request)
    return pb.GetDriftResponse(
        site=site.name,
        days=[_day_message(day, drifts[day]) for day in listed],
        omitted_days=len(drifts) - len(listed),
        drifted_days=sum(drifts[day].rows_differ for day in listed),
    )


def _day_message(day: int, drift: Drift) -> pb.DriftDay:
    return pb.DriftDay(
        utc_date=day_message(day),
        confirmed=drift.confirmed,
        rows_differ=drift.rows_differ,
        sketch_provisional=drift.sketch_provisional,
        measures={name: _in_range(name, day, change) for name, change in drift.measures.items() if change},
        row_measures={name: _in_range(name, day, change) for name, change in drift.row_measures.items() if change},
        full_refunds=_in_range("full_refunds", day, drift.full_refunds),
    )


def _in_range(name: str, day: int, change: int) -> int:
    if not INT64_MIN <= change <= INT64_MAX:
        raise RefusedError(
            f"{name} of {date_text(day)} is {change:,} micros; the limit is {INT64_MAX:,}: list other days, "
            "and ask reports for the sums of this day",
            field="first_utc_date",
            reason=ErrorReason.SUM_OUT_OF_RANGE,
            metric=name,
            day=date_text(day),
            value=change,
            limit=INT64_MAX,
        )
    return change
