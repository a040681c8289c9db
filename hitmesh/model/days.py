"""UTC days in the notation `2026-11-01`. Decides nothing about ranges."""

from __future__ import annotations

import datetime as dt

from hitmesh.model.errors import RefusedError
from hitmesh.model.zones import date_of, day_number


def day_of(field: str, text: str) -> int:
    """Return the day of a date, as days since 1970-01-01.

    Raises:
        RefusedError: the text is not a date; `field` names the faulty field.

    Example:
        >>> day_of("since", "2026-11-01")
        20758
    """
    try:
        date = dt.date.fromisoformat(text.strip())
    except ValueError as error:
        raise RefusedError(
            f"{field} {text[:32]!r} is not a date: write YYYY-MM-DD such as 2026-11-01", field=field
        ) from error
    return day_number(date)


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
