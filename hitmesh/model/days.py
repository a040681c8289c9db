"""Conversion of UTC days, numbered from 1970-01-01, to and from google.type.Date, and to text such as `2026-11-01`."""

from __future__ import annotations

import datetime as dt

from google.type.date_pb2 import Date

from hitmesh.model.dates import checked_date, date_message
from hitmesh.model.zones import CivilTimeError, date_of, day_number


def day_of(field: str, date: Date) -> int:
    """Return a Date message as days since 1970-01-01.

    Raises:
        RefusedError: the calendar has no such date, or the date is before 1970 or after 2199; the error names `field`.

    Example:
        >>> day_of("first_utc_date", Date(year=2026, month=11, day=1))
        20758
    """
    found = checked_date(field, date)
    try:
        return day_number(found)
    except CivilTimeError as error:
        error.field = field
        raise


def day_message(day: int) -> Date:
    """Return a day as a Date message.

    Example:
        >>> day_message(20758).year
        2026
    """
    return date_message(date_of(day))


def date_text(day: int) -> str:
    """Return a day as `2026-11-01`.

    Example:
        >>> date_text(20_758)
        '2026-11-01'
    """
    return date_of(day).isoformat()


def iso_instant(ms: int) -> str:
    """Return an instant in UTC ms as `2015-05-17T00:00:00.000Z`.

    Example:
        >>> iso_instant(20_758 * 86_400_000 + 1)
        '2026-11-01T00:00:00.001Z'
    """
    at = dt.datetime.fromtimestamp(ms // 1_000, dt.UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{ms % 1_000:03d}Z"


def iso_second(ms: int) -> str:
    """Return an instant in UTC ms as `2015-05-17T00:00:00Z`, cut to seconds.

    Example:
        >>> iso_second(20_758 * 86_400_000 + 1_999)
        '2026-11-01T00:00:01Z'
    """
    return f"{dt.datetime.fromtimestamp(ms // 1_000, dt.UTC):%Y-%m-%dT%H:%M:%SZ}"
