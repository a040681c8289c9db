"""Date options of the command line."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from google.type.date_pb2 import Date

_ISO_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_DAYS_BACK: Final = {"today": 0, "yesterday": 1}


def date_text(_ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """Check that an option's value is an ISO date, `today` or `yesterday`, and return the value in lower case.

    `resolve_dates` and `utc_dates` later replace `today` and `yesterday` by dates.
    """
    if value is None:
        return None
    text = value.strip().lower()
    if text in _DAYS_BACK:
        return text
    try:
        return date.fromisoformat(text if _ISO_DATE.fullmatch(text) else "").isoformat()
    except ValueError as error:
        cure = "write YYYY-MM-DD, today or yesterday"
        raise click.BadParameter(f"{value!r} is not a date: {cure}", param=param) from error


def iso_date(_ctx: click.Context, param: click.Parameter, value: str) -> str:
    """Check that an option's value is an ISO date, and return the value.

    The function is for options with future dates, where `today` and `yesterday` have no meaning.
    """
    try:
        return date.fromisoformat(value if _ISO_DATE.fullmatch(value) else "").isoformat()
    except ValueError as error:
        raise click.BadParameter(f"{value!r} is not a date: write YYYY-MM-DD", param=param) from error


def instant(_ctx: click.Context, param: click.Parameter, value: str | None) -> datetime | None:
    """Return the time that an option gives as an ISO date or time. Without a zone, the time is UTC.

    A date is its first moment: 2027-01-31 is 2027-01-31T00:00:00Z.
    """
    try:
        found = None if value is None else datetime.fromisoformat(value)
    except ValueError as error:
        raise click.BadParameter(
            f"{value!r} is not a time: write 2027-01-31 or 2027-01-31T12:00:00Z", param=param
        ) from error
    return found.replace(tzinfo=UTC) if found is not None and found.tzinfo is None else found


def resolve_dates(
    since: str | None, until: str | None, zone: Callable[[], str], now: datetime | None = None
) -> tuple[str, str]:
    """Return the first and the last date as ISO text. Without `until`, the last date is today.

    Args:
        since: an ISO date, `today` or `yesterday`.
        until: like `since`, or None.
        zone: returns the time zone; called only for `today` or `yesterday`.
        now: current time; None = the system clock.

    Raises:
        UsageError: the time zone is unknown, or the first date is after the last.
    """
    words = [since or "today", until or "today"]
    if any(word in _DAYS_BACK for word in words):
        today = _today(zone(), now or datetime.now(UTC))
        words = [
            (today - timedelta(days=_DAYS_BACK[word])).isoformat() if word in _DAYS_BACK else word for word in words
        ]
    if until is None and words[0] > words[1]:
        raise click.UsageError(
            f"--since {words[0]} is in the future, and --until is missing (default: today, {words[1]}): "
            "give an earlier --since, or give --until"
        )
    check_order(words[0], words[1])
    return words[0], words[1]


def utc_dates(since: str | None, until: str | None, now: datetime | None = None) -> tuple[Date | None, Date | None]:
    """Return the two dates as protobuf messages.

    The word `today` stands for the current UTC day; for None, the result is None.

    Raises:
        UsageError: the first date is after the last.
    """
    from hitmesh.model.dates import date_message

    today = (now or datetime.now(UTC)).astimezone(UTC).date()
    first, last = (None if text is None else _utc_date(text, today) for text in (since, until))
    if first and last:
        check_order(first.isoformat(), last.isoformat())
    return first and date_message(first), last and date_message(last)


def check_order(first: str, last: str) -> None:
    """Raise UsageError if the first ISO date is after the last."""
    if first > last:
        raise click.UsageError(f"the range is empty: --since {first} is after --until {last}; swap the dates")


def _utc_date(text: str, today: date) -> date:
    return today - timedelta(days=_DAYS_BACK[text]) if text in _DAYS_BACK else date.fromisoformat(text)


def _today(zone: str, now: datetime) -> date:
    from zoneinfo import ZoneInfo

    try:
        return now.astimezone(ZoneInfo(zone)).date()
    except (KeyError, ValueError, OSError) as error:
        raise click.UsageError(f"unknown time zone {zone!r}: use an IANA name such as Europe/Berlin") from error
