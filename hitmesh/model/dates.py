"""Conversion between calendar dates and google.type.Date, with a check that the date exists in the calendar."""

from __future__ import annotations

import datetime as dt

from google.type.date_pb2 import Date

from hitmesh.model.errors import RefusedError
from hitmesh.model.reasons import ErrorReason


def checked_date(field: str, date: Date, reason: ErrorReason = ErrorReason.INVALID_FIELD) -> dt.date:
    """Return the calendar date that a Date message holds.

    Args:
        field: the field's path in the request; an error names the field.
        date: a date with year, month and day.
        reason: the error's reason.

    Raises:
        RefusedError: the calendar has no such date.

    Example:
        >>> checked_date("first_utc_date", Date(year=2026, month=11, day=1))
        datetime.date(2026, 11, 1)
    """
    try:
        return dt.date(date.year, date.month, date.day)
    except ValueError as error:
        text = date_text_of(date)
        raise RefusedError(
            f"{field.rpartition('.')[2]} {text} is not a calendar date: send a year from 1 to 9999, a "
            "month from 1 to 12 and a day of that month",
            field=field,
            reason=reason,
            value=text,
        ) from error


def date_message(date: dt.date) -> Date:
    """Return a date as a Date message.

    Example:
        >>> date_message(dt.date(2026, 11, 1)).month
        11
    """
    return Date(year=date.year, month=date.month, day=date.day)


def date_text_of(date: Date) -> str:
    """Return a Date message as `2026-11-01`, even if the calendar has no such date.

    Example:
        >>> date_text_of(Date(year=2026, month=13, day=1))
        '2026-13-01'
    """
    return f"{date.year:04d}-{date.month:02d}-{date.day:02d}"
