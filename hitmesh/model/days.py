"""UTC days as people write them: `2026-11-01`. Decides nothing about ranges."""

from __future__ import annotations

import datetime as dt

from hitmesh.model.errors import RefusedError
from hitmesh.model.zones import date_of, day_number


def day_of(field: str, text: str) -> int:
    """Returns the day of a date, as days since 1970-01-01.

    Raises:
        RefusedError: it is none; `field` is where it stands.
    """
    try:
        date = dt.date.fromisoformat(text.strip())
    except ValueError as error:
        raise RefusedError(f"{field} {text[:32]!r} is no date: write it as 2026-11-01", field=field) from error
    return day_number(date)


def date_text(day: int) -> str:
    """Returns a day as `2026-11-01`."""
    return date_of(day).isoformat()


def iso_instant(ms: int) -> str:
    """Returns an instant in UTC ms as `2015-05-17T00:00:00.000Z`."""
    at = dt.datetime.fromtimestamp(ms // 1_000, dt.UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{ms % 1_000:03d}Z"
