"""GetDrift: how the settled days of a site differ from what the live stream said of them (decision A8).

Limits: 400 days in an answer.
"""

from __future__ import annotations

from hitmesh.admin.v1 import operations_pb2 as pb
from hitmesh.callers import readable_site
from hitmesh.ports import Drift, IngestKey
from hitmesh.utc_days import date_text
from reporter.rpc.backend import Backend
from reporter.rpc.operations.days import END_DAY, FIRST_DAY, listed_days


def get_drift(backend: Backend, caller: IngestKey | None, request: pb.GetDriftRequest) -> pb.GetDriftResponse:
    """Returns the drift of a site's settled days.

    Raises:
        NotFound: no such site, or not the caller's.
        RefusedError: a date is wrong, or the name is of several sites.
    """
    site = readable_site(backend.directory, backend.open_reads, caller, request.site)
    drifts = {
        site_day.day: drift for site_day, drift in backend.generations.drifts(site.name, FIRST_DAY, END_DAY).items()
    }
    listed = listed_days(drifts, request.since, request.until)
    return pb.GetDriftResponse(
        site=site.name,
        days=[_day_message(day, drifts[day]) for day in listed],
        omitted_days=len(drifts) - len(listed),
        drifted_days=sum(drifts[day].rows_differ for day in listed),
    )


def _day_message(day: int, drift: Drift) -> pb.DriftDay:
    return pb.DriftDay(
        date=date_text(day),
        confirmed=drift.confirmed,
        rows_differ=drift.rows_differ,
        sketch_provisional=drift.sketch_provisional,
        measures={name: change for name, change in drift.measures.items() if change},
        row_measures={name: change for name, change in drift.row_measures.items() if change},
        full_refunds=drift.full_refunds,
    )
