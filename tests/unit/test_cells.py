"""Test cells, civil days and buckets: the vectors Z-a to Z-g and similar cases, compared with zoneinfo."""

import datetime as dt
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from hitmesh.model.cells import (
    HOUR_MS,
    Bucket,
    Grain,
    buckets_between,
    cell_of,
    civil_range,
    day_start_ms,
    utc_day_of,
)
from hitmesh.model.errors import RefusedError
from hitmesh.model.limits import CELL_MS
from hitmesh.model.zones import (
    DAY_MS,
    TZDB_VERSION,
    CivilTimeError,
    UnknownTimeZoneError,
    load_zone,
    local_date,
    local_days,
    offsets_at,
    relative_dates,
    zone_names,
)
from tests.support.dates import buckets


def utc(text: str) -> int:
    return int(dt.datetime.fromisoformat(text + "+00:00").timestamp() * 1_000)


def date(text: str) -> dt.date:
    return dt.date.fromisoformat(text)


def cells_by_zoneinfo(zone: str, day: dt.date) -> list[int]:
    """Return every cell whose start has the given local date, according to zoneinfo."""
    tz: ZoneInfo = load_zone(zone)
    noon = int(dt.datetime(day.year, day.month, day.day, 12, tzinfo=dt.UTC).timestamp() * 1_000)
    around = range(noon - 2 * DAY_MS, noon + 2 * DAY_MS, CELL_MS)
    return [cell for cell in around if dt.datetime.fromtimestamp(cell // 1_000, tz).date() == day]


VECTORS = [
    ("Europe/Berlin", "2026-03-29", "2026-03-28T23:00", 92, 23),
    ("Europe/Berlin", "2026-10-25", "2026-10-24T22:00", 100, 25),
    ("Australia/Lord_Howe", "2026-04-05", "2026-04-04T13:00", 98, 25),
    ("Australia/Lord_Howe", "2026-10-04", "2026-10-03T13:30", 94, 24),
    ("Asia/Kathmandu", "2026-07-01", "2026-06-30T18:15", 96, 24),
    ("Africa/Cairo", "2026-04-24", "2026-04-23T22:00", 92, 23),
    ("Asia/Beirut", "2026-03-29", "2026-03-28T22:00", 92, 23),
    ("America/Santiago", "2026-09-06", "2026-09-06T04:00", 92, 23),
    ("Pacific/Chatham", "2026-04-05", "2026-04-04T10:15", 100, 26),
    ("America/St_Johns", "2026-11-01", "2026-11-01T02:30", 100, 25),
]


@pytest.mark.parametrize(("zone", "day", "start", "n_cells", "n_hours"), VECTORS)
def test_civil_day_of_the_vectors_holds_the_cells_that_zoneinfo_gives(
    zone: str, day: str, start: str, n_cells: int, n_hours: int
) -> None:
    start_ms, end_ms = civil_range(zone, date(day), date(day))
    assert start_ms == utc(start)
    assert end_ms == start_ms + n_cells * CELL_MS
    assert list(range(start_ms, end_ms, CELL_MS)) == cells_by_zoneinfo(zone, date(day))
    assert len(buckets(zone, date(day), date(day), Grain.HOUR)) == n_hours
    assert len(buckets(zone, date(day), date(day), Grain.MIN_15)) == n_cells


@pytest.mark.parametrize(("zone", "day", "start", "n_cells", "n_hours"), VECTORS)
def test_every_label_reads_back_as_the_start_of_its_bucket(
    zone: str, day: str, start: str, n_cells: int, n_hours: int
) -> None:
    for grain in Grain:
        for bucket in buckets(zone, date(day), date(day), grain):
            local = dt.datetime.fromisoformat(bucket.label)
            assert local.timestamp() * 1_000 == bucket.start_ms
            assert local.utcoffset() == local.astimezone(load_zone(zone)).utcoffset()


def test_spring_forward_day_has_no_two_oclock_row() -> None:
    hours = buckets("Europe/Berlin", date("2026-03-29"), date("2026-03-29"), Grain.HOUR)
    assert hours.labels[1:3] == ["2026-03-29T01:00:00+01:00", "2026-03-29T03:00:00+02:00"]
    assert not hours.partial.any()


def test_fall_back_day_shows_both_two_oclock_hours() -> None:
    hours = buckets("Europe/Berlin", date("2026-10-25"), date("2026-10-25"), Grain.HOUR)
    assert hours[2] == Bucket(utc("2026-10-25T00:00"), utc("2026-10-25T01:00"), "2026-10-25T02:00:00+02:00", False)
    assert hours[3] == Bucket(utc("2026-10-25T01:00"), utc("2026-10-25T02:00"), "2026-10-25T02:00:00+01:00", False)


def test_half_hour_shift_leaves_a_short_hour_of_its_own_flagged_partial() -> None:
    back = buckets("Australia/Lord_Howe", date("2026-04-05"), date("2026-04-05"), Grain.HOUR)
    assert [b.label for b in back if b.partial] == ["2026-04-05T01:30:00+10:30"]
    assert back.labels[1] == "2026-04-05T01:00:00+11:00"
    forward = buckets("Australia/Lord_Howe", date("2026-10-04"), date("2026-10-04"), Grain.HOUR)
    assert [b.label for b in forward if b.partial] == ["2026-10-04T02:30:00+11:00"]


def test_shift_at_a_quarter_to_cuts_the_hours_on_both_sides() -> None:
    hours = buckets("Pacific/Chatham", date("2026-04-05"), date("2026-04-05"), Grain.HOUR)
    short = [(b.label, (b.end_ms - b.start_ms) // CELL_MS) for b in hours if b.partial]
    assert short == [("2026-04-05T03:00:00+13:45", 3), ("2026-04-05T02:45:00+12:45", 1)]


def test_a_day_of_23_hours_is_whole_and_its_label_begins_at_one() -> None:
    days = buckets("Africa/Cairo", date("2026-04-23"), date("2026-04-24"), Grain.DAY)
    assert days.labels == ["2026-04-23T00:00:00+02:00", "2026-04-24T01:00:00+03:00"]
    assert not days.partial.any()


def test_a_date_the_zone_skipped_is_empty_and_has_no_row() -> None:
    start_ms, end_ms = civil_range("Pacific/Apia", date("2011-12-30"), date("2011-12-30"))
    assert start_ms == end_ms == utc("2011-12-30T10:00")
    assert len(buckets("Pacific/Apia", date("2011-12-30"), date("2011-12-30"), Grain.DAY)) == 0
    days = buckets("Pacific/Apia", date("2011-12-29"), date("2011-12-31"), Grain.DAY)
    assert days.labels == ["2011-12-29T00:00:00-10:00", "2011-12-31T00:00:00+14:00"]


def test_a_day_begins_at_its_first_instant_where_clocks_went_back_just_after_midnight() -> None:
    # At 00:01 on 7 November 2010 the clocks went back to 23:01 on the 6th, so the previous minute was already on the
    # 7th.
    start_ms, end_ms = civil_range("America/St_Johns", date("2010-11-07"), date("2010-11-07"))
    assert (start_ms, end_ms) == (utc("2010-11-07T02:30"), utc("2010-11-08T03:30"))
    with pytest.raises(CivilTimeError, match="America/St_Johns on 2010-11-06: the bucket edge 2010-11-07T02:31"):
        buckets("America/St_Johns", date("2010-11-07"), date("2010-11-07"), Grain.HOUR)


def test_weeks_start_on_monday_by_default_and_cut_weeks_are_partial() -> None:
    # 2026-07-01 is a Wednesday.
    weeks = buckets("UTC", date("2026-07-01"), date("2026-07-19"), Grain.WEEK)
    assert [(b.label[:10], b.partial) for b in weeks] == [
        ("2026-07-01", True),
        ("2026-07-06", False),
        ("2026-07-13", False),
    ]
    sundays = buckets("UTC", date("2026-07-05"), date("2026-07-19"), Grain.WEEK, week_start=6)
    assert [(b.label[:10], b.partial) for b in sundays] == [
        ("2026-07-05", False),
        ("2026-07-12", False),
        ("2026-07-19", True),
    ]


@pytest.mark.parametrize(
    ("grain", "expected"),
    [
        (Grain.MONTH, [("2025-12-31", True), ("2026-01-01", False), ("2026-02-01", True)]),
        (Grain.QUARTER, [("2025-12-31", True), ("2026-01-01", True)]),
        (Grain.YEAR, [("2025-12-31", True), ("2026-01-01", True)]),
        (Grain.NONE, [("2025-12-31", False)]),
    ],
)
def test_months_quarters_and_years_follow_the_civil_date(grain: Grain, expected: list[tuple[str, bool]]) -> None:
    found = buckets("Asia/Kathmandu", date("2025-12-31"), date("2026-02-27"), grain)
    assert [(b.label[:10], b.partial) for b in found] == expected


def test_whole_periods_are_not_partial() -> None:
    for grain in (Grain.MONTH, Grain.QUARTER, Grain.YEAR):
        assert not buckets("Europe/Berlin", date("2024-01-01"), date("2025-12-31"), grain).partial.any()


def test_label_carries_the_local_offset_at_every_grain() -> None:
    for grain in Grain:
        first = buckets("Asia/Kathmandu", date("2015-05-17"), date("2015-06-17"), grain)[0]
        assert first.label == "2015-05-17T00:00:00+05:45"


def test_absolute_range_clips_its_first_and_last_buckets() -> None:
    days = buckets_between("Europe/Berlin", utc("2026-07-01T12:15"), utc("2026-07-03T00:00"), Grain.DAY)
    assert [(b.label, b.partial) for b in days] == [
        ("2026-07-01T14:15:00+02:00", True),
        ("2026-07-02T00:00:00+02:00", False),
        ("2026-07-03T00:00:00+02:00", True),
    ]
    hours = buckets_between("UTC", utc("2026-07-01T12:15"), utc("2026-07-01T14:00"), Grain.HOUR)
    assert hours.partial.tolist() == [True, False]


def test_empty_range_has_no_buckets_at_any_grain() -> None:
    for grain in Grain:
        found = buckets_between("Europe/Berlin", utc("2026-07-01T12:15"), utc("2026-07-01T12:15"), grain)
        assert len(found) == 0
        assert found.labels == []


def test_cells_and_utc_days_floor_before_the_epoch_too() -> None:
    assert cell_of(899_999) == 0
    assert cell_of(-1) == -900_000
    assert cell_of(np.array([900_000, 1_799_999], np.int64)).tolist() == [900_000, 900_000]
    assert utc_day_of(86_400_000) == 1
    assert utc_day_of(-1) == -1
    assert day_start_ms(np.array([1, 2], np.int64)).tolist() == [DAY_MS, 2 * DAY_MS]


def test_local_days_and_offsets_follow_the_zone_instant_by_instant() -> None:
    instants = np.array([utc("2026-03-28T22:59:59"), utc("2026-03-28T23:00"), utc("2026-03-29T01:00")], np.int64)
    assert (offsets_at("Europe/Berlin", instants) // HOUR_MS).tolist() == [1, 1, 2]
    assert np.diff(local_days("Europe/Berlin", instants)).tolist() == [1, 0]
    assert local_date("Asia/Kathmandu", utc("2026-06-30T18:15")) == date("2026-07-01")
    assert len(offsets_at("UTC", np.empty(0, np.int64))) == 0


def test_unknown_zone_names_the_nearest_ones() -> None:
    with pytest.raises(UnknownTimeZoneError, match="did you mean Europe/Berlin"):
        civil_range("Europe/Berln", date("2026-07-01"), date("2026-07-01"))
    with pytest.raises(UnknownTimeZoneError, match="did you mean Europe/Berlin"):
        load_zone("berlin")
    for name in ("", "../zones", "/etc/localtime", "Factory", "Europe"):
        with pytest.raises(ValueError, match="unknown time zone"):
            load_zone(name)


def test_unknown_zone_is_refused_at_every_grain() -> None:
    for grain in Grain:
        with pytest.raises(UnknownTimeZoneError):
            buckets_between("Mars/Base", 0, 0, grain)


def test_zones_come_from_the_pinned_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONTZPATH", "/nonexistent")
    assert load_zone.__wrapped__("Asia/Tokyo").key == "Asia/Tokyo"
    assert {"UTC", "Etc/UTC", "Asia/Calcutta", "Asia/Kolkata"} <= zone_names()
    assert TZDB_VERSION[:2] == "20"


def test_local_mean_time_is_refused_by_zone_and_date() -> None:
    with pytest.raises(CivilTimeError) as refusal:
        civil_range("Africa/Monrovia", date("1971-05-01"), date("1971-05-01"))
    assert refusal.value.message == (
        "Africa/Monrovia on 1971-05-01: the bucket edge 1971-05-01T00:44:30.000Z is not a multiple of 15 minutes: "
        "use a coarser grain, a later range, or another time zone such as UTC"
    )
    assert isinstance(refusal.value, RefusedError)
    assert refusal.value.reason == "INVALID_TIME_RANGE"


@pytest.mark.parametrize(
    ("start_ms", "end_ms", "complaint"),
    [
        (900_000, 0, "before its start"),
        (0, 1_000, "not a multiple of 15 minutes"),
        (0, 10**16, "outside 1970-01-01 to 2199-12-31"),
    ],
)
def test_impossible_absolute_ranges_are_refused(start_ms: int, end_ms: int, complaint: str) -> None:
    for grain in Grain:
        with pytest.raises(CivilTimeError, match=complaint):
            buckets_between("UTC", start_ms, end_ms, grain)


def test_impossible_dates_are_refused() -> None:
    with pytest.raises(CivilTimeError, match="is before first date"):
        civil_range("UTC", date("2026-07-02"), date("2026-07-01"))
    with pytest.raises(CivilTimeError, match="outside 1970-01-01"):
        civil_range("UTC", date("1969-12-31"), date("1969-12-31"))
    with pytest.raises(CivilTimeError, match="week_start 7"):
        buckets("UTC", date("2026-07-01"), date("2026-07-01"), Grain.WEEK, week_start=7)
    assert len(buckets("Etc/GMT-14", date("1970-01-01"), date("2199-12-31"), Grain.YEAR)) == 230


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("7d", "2026-07-09", "2026-07-15"),
        ("last 7d", "2026-07-09", "2026-07-15"),
        ("1d", "2026-07-15", "2026-07-15"),
        ("2w", "2026-07-02", "2026-07-15"),
        ("1m", "2026-06-16", "2026-07-15"),
        ("12m", "2025-07-16", "2026-07-15"),
        ("1y", "2025-07-16", "2026-07-15"),
        ("today", "2026-07-15", "2026-07-15"),
        ("yesterday", "2026-07-14", "2026-07-14"),
        ("this_month", "2026-07-01", "2026-07-15"),
        ("last_month", "2026-06-01", "2026-06-30"),
    ],
)
def test_relative_range_ends_with_the_zones_today(text: str, first: str, last: str) -> None:
    now_ms = utc("2026-07-14T18:15")  # this is midnight of 15 July in Kathmandu
    assert relative_dates(text, "Asia/Kathmandu", now_ms) == (date(first), date(last))


def test_months_go_back_to_the_months_last_date_where_there_is_no_such_day() -> None:
    assert relative_dates("1m", "UTC", utc("2026-03-31T10:00"))[0] == date("2026-03-01")
    assert relative_dates("1m", "UTC", utc("2024-03-30T10:00"))[0] == date("2024-03-01")
    assert relative_dates("1m", "UTC", utc("2026-01-15T10:00"))[0] == date("2025-12-16")
    assert relative_dates("1y", "UTC", utc("2024-02-29T10:00"))[0] == date("2023-03-01")


@pytest.mark.parametrize("text", ["", "7", "0d", "-7d", "7 d", "7h", "last week", "99999y", "99999d"])
def test_other_relative_ranges_are_refused(text: str) -> None:
    with pytest.raises(CivilTimeError, match="range"):
        relative_dates(text, "UTC", utc("2026-07-14T18:15"))
