"""Civil time according to rules Z1 to Z4, directly from zoneinfo, minute by minute.

The functions ask zoneinfo for the local time of every minute in a range, and do no arithmetic on offsets.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MINUTE_MS = 60_000
DAY_MS = 24 * 60 * MINUTE_MS


def local_time(instant_ms: int, zone: ZoneInfo) -> datetime:
    """Return the local time at the instant."""
    return (EPOCH + timedelta(milliseconds=instant_ms)).astimezone(zone)


def label(instant_ms: int, zone: ZoneInfo) -> str:
    """Return the local time with offset (Z1), for example `2015-05-17T00:00:00+05:45`."""
    return local_time(instant_ms, zone).isoformat(timespec="seconds")


@lru_cache(maxsize=4_096)
def day_start(day: date, zone: ZoneInfo) -> int:
    """Return the first instant (UTC ms) whose local date is `day`.

    If the zone skipped `day`, the local date is later (Z2).
    """
    midnight_utc = round((datetime(day.year, day.month, day.day, tzinfo=UTC) - EPOCH).total_seconds()) * 1000
    return next(
        instant
        for instant in range(midnight_utc - DAY_MS, midnight_utc + 3 * DAY_MS, MINUTE_MS)
        if local_time(instant, zone).date() >= day
    )


@lru_cache(maxsize=256)
def bucket_starts(grain: str, zone_name: str, first: date, last: date) -> tuple[int, ...]:
    """Return the starts of the buckets in UTC ms.

    The buckets cover the civil dates from `first` to `last`, both included. The returned tuple also contains the end of
    the last bucket, as its last number. The grain NONE gives a single bucket. Weeks start on Monday. If the range
    starts within a week or month, the first bucket starts at the range's start.
    """
    zone = ZoneInfo(zone_name)
    days = [first + timedelta(days=index) for index in range((last - first).days + 1)]
    end = day_start(last + timedelta(days=1), zone)
    match grain:
        case "NONE":
            starts = [day_start(first, zone)]
        case "HOUR":
            starts = list(_hour_starts(day_start(first, zone), end, zone))
        case "DAY":
            starts = [day_start(day, zone) for day in days]
        case "WEEK":
            starts = [day_start(day, zone) for day in days if day == first or day.weekday() == 0]
        case "MONTH":
            starts = [day_start(day, zone) for day in days if day == first or day.day == 1]
        case _:
            raise ValueError(f"grain {grain!r} is none of NONE, HOUR, DAY, WEEK, MONTH")
    return (*starts, end)


def _hour_starts(start: int, end: int, zone: ZoneInfo) -> Iterator[int]:
    """Yield every minute that differs from the previous minute in local date, local hour or offset (Z3)."""
    before = None
    for instant in range(start, end, MINUTE_MS):
        wall = local_time(instant, zone)
        now = (wall.date(), wall.hour, wall.utcoffset())
        if now != before:
            yield instant
        before = now
