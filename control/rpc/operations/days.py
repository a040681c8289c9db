"""Choose the UTC days for an answer about a site's ledger or drift: the requested range, or the latest days."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from hitmesh.api.control.v1.operations_pb2 import GetDriftRequest, GetLedgerRequest
from hitmesh.model.days import date_text, day_of
from hitmesh.model.errors import RefusedError

DEFAULT_DAYS: Final = 60
MAX_DAYS: Final = 400
# Bounds that include every possible day of a hit.
FIRST_DAY: Final = 0
END_DAY: Final = 1 << 24


def listed_days(days: Iterable[int], request: GetLedgerRequest | GetDriftRequest) -> list[int]:
    """Return the days to list, ascending: the last 60 days, or the last 400 days if the request has a first date.

    Args:
        days: all UTC days with data.
        request: has the first and the last date of the range. Without a first date, the range has no beginning; without
            a last date, the range has no end.

    Raises:
        RefusedError: a date does not exist in the calendar, or the range is empty.
    """
    has_first, has_last = request.HasField("first_utc_date"), request.HasField("last_utc_date")
    first = day_of("first_utc_date", request.first_utc_date) if has_first else FIRST_DAY
    last = day_of("last_utc_date", request.last_utc_date) if has_last else END_DAY
    if first > last:
        raise RefusedError(
            f"first_utc_date {date_text(first)} is after last_utc_date {date_text(last)}: swap the dates",
            field="first_utc_date",
            first=date_text(first),
            last=date_text(last),
        )
    inside = sorted(day for day in days if first <= day <= last)
    return inside[-(MAX_DAYS if has_first else DEFAULT_DAYS) :]
