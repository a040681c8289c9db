"""Check the zone, range and buckets of a question (journey step 7; rules Z1 to Z4).

Converts the range to instants, and refuses a range with too many buckets. Callers pass the current time.
"""

from __future__ import annotations

import datetime as dt
from typing import Final, Literal

from google.protobuf.timestamp_pb2 import Timestamp

from hitmesh.api.reporter.v1 import reporter_pb2 as pb
from hitmesh.model.cells import Buckets, Grain, buckets_between, civil_range
from hitmesh.model.dates import checked_date
from hitmesh.model.errors import RefusedError, Variable
from hitmesh.model.limits import CELL_MS
from hitmesh.model.reasons import ErrorReason
from hitmesh.model.zones import DAY_MS, CivilTimeError, UnknownTimeZoneError, load_zone, local_date

MAX_BUCKETS: Final = 10_000
MAX_LAST_DAYS: Final = 3_660

GRAINS: Final = {
    pb.TIME_GRAIN_UNSPECIFIED: Grain.NONE,
    pb.TIME_GRAIN_NONE: Grain.NONE,
    pb.TIME_GRAIN_HOUR: Grain.HOUR,
    pb.TIME_GRAIN_DAY: Grain.DAY,
    pb.TIME_GRAIN_WEEK: Grain.WEEK,
    pb.TIME_GRAIN_MONTH: Grain.MONTH,
}
# Typical bucket lengths, from short to long.
_LENGTHS_MS: Final = {
    Grain.HOUR: DAY_MS // 24,
    Grain.DAY: DAY_MS,
    Grain.WEEK: 7 * DAY_MS,
    Grain.MONTH: 30 * DAY_MS,
}


def checked_zone(name: str) -> str:
    """Check that a time zone exists, and return the zone's name.

    Raises:
        UnknownTimeZoneError: the zone is unknown (UNKNOWN_TIME_ZONE); the error lists the nearest names.
    """
    try:
        load_zone(name)
    except UnknownTimeZoneError as error:
        error.field = "time_zone"
        raise
    return name


def checked_grain(grain: pb.TimeGrain.ValueType) -> Grain:
    """Return the grain in a request; NONE if the request does not set the grain.

    Raises:
        RefusedError: the grain is unknown (UNKNOWN_GRAIN).
    """
    if grain not in GRAINS:
        raise RefusedError(
            f"time_grain {grain} is not known: use TIME_GRAIN_NONE, TIME_GRAIN_HOUR, TIME_GRAIN_DAY, TIME_GRAIN_WEEK "
            "or TIME_GRAIN_MONTH",
            field="time_grain",
            reason=ErrorReason.UNKNOWN_GRAIN,
            value=grain,
        )
    return GRAINS[grain]


def checked_range(time_range: pb.TimeRange, zone: str, now_ms: int) -> tuple[int, int, tuple[dt.date, dt.date] | None]:
    """Return [start, end) in UTC ms, and the civil dates if the request gave the range as dates.

    Raises:
        RefusedError: the range is empty, incomplete or outside the calendar (INVALID_TIME_RANGE).
    """
    try:
        match time_range.WhichOneof("kind"):
            case "dates":
                dates = _date(time_range.dates, "first_date"), _date(time_range.dates, "last_date")
            case "last_days":
                dates = _last_days(time_range.last_days, zone, now_ms)
            case "instants":
                return (*_instants(time_range.instants), None)
            case _:
                raise _refused("", "no time range: set dates, instants or last_days")
        return (*civil_range(zone, *dates), dates)
    except CivilTimeError as error:
        error.field = error.field or "time_range"
        raise


def split_into_buckets(zone: str, start: int, end: int, grain: Grain) -> Buckets:
    """Return the buckets of [start, end).

    Raises:
        RefusedError: the range has too many buckets (TOO_MANY_BUCKETS); the error names the count, the limit and the
            remedy.
    """
    if grain is not Grain.NONE:
        # Before the buckets are built, check an estimate of the number of buckets. After the buckets are built, check
        # the exact number.
        _refuse_many(-(-(end - start) // _LENGTHS_MS[grain]), start, end, grain)
    found = buckets_between(zone, start, end, grain)
    _refuse_many(len(found), start, end, grain)
    return found


def _refuse_many(count: int, start: int, end: int, grain: Grain) -> None:
    if count <= MAX_BUCKETS:
        return
    fitting = [
        coarser.value.upper()
        for coarser, length_ms in _LENGTHS_MS.items()
        if length_ms > _LENGTHS_MS[grain] and (end - start) // length_ms < MAX_BUCKETS
    ]
    cure = f"use {fitting[0]} or a shorter range" if fitting else "use a shorter range"
    days = -(-(end - start) // DAY_MS)
    raise RefusedError(
        f"grain {grain.value.upper()} over {days:,} days is {count:,} buckets; the limit is {MAX_BUCKETS:,}: {cure}",
        field="time_grain",
        reason=ErrorReason.TOO_MANY_BUCKETS,
        grain=grain.value,
        days=days,
        count=count,
        limit=MAX_BUCKETS,
    )


def _date(dates: pb.DateRange, side: Literal["first_date", "last_date"]) -> dt.date:
    date = dates.first_date if side == "first_date" else dates.last_date
    if not dates.HasField(side):
        raise _refused(f".dates.{side}", f"{side} is not set: send both dates of the range")
    return checked_date(f"time_range.dates.{side}", date, reason=ErrorReason.INVALID_TIME_RANGE)


def _last_days(days: int, zone: str, now_ms: int) -> tuple[dt.date, dt.date]:
    if not 1 <= days <= MAX_LAST_DAYS:
        raise _refused(
            ".last_days",
            f"last_days {days} is not 1 to {MAX_LAST_DAYS:,}: give dates for a longer range",
            value=days,
            limit=MAX_LAST_DAYS,
        )
    today = local_date(zone, now_ms)
    return today - dt.timedelta(days=days - 1), today


def _instants(instants: pb.InstantRange) -> tuple[int, int]:
    edges = []
    for side in ("start", "end"):
        if not instants.HasField(side):
            raise _refused(f".instants.{side}", f"{side} is not set: send both instants of the range")
        stamp = getattr(instants, side)
        ms, rest = divmod(stamp.seconds * 1_000_000_000 + stamp.nanos, 1_000_000)
        if rest or ms % CELL_MS:
            raise _refused(
                f".instants.{side}",
                f"{side} {_shown(stamp)} is not a multiple of 15 minutes: use minute 00, 15, 30 or 45, without seconds",
                value=_shown(stamp),
            )
        edges.append(ms)
    if edges[0] > edges[1]:
        raise _refused(".instants", "the range ends before it starts: swap start and end")
    return edges[0], edges[1]


def _shown(stamp: Timestamp) -> str:
    """Return an instant as text for messages: in ISO 8601 if possible, otherwise as seconds and nanoseconds."""
    try:
        return stamp.ToJsonString()
    except ValueError:
        return f"{stamp.seconds} s {stamp.nanos} ns"


def _refused(path: str, message: str, **variables: Variable) -> RefusedError:
    return RefusedError(message, field=f"time_range{path}", reason=ErrorReason.INVALID_TIME_RANGE, **variables)
