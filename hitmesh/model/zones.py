"""Civil time: IANA zones from the pinned time zone package (journey step 8, and site-local dates).

This module decides which offset from UTC applies at an instant. This module also decides at which instant a local date
begins (rule Z2). Zones come only from the `tzdata` package, never from the host, so that every process gives the same
answer. `TZDB_VERSION` is the release of the IANA database in the package `tzdata`. In arrays, dates are days since
1970-01-01, and instants are UTC milliseconds. This module never reads the clock.
"""

import datetime as dt
import difflib
import importlib
import importlib.resources
import re
from functools import lru_cache
from itertools import pairwise
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np

from hitmesh.model.arrays import I32Array, I64Array
from hitmesh.model.errors import RefusedError
from hitmesh.model.reasons import ErrorReason

DAY_MS: Final = 86_400_000
FIRST_DATE: Final = dt.date(1970, 1, 1)
LAST_DATE: Final = dt.date(2199, 12, 31)
TZDB_VERSION: Final[str] = str(importlib.import_module("tzdata").IANA_VERSION)

_DAY_S: Final = 86_400
_EPOCH: Final = dt.date(1970, 1, 1).toordinal()
# Maximum difference between local time and UTC, in days. The local mean times that were used until 1970 do not exceed
# this maximum.
_MAX_OFFSET_DAYS: Final = 1
_LAST_DAYS: Final = re.compile(r"(?:last )?([1-9][0-9]{0,4})([dwmy])")


class UnknownTimeZoneError(RefusedError, ValueError):
    """The name is not an IANA zone; the message suggests similar zones."""

    reason = ErrorReason.UNKNOWN_TIME_ZONE

    def __init__(self, name: str) -> None:
        near = difflib.get_close_matches(name[:64], sorted(zone_names()), n=3, cutoff=0.5) or _same_city(name)
        cure = f"did you mean {' or '.join(near)}?" if near else "use an IANA name such as Europe/Berlin"
        super().__init__(
            f"unknown time zone {name[:64]!r}: {cure} (tzdb {TZDB_VERSION})",
            value=name,
            similar=", ".join(near),
            version=TZDB_VERSION,
        )


class CivilTimeError(RefusedError, ValueError):
    """A date, range or bucket boundary is invalid in the zone or calendar; the message names value and cause."""

    reason = ErrorReason.INVALID_TIME_RANGE


@lru_cache(maxsize=1)
def zone_names() -> frozenset[str]:
    """Return every zone name, including links (aliases).

    Example:
        >>> "Europe/Berlin" in zone_names(), "Berlin" in zone_names()
        (True, False)
    """
    names = importlib.resources.files("tzdata").joinpath("zones").read_text("utf-8").split()
    return frozenset(names) - {"Factory"}


@lru_cache(maxsize=1024)
def load_zone(name: str) -> ZoneInfo:
    """Return the zone from the pinned package.

    Raises:
        UnknownTimeZoneError: no zone has this name; names are case-sensitive.

    Example:
        >>> load_zone("Asia/Kathmandu").key
        'Asia/Kathmandu'
        >>> load_zone("europe/berlin")
        Traceback (most recent call last):
            ...
        hitmesh.model.zones.UnknownTimeZoneError: unknown time zone 'europe/berlin': did you mean Europe/Berlin ...
    """
    if name not in zone_names():
        raise UnknownTimeZoneError(name)
    with importlib.resources.files("tzdata").joinpath("zoneinfo", *name.split("/")).open("rb") as compiled:
        return ZoneInfo.from_file(compiled, key=name)


def offset_steps(zone: str, start_ms: int, end_ms: int) -> tuple[I64Array, I64Array]:
    """Return (instants, offsets) in ms. An offset applies until the next instant.

    The last offset applies until `end_ms`. The first instant is at or before `start_ms`. Successive offsets differ.

    Example:
        >>> instants, offsets = offset_steps("Europe/Berlin", 20_750 * DAY_MS, 20_752 * DAY_MS)  # around 2026-10-25
        >>> (offsets // 3_600_000).tolist(), int(instants[1] - 20_751 * DAY_MS) // 3_600_000  # from 01:00Z on
        ([2, 1], 1)
    """
    steps: list[tuple[int, int]] = []
    for year in range(_year_of(start_ms), _year_of(max(start_ms, end_ms - 1)) + 1):
        steps += (step for step in _year_steps(zone, year) if not steps or step[1] != steps[-1][1])
    instants, offsets = np.array(steps, np.int64).T
    kept = slice(int(np.searchsorted(instants, start_ms, "right")) - 1, int(np.searchsorted(instants, end_ms)))
    return instants[kept], offsets[kept]


