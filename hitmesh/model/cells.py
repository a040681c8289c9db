"""The time axis: 15-minute UTC cells, and a report's buckets, which consist of cells (journey steps 5 and 8).

This module decides the start and end times of cells, UTC days and buckets (architecture A10, rules Z1 to Z4). This
module also decides which buckets are partial, and how buckets are labelled. A bucket is identified by the UTC instant
at which it starts. The bucket's label is the local start time with the offset from UTC. When clocks fall back, the two
02:00 hours are therefore two buckets. An hour that the clocks skip has no bucket.

Every range of instants is half-open, in UTC milliseconds. A range of dates includes its last date; `civil_range`
converts such a range to instants.
"""

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Final, TypeVar

import numpy as np

from hitmesh.model.arrays import BoolArray, I64Array
from hitmesh.model.limits import CELL_MS
from hitmesh.model.zones import (
    DAY_MS,
    CivilTimeError,
    date_of,
    day_number,
    day_starts,
    local_days,
    offset_steps,
    offsets_at,
)

HOUR_MS: Final = 3_600_000
MONDAY: Final = 0

_TimesT = TypeVar("_TimesT", int, I64Array)


class Grain(StrEnum):
    """Bucket length; `NONE` makes the whole range a single bucket."""

    NONE = "none"
    MIN_15 = "min_15"
    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    QUARTER = "quarter"
    YEAR = "year"


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket of the time axis. `partial` is true if the bucket is shorter than its grain."""

    start_ms: int
    end_ms: int
    label: str
    partial: bool


@dataclass(frozen=True, eq=False)
class Buckets:
    """Adjacent buckets in order.

    `starts` and `ends` are int64 arrays (n,) in UTC ms, multiples of `CELL_MS`; `partial` is a bool array (n,).
    """

    zone: str
    grain: Grain
    starts: I64Array
    ends: I64Array
    partial: BoolArray

    def __len__(self) -> int:
        """Return the number of buckets."""
        return len(self.starts)

    def __getitem__(self, index: int) -> Bucket:
        """Return bucket `index`."""
        start_ms, end_ms = int(self.starts[index]), int(self.ends[index])
        return Bucket(start_ms, end_ms, self.labels[index], bool(self.partial[index]))

    def __iter__(self) -> Iterator[Bucket]:
        """Yield the buckets in order."""
        return map(self.__getitem__, range(len(self)))

    @cached_property
    def labels(self) -> list[str]:
        """The local start of each bucket, such as `2015-05-17T00:00:00+05:45`, at every grain (rule Z1).

        Example:
            >>> day = dt.date(2026, 10, 25)  # the clocks go back: vector Z-b
            >>> buckets_between("Europe/Berlin", *civil_range("Europe/Berlin", day, day), Grain.HOUR).labels[2:4]
            ['2026-10-25T02:00:00+02:00', '2026-10-25T02:00:00+01:00']
        """
        offsets = offsets_at(self.zone, self.starts)
        local = np.datetime_as_string((self.starts + offsets).astype("datetime64[ms]"), unit="s")
        suffixes = {offset: _offset_text(offset) for offset in np.unique(offsets).tolist()}
        return [at + suffixes[offset] for at, offset in zip(local.tolist(), offsets.tolist(), strict=True)]


def cell_of(time_ms: _TimesT) -> _TimesT:
    """Return the start of the cell that contains the instant, in UTC ms, for an int or an int64 array.

    Example:
        >>> cell_of(2_699_999) == 2 * CELL_MS  # 00:44:59.999 is in the cell of 00:30
        True
    """
    return time_ms - time_ms % CELL_MS


def utc_day_of(time_ms: _TimesT) -> _TimesT:
    """Return the instant's UTC day as days since 1970-01-01, for an int or an int64 array.

    Example:
        >>> utc_day_of(20_758 * DAY_MS - 1), utc_day_of(20_758 * DAY_MS)
        (20757, 20758)
    """
    return time_ms // DAY_MS


def day_start_ms(utc_day: _TimesT) -> _TimesT:
    """Return the first instant, in UTC ms, of a UTC day given as days since 1970-01-01.

    Example:
        >>> day_start_ms(20_758)  # 2026-11-01T00:00Z
        1793491200000
    """
    return utc_day * DAY_MS


def civil_range(zone: str, first_date: dt.date, last_date: dt.date) -> tuple[int, int]:
    """Return the range [start_ms, end_ms) of instants from the first local date to the last, both included.

    Raises:
        UnknownTimeZoneError: the zone does not exist.
        CivilTimeError: the last date is before the first, a date is out of range, or a day in this zone does not begin
            on a quarter hour (only in past times with local mean time).

    Example:
        >>> day = dt.date(2026, 4, 5)
        >>> start_ms, end_ms = civil_range("Australia/Lord_Howe", day, day)
        >>> (end_ms - start_ms) / HOUR_MS  # vector Z-c
        24.5
    """
    if last_date < first_date:
        raise CivilTimeError(
            f"last date {last_date} is before first date {first_date}: swap the dates",
            first=str(first_date),
            last=str(last_date),
        )
    edges = day_starts(zone, np.array([day_number(first_date), day_number(last_date) + 1], np.int64))
    _require_cells(zone, edges)
    return int(edges[0]), int(edges[1])


def buckets_between(zone: str, start_ms: int, end_ms: int, grain: Grain, week_start: int = MONDAY) -> Buckets:
    """Return the buckets that cover [start_ms, end_ms).

    The first and the last bucket are clipped to the range. A clipped bucket is partial.

    Hours that a 30- or 45-minute clock change cuts short are also partial (rule Z3). A day of 23 or 25 hours is not
    partial. An empty range has no buckets.

    Raises:
        UnknownTimeZoneError: the zone does not exist.
        CivilTimeError: the range ends before its start, is too old or too new, or a boundary is not on a quarter hour.

    Example:
        >>> day = dt.date(2026, 4, 5)
        >>> start_ms, end_ms = civil_range("Australia/Lord_Howe", day, day)
        >>> hours = buckets_between("Australia/Lord_Howe", start_ms, end_ms, Grain.HOUR)
        >>> [hour.label for hour in hours if hour.partial]  # rule Z3
        ['2026-04-05T01:30:00+10:30']
    """
    if start_ms > end_ms:
        raise CivilTimeError(
            f"range ends at {end_ms} ms, before its start at {start_ms} ms", first=start_ms, last=end_ms
        )
    span = np.array([start_ms, end_ms], np.int64)
    local_days(zone, span)  # raises an error for an unknown zone or for unsupported dates
    _require_cells(zone, span)
    edges = _whole_edges(zone, start_ms, end_ms, grain, week_start)
    first, last = np.searchsorted(edges, [start_ms, end_ms])
    inner = edges[np.searchsorted(edges, start_ms, "right") : last]
    clipped = np.concatenate([[start_ms], inner, [end_ms]]) if start_ms < end_ms else inner
    _require_cells(zone, clipped)
    starts, ends = clipped[:-1], clipped[1:]
    partial = np.zeros(len(starts), np.bool_)
    if grain is Grain.HOUR:
        partial |= ends - starts < HOUR_MS
    elif len(partial) and grain is not Grain.NONE:
        partial[0] |= edges[first] != start_ms
        partial[-1] |= edges[last] != end_ms
    return Buckets(zone, grain, starts, ends, partial)


def _whole_edges(zone: str, start_ms: int, end_ms: int, grain: Grain, week_start: int) -> I64Array:
    """Return the boundaries of the whole buckets that cover the range, strictly ascending."""
    match grain:
        case Grain.NONE:
            return np.array([start_ms, end_ms], np.int64)
        case Grain.MIN_15:
            return np.arange(start_ms, end_ms + CELL_MS, CELL_MS, dtype=np.int64)
        case Grain.HOUR:
            return _hour_edges(zone, start_ms, end_ms)
        case _:
            first, last = local_days(zone, np.array([start_ms, max(start_ms, end_ms - 1)], np.int64)).tolist()
            # One more day on either side is included, because the time ranges of neighbouring dates overlap if clocks
            # are set back over midnight.
            return np.unique(day_starts(zone, _period_firsts(grain, first - 1, last + 2, week_start)))


def _hour_edges(zone: str, start_ms: int, end_ms: int) -> I64Array:
    """Return the instants at which a local hour begins, the clocks change, or a local day begins."""
    instants, offsets = offset_steps(zone, start_ms, end_ms + 1)
    ends = np.append(instants[1:], end_ms + HOUR_MS)
    begins = np.maximum(instants, start_ms - HOUR_MS)
    parts = [
        np.arange(-(-(begin + offset) // HOUR_MS) * HOUR_MS - offset, end, HOUR_MS, dtype=np.int64)
        for begin, end, offset in zip(begins.tolist(), ends.tolist(), offsets.tolist(), strict=True)
    ]
    days = _whole_edges(zone, start_ms, end_ms, Grain.DAY, MONDAY)
    return np.unique(np.concatenate([*parts, instants[1:], days]))


def _period_firsts(grain: Grain, first_day: int, last_day: int, week_start: int) -> I64Array:
    """Return the first day of each period that overlaps [first_day, last_day], and the day after the last period."""
    if grain is Grain.DAY:
        return np.arange(first_day, last_day + 2, dtype=np.int64)
    if grain is Grain.WEEK:
        if not 0 <= week_start <= 6:
            raise CivilTimeError(f"week_start {week_start} is not 0 (Monday) to 6 (Sunday)", value=week_start)
        since_week_start = (first_day + 3 - week_start) % 7  # 1970-01-01 was a Thursday
        return np.arange(first_day - since_week_start, last_day + 8, 7, dtype=np.int64)
    months = {Grain.MONTH: 1, Grain.QUARTER: 3, Grain.YEAR: 12}[grain]
    first, last = np.array([first_day, last_day]).astype("datetime64[D]").astype("datetime64[M]").astype(int)
    firsts = np.arange(first - first % months, last + months + 1, months)
    return firsts.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)


def _require_cells(zone: str, edges: I64Array) -> None:
    """Raise CivilTimeError for a boundary that does not start a cell; the message names the zone and the date."""
    off = edges[edges % CELL_MS != 0]
    if len(off):
        date = date_of(int(local_days(zone, off[:1])[0]))
        at = np.datetime_as_string(off[0].astype("datetime64[ms]"), unit="ms")
        raise CivilTimeError(
            f"{zone} on {date}: the bucket edge {at}Z is not a multiple of 15 minutes: use a coarser grain, a later "
            "range, or another time zone such as UTC",
            zone=zone,
            first=str(date),
            value=at,
        )


def _offset_text(offset_ms: int) -> str:
    """Return the offset as `+05:45`; the offsets of labels are always whole minutes."""
    minutes = abs(offset_ms) // 60_000
    return f"{'-' if offset_ms < 0 else '+'}{minutes // 60:02d}:{minutes % 60:02d}"
