"""Properties of the time axis in every zone.

Buckets cover the time without overlap. Finer grains divide coarser grains (P3). All local times equal the local times
that zoneinfo computes.
"""

import datetime as dt
import importlib.resources
import struct
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hitmesh.model.cells import Grain, buckets_between, civil_range
from hitmesh.model.limits import CELL_MS
from hitmesh.model.zones import DAY_MS, day_number, day_starts, load_zone, offsets_at, zone_names
from tests.support.dates import buckets

# Zones with unusual clock changes are drawn as often as all other zones together.
ODD_ZONES = [
    "Africa/Cairo",
    "Africa/Casablanca",
    "America/Havana",
    "America/Santiago",
    "America/St_Johns",
    "Antarctica/Troll",
    "Asia/Beirut",
    "Asia/Kathmandu",
    "Asia/Pyongyang",
    "Australia/Lord_Howe",
    "Europe/Berlin",
    "Pacific/Apia",
    "Pacific/Chatham",
]
zones = st.one_of(st.sampled_from(ODD_ZONES), st.sampled_from(sorted(zone_names())))
dates = st.dates(dt.date(2015, 1, 1), dt.date(2030, 12, 31))
FINER_TO_COARSER = [
    (Grain.MIN_15, Grain.HOUR),
    (Grain.HOUR, Grain.DAY),
    (Grain.DAY, Grain.WEEK),
    (Grain.DAY, Grain.MONTH),
    (Grain.MONTH, Grain.QUARTER),
    (Grain.QUARTER, Grain.YEAR),
    (Grain.YEAR, Grain.NONE),
]


@given(zones, dates, st.integers(0, 45), st.integers(0, 6))
def test_every_finer_grain_partitions_the_coarser_one_exactly(
    zone: str, first: dt.date, n_days: int, week_start: int
) -> None:
    last = first + dt.timedelta(days=n_days)
    for finer, coarser in FINER_TO_COARSER:
        fine = buckets(zone, first, last, finer, week_start)
        coarse = buckets(zone, first, last, coarser, week_start)
        assert (fine.starts[0], fine.ends[-1]) == (coarse.starts[0], coarse.ends[-1])
        assert np.isin(coarse.starts, fine.starts).all()
        # The finer buckets inside a coarser bucket must together have as many cells as the coarser bucket.
        owner = np.searchsorted(coarse.starts, fine.starts, "right") - 1
        sums = np.bincount(owner, weights=(fine.ends - fine.starts) // CELL_MS, minlength=len(coarse))
        assert sums.tolist() == ((coarse.ends - coarse.starts) // CELL_MS).tolist()


@given(zones, st.integers(1_420_070_400_000 // CELL_MS, 1_924_991_999_000 // CELL_MS), st.integers(0, 4_000))
def test_buckets_of_any_absolute_range_are_its_partition(zone: str, first_cell: int, n_cells: int) -> None:
    start_ms, end_ms = first_cell * CELL_MS, (first_cell + n_cells) * CELL_MS
    for grain in Grain:
        found = buckets_between(zone, start_ms, end_ms, grain)
        edges = [start_ms, *found.ends.tolist()]
        assert edges[-1] == end_ms
        assert found.starts.tolist() == edges[:-1]
        assert all(before < after and after % CELL_MS == 0 for before, after in pairwise(edges))
        assert len(set(found.labels)) == len(found)


@given(zones, dates)
def test_a_civil_day_holds_the_instants_that_zoneinfo_dates_so(zone: str, day: dt.date) -> None:
    tz = load_zone(zone)
    start_ms, end_ms = civil_range(zone, day, day)
    noon_ms = day_number(day) * DAY_MS + DAY_MS // 2
    for cell in range(noon_ms - 2 * DAY_MS, noon_ms + 2 * DAY_MS, CELL_MS):
        is_of_day = dt.datetime.fromtimestamp(cell // 1_000, tz).date() == day
        assert is_of_day == (start_ms <= cell < end_ms)


@given(zones, st.lists(st.integers(0, 4_102_444_800), min_size=1, max_size=50))
def test_offsets_are_those_of_zoneinfo(zone: str, instants_s: list[int]) -> None:
    tz = load_zone(zone)
    expected = [dt.datetime.fromtimestamp(at, tz).utcoffset() for at in instants_s]
    found = offsets_at(zone, np.array(instants_s, np.int64) * 1_000)
    assert [dt.timedelta(milliseconds=offset) for offset in found.tolist()] == expected


@pytest.mark.timeout(90)  # the test checks every day of 16 years in 597 zones
@pytest.mark.parametrize("every", [7, pytest.param(1, marks=pytest.mark.long)])
def test_every_civil_day_of_every_zone_in_use_begins_on_a_cell(every: int) -> None:
    days = np.arange(day_number(dt.date(2015, 1, 1)), day_number(dt.date(2031, 1, 2)), dtype=np.int64)
    for zone in sorted(zone_names())[::every]:
        starts = day_starts(zone, days)
        assert not (starts % CELL_MS).any(), zone
        assert (np.diff(starts) >= 0).all(), zone
        assert (np.diff(starts) <= 27 * 4 * CELL_MS).all(), zone  # Antarctica/Casey set its clocks back by three hours


def test_no_zone_changes_its_offset_twice_within_two_days_since_1969() -> None:
    """`hitmesh.model.zones` reads a zone's offset once a day.

    Two changes of a zone's offset must be more than two days apart, so that `hitmesh.model.zones` finds both changes.
    """
    for zone in sorted(zone_names()):
        changes = offset_changes_s(zone)
        assert all(later - earlier > 2 * 86_400 for earlier, later in pairwise(changes)), zone


def offset_changes_s(zone: str) -> list[int]:
    """Return the times at which the zone's offset has changed since 1969, in seconds, from the zone file (RFC 8536)."""
    octets = importlib.resources.files("tzdata").joinpath("zoneinfo", *zone.split("/")).read_bytes()
    counts = struct.unpack(">6l", octets[20:44])
    n_utc, n_std, n_leap, n_times, n_types, n_chars = counts
    second = 44 + n_times * 5 + n_types * 6 + n_chars + n_leap * 8 + n_std + n_utc
    n_times, n_types = struct.unpack(">2l", octets[second + 32 : second + 40])
    body = second + 44
    times = struct.unpack(f">{n_times}q", octets[body : body + 8 * n_times])
    kinds = octets[body + 8 * n_times : body + 9 * n_times]
    types = body + 9 * n_times
    offsets = [struct.unpack(">l", octets[types + 6 * i : types + 6 * i + 4])[0] for i in range(n_types)]
    held = [offsets[0], *(offsets[kind] for kind in kinds)]
    changed = (at for at, before, after in zip(times, held, held[1:], strict=False) if before != after)
    return [at for at in changed if at > -365 * 86_400]