def offsets_at(zone: str, instants_ms: I64Array) -> I64Array:
    """Return the zone's offset from UTC, in ms, at each instant (n,).

    Example:
        >>> (offsets_at("Asia/Kathmandu", np.array([0, 20_635 * DAY_MS])) / 3_600_000).tolist()  # 1970 and 2026
        [5.5, 5.75]
    """
    if len(instants_ms) == 0:
        return np.empty(0, np.int64)
    steps, offsets = offset_steps(zone, int(instants_ms.min()), int(instants_ms.max()) + 1)
    return offsets[np.searchsorted(steps, instants_ms, "right") - 1]


def local_days(zone: str, instants_ms: I64Array) -> I32Array:
    """Return each instant's local date as days since 1970-01-01 (n,).

    Example:
        >>> at = 20_634 * DAY_MS + 18 * 3_600_000 + 15 * 60_000  # 2026-06-30T18:15Z (vector Z-d)
        >>> local_days("Asia/Kathmandu", np.array([at - 1, at])).tolist()
        [20634, 20635]
    """
    return ((instants_ms + offsets_at(zone, instants_ms)) // DAY_MS).astype(np.int32)


def local_date(zone: str, instant_ms: int) -> dt.date:
    """Return the instant's local date.

    Example:
        >>> local_date("Asia/Kathmandu", 20_634 * DAY_MS + 18 * 3_600_000 + 15 * 60_000)  # 2026-06-30T18:15Z
        datetime.date(2026, 7, 1)
    """
    return date_of(int(local_days(zone, np.array([instant_ms], np.int64))[0]))


def day_starts(zone: str, days: I64Array) -> I64Array:
    """Return, for each day (n,), the first instant whose local date is this day or later (rule Z2).

    `days` must be ascending. A day does not always begin at midnight: if the clocks skip midnight, the day begins at
    01:00. A date that the zone skipped begins at the same instant as the next date, so its range is empty.

    Example:
        >>> start_ms = day_starts("Africa/Cairo", np.array([day_number(dt.date(2026, 4, 24))]))
        >>> ((start_ms + offsets_at("Africa/Cairo", start_ms)) % DAY_MS // 3_600_000).tolist()  # 01:00 (vector Z-e)
        [1]
    """
    if len(days) == 0:
        return np.empty(0, np.int64)
    local_midnights = days * DAY_MS
    first_ms = int(local_midnights[0]) - (_MAX_OFFSET_DAYS + 1) * DAY_MS
    last_ms = int(local_midnights[-1]) + (_MAX_OFFSET_DAYS + 1) * DAY_MS
    instants, offsets = offset_steps(zone, first_ms, last_ms)
    local_ends = np.append(instants[1:], last_ms) + offsets
    # Without the running maximum of local time, a day would begin twice if clocks are set back over midnight.
    reached = np.maximum.accumulate(local_ends)
    step = np.searchsorted(reached, local_midnights, "right")
    starts: I64Array = np.maximum(instants[step], local_midnights - offsets[step])
    return starts


def day_number(date: dt.date) -> int:
    """Return a date as days since 1970-01-01.

    Raises:
        CivilTimeError: the date is outside `FIRST_DATE` to `LAST_DATE`.

    Example:
        >>> day_number(dt.date(2026, 11, 1))
        20758
    """
    if not FIRST_DATE <= date <= LAST_DATE:
        raise CivilTimeError(
            f"date {date} is outside {FIRST_DATE} to {LAST_DATE}: use a date in this range",
            value=str(date),
            first=str(FIRST_DATE),
            last=str(LAST_DATE),
        )
    return date.toordinal() - _EPOCH


def date_of(day: int) -> dt.date:
    """Return the date that is `day` days after 1970-01-01.

    Example:
        >>> date_of(20_758)
        datetime.date(2026, 11, 1)
    """
    return dt.date.fromordinal(day + _EPOCH)


def relative_dates(text: str, zone: str, now_ms: int) -> tuple[dt.date, dt.date]:
    """Return (first date, last date), both included, of a range relative to today, in the calendar of the zone.

    - `7d` or `last 7d` is today and the six dates before; `2w` is fourteen dates up to today.
    - `1m` on 15 May is 16 April to 15 May; `1y` is a year up to today. Months and years are counted by civil date. If a
      month is too short for the date, the last date of the month is used.
    - `today` or `yesterday` is a range of a single date.
    - `this_month` is the range from the first of the month to today; `last_month` is the whole previous month.

    Raises:
        CivilTimeError: the text has a different form, or the range begins before `FIRST_DATE`.

    Example:
        >>> first, last = relative_dates("7d", "Europe/Berlin", 20_758 * DAY_MS)
        >>> str(first), str(last)
        ('2026-10-26', '2026-11-01')
    """
    today = local_date(zone, now_ms)
    match text:
        case "today":
            return today, today
        case "yesterday":
            return today - dt.timedelta(days=1), today - dt.timedelta(days=1)
        case "this_month":
            return today.replace(day=1), today
        case "last_month":
            last = today.replace(day=1) - dt.timedelta(days=1)
            return last.replace(day=1), last
    found = _LAST_DAYS.fullmatch(text)
    if not found:
        raise CivilTimeError(
            f"relative range {text[:32]!r}: use 7d, 4w, 12m, 1y, today, yesterday, this_month or last_month", value=text
        )
    return _back(today, int(found[1]), found[2]), today


def _back(today: dt.date, count: int, unit: str) -> dt.date:
    """Return the first date of a range that has `count` units and ends today."""
    days = {"d": count, "w": 7 * count}.get(unit)
    months = 12 * count if unit == "y" else count
    if (days or months * 28) > day_number(today):
        raise CivilTimeError(
            f"a range of {count}{unit} up to {today} begins before {FIRST_DATE}: use a shorter range",
            value=f"{count}{unit}",
            first=str(FIRST_DATE),
            last=str(today),
        )
    if days:
        return today - dt.timedelta(days=days - 1)
    year, month = divmod(today.year * 12 + today.month - 1 - months, 12)
    month_end = (dt.date(year + month // 11, (month + 1) % 12 + 1, 1) - dt.timedelta(days=1)).day
    return dt.date(year, month + 1, min(today.day, month_end)) + dt.timedelta(days=1)


def _year_of(instant_ms: int) -> int:
    """Return the UTC year of an instant; raise CivilTimeError if the instant is far outside the supported dates."""
    day = instant_ms // DAY_MS
    if not -400 <= day <= LAST_DATE.toordinal() - _EPOCH + 400:
        raise CivilTimeError(
            f"instant {instant_ms} ms since 1970 is outside {FIRST_DATE} to {LAST_DATE}: use an instant in this range",
            value=instant_ms,
            first=str(FIRST_DATE),
            last=str(LAST_DATE),
        )
    return date_of(day).year


@lru_cache(maxsize=8192)
def _year_steps(zone: str, year: int) -> tuple[tuple[int, int], ...]:
    """Return pairs (instant, offset) in ms: the offset at the UTC year's start, then each change within the year.

    Only one instant per day is examined. Since 1969, no zone has changed its offset twice within six days (a test
    checks every zone).
    """
    tz = load_zone(zone)
    first = (dt.date(year, 1, 1).toordinal() - _EPOCH) * _DAY_S
    end = (dt.date(year + 1, 1, 1).toordinal() - _EPOCH) * _DAY_S
    # The last examined instant is the year's last second. If the offset changes one second later, the change belongs to
    # the next year.
    looks = [*range(first, end, _DAY_S), end - 1]
    offsets = [_offset_s(tz, look) for look in looks]
    steps = [(first * 1_000, offsets[0] * 1_000)]
    for (before, after), (old, new) in zip(pairwise(looks), pairwise(offsets), strict=True):
        if old != new:
            steps.append((_change_between(tz, before, after) * 1_000, new * 1_000))
    return tuple(steps)


def _change_between(tz: ZoneInfo, before_s: int, after_s: int) -> int:
    """Return the second in (before_s, after_s] at which the offset changes to the offset at `after_s`."""
    new = _offset_s(tz, after_s)
    while after_s - before_s > 1:
        middle = (before_s + after_s) // 2
        if _offset_s(tz, middle) == new:
            after_s = middle
        else:
            before_s = middle
    return after_s


def _offset_s(tz: ZoneInfo, instant_s: int) -> int:
    offset = dt.datetime.fromtimestamp(instant_s, tz).utcoffset()
    return 0 if offset is None else offset.days * _DAY_S + offset.seconds


def _same_city(name: str) -> list[str]:
    """Return at most 3 zones with the same last part as the name, ignoring case (Europe/Berlin for `berlin`)."""
    city = name.rpartition("/")[2].replace(" ", "_").casefold()
    return sorted(zone for zone in zone_names() if zone.rpartition("/")[2].casefold() == city)[:3]
