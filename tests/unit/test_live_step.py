"""Test the output of a stream step, with literal times: immediate rows, retractions and waiting hits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from hitmesh.model.positions import PartitionId, Position
from hitmesh.model.records import LoggedRecord, Record, RecordKind
from hitmesh.model.rows.columns import pack_record
from hitmesh.model.rows.rollup_rows import TRAFFIC_MEASURES, VISITS_MEASURES
from hitmesh.model.rows.stream_columns import MOVED_VISITORS
from processor.stream.intake import take_in, windows
from processor.stream.live.limits import PRODUCTION, Limits
from processor.stream.live.sites import DEFAULT_RULES
from processor.stream.live.state import LiveState, PathCounts
from processor.stream.live.step import RecordsOf, Stepped, apply, prepare
from processor.stream.spilled import SpillFiles
from tests.reference.hits import RefHit
from tests.support.small_mesh import hit_rows

SITE = "merchants/m/sites/s"
MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR
MIDNIGHT = 20_000 * DAY
PARTITION = PartitionId("log", 0)


def a_hit(minute: float, hit_id: str | None = None, visitor: str = "v", **fields: Any) -> RefHit:
    page = fields.pop("page_path", f"/{minute:g}")
    at_ms = MIDNIGHT + round(minute * MINUTE)
    return RefHit(SITE, visitor, hit_id or f"{visitor}-{minute}", at_ms, page_path=page, **fields)


class Stream:
    """The state of a partition, and the output of its last step."""

    def __init__(self, cache: Path, limits: Limits = PRODUCTION) -> None:
        self.state = LiveState(PARTITION, SpillFiles(cache).spill, limits)
        self.counts = PathCounts()
        self._offset = 0

    def at(self, minute: float, *hits: RefHit) -> dict[str, int]:
        """Process a record whose log time is at the given minute, and return the net output."""
        return net(self._step([self._logged(minute, hits)]))

    def at_once(self, minute: float, *records: Sequence[RefHit]) -> None:
        """Process several records in a single step."""
        self._step([self._logged(minute, hits) for hits in records])

    def _logged(self, minute: float, hits: Sequence[RefHit]) -> LoggedRecord:
        record = (
            Record(RecordKind.HITS, pack_record(hit_rows(hits)), len(hits)) if hits else Record(RecordKind.HEARTBEAT)
        )
        logged = LoggedRecord(Position(*PARTITION, self._offset), MIDNIGHT + round(minute * MINUTE), record)
        self._offset += 1
        return logged

    def _step(self, records: Sequence[LoggedRecord]) -> Stepped:
        taken = take_in(records).partitions[PARTITION]
        prepared = prepare(self.state, RecordsOf(taken.ends, taken.hits), {SITE: DEFAULT_RULES})
        stepped = apply(self.state, prepared, prepared.claiming)
        self.counts.add(stepped.counts)
        self.last = stepped
        return stepped


def net(stepped: Stepped) -> dict[str, int]:
    """Return the sum of each measure over a step's rows, without zeros."""
    traffic, visits = stepped.rows.traffic, stepped.rows.visits
    sums = {name: int(traffic[name].sum()) for name in (*TRAFFIC_MEASURES, MOVED_VISITORS)}
    sums |= {name: int(visits[name].sum()) for name in VISITS_MEASURES}
    return {name: value for name, value in sums.items() if value}


@pytest.fixture
def stream(tmp_path: Path) -> Stream:
    return Stream(tmp_path)


def test_visit_counts_at_once_and_its_end_when_log_time_is_past_the_gap(stream: Stream) -> None:
    first = stream.at(600, a_hit(600))
    assert first == {"hits": 1, "pageviews": 1, "visits": 1, "bounces": 1, "entries": 1}
    assert stream.at(610, a_hit(605)) == {"hits": 1, "pageviews": 1, "bounces": -1}
    assert stream.at(635) == {}  # exactly the gap has passed, so the visit may still continue
    assert stream.at(635.0001) == {"visit_duration_total": 5 * MINUTE, "visit_views": 2, "exits": 1}
    assert stream.at(700) == {}
    assert (stream.counts.fast, stream.counts.slow) == (2, 0)


def test_row_of_an_open_visit_has_no_exit_page_and_is_written_anew_when_it_ends(stream: Stream) -> None:
    stream.at(600, a_hit(600), a_hit(601))
    assert stream.last.rows.visits["exit_page"].to_list() == [None]
    stream.at(640)
    ended = {row["exit_page"]: row["visits"] for row in stream.last.rows.visits.iter_rows(named=True)}
    assert ended == {None: -1, "/601": 1}


def test_hit_between_two_visits_merges_them(stream: Stream) -> None:
    """In vector S-c, the differences are −1 visit and −2 bounces."""
    stream.at(600, a_hit(600))
    assert stream.at(650, a_hit(650))["visits"] == 1
    merged = stream.at(652, a_hit(625))
    assert (merged["visits"], merged["bounces"], merged["hits"]) == (-1, -2, 1)
    # The first visit had ended, so its duration, views and exit are retracted.
    assert (merged["visit_views"], merged["exits"], merged["entries"]) == (-1, -1, -1)
    assert stream.at(681) == {"visit_duration_total": 50 * MINUTE, "visit_views": 3, "exits": 1}
    assert (stream.counts.fast, stream.counts.slow) == (2, 1)


def test_earlier_hit_becomes_the_first_and_its_dimensions_go_to_all(stream: Stream) -> None:
    """Vector S-d. The visitor moves to another row, but cannot be removed from the previous row's sketch (rule S8)."""
    stream.at(610, a_hit(610))
    changed = stream.at(611, a_hit(600))
    assert changed == {"hits": 1, "pageviews": 1, "bounces": -1, MOVED_VISITORS: 1}
    rows = stream.last.rows.traffic.select("page_path", "landing_page", "hits", MOVED_VISITORS).sort(
        "hits", "page_path"
    )
    assert rows.rows() == [("/610", "/610", -1, 1), ("/600", "/600", 1, 0), ("/610", "/600", 1, 0)]


def test_first_view_gives_hits_from_before_the_horizon_their_landing_page(stream: Stream) -> None:
    """A visit has no page view for two hours. The stream keeps the visit's old hits until a page view arrives."""
    events: dict[str, Any] = {"type": "EVENT", "event_name": "beat", "page_path": None}
    for minute in range(600, 721, 20):
        stream.at(minute, a_hit(minute, **events))
    landed = stream.at(730, a_hit(730))
    assert landed["hits"] == 1
    moved = stream.last.rows.traffic.filter(pl.col("hit_type") == "EVENT")
    assert moved.filter(pl.col("landing_page").is_null())["hits"].sum() == -7
    assert moved.filter(pl.col("landing_page") == "/730")["hits"].sum() == 7
    assert stream.counts.slow == 1


@pytest.mark.parametrize("orphan_first", [False, True])
def test_first_view_moves_no_orphan_that_lies_inside_the_visit(stream: Stream, orphan_first: bool) -> None:
    """A non-interactive hit with another campaign does not join the visit.

    The hit does not join the visit even if the hit's time is between the times of the visit's hits (S2).
    """
    events: dict[str, Any] = {"type": "EVENT", "event_name": "beat", "page_path": None}
    quiet: dict[str, Any] = {"type": "ENGAGEMENT", "interactive": False, "page_path": None}
    orphan = a_hit(600 if orphan_first else 605, "orphan", campaign=("mail", "email", "", ""), **quiet)
    begin = next(hit for n in range(99) if (hit := a_hit(600, f"begin-{n}", **events)).hit_hash > orphan.hit_hash)
    for at, hit in ((601, begin), (606, orphan), (611, a_hit(610, **quiet))):
        stream.at(at, hit)
    for minute in range(630, 721, 20):
        stream.at(minute, a_hit(minute, **events))
    stream.at(730, a_hit(730))
    moved = stream.last.rows.traffic.filter(pl.col("hit_type") == "ENGAGEMENT").select("landing_page", "hits")
    assert sorted(moved.rows(), key=repr) == [("/730", 1), (None, -1)]


def test_late_hit_counts_in_no_visit_and_history_in_nothing(stream: Stream) -> None:
    stream.at(60 * 40)
    late = stream.at(60 * 40, a_hit(60 * 39 - 0.001))
    assert late == {"hits": 1, "pageviews": 1, "late_hits": 1}
    assert "visits" in stream.at(60 * 40, a_hit(60 * 39, visitor="w"))
    assert stream.at(60 * 50 + 0.001, a_hit(60, visitor="x")).keys() <= {"visit_views", "exits"}
    assert (stream.counts.late, stream.counts.history, stream.counts.fast) == (1, 1, 1)


def test_day_is_closed_26_hours_after_its_end_and_not_a_millisecond_sooner(stream: Stream) -> None:
    assert stream.at(60 * 50, a_hit(60)) == {"hits": 1, "pageviews": 1, "late_hits": 1}
    assert stream.at(60 * 50 + 1 / MINUTE, a_hit(61)) == {}


def test_copy_is_found_for_90_minutes_of_log_time_and_two_hours_of_event_time(stream: Stream) -> None:
    stream.at(600, a_hit(600, "same"))
    assert stream.at(690, a_hit(690, "same", page_path="/600")) == {"duplicate_hits": 1, "visit_views": 1, "exits": 1}
    # The third hit comes 180 minutes after the first hit, but only 90 minutes after the second hit. The third hit is a
    # copy only because the second hit, itself a copy, is close enough.
    assert stream.at(780, a_hit(719, "same")) == {"duplicate_hits": 1}
    assert stream.at(870.001, a_hit(840, "same"))["hits"] == 1
    assert stream.counts.copies == 2


def test_copy_with_another_content_collides(stream: Stream) -> None:
    stream.at(600, a_hit(600, "same"))
    taken = take_in([record(a_hit(600, "same", page_path="/other"), offset=1)]).partitions[PARTITION]
    prepared = prepare(stream.state, RecordsOf(taken.ends, taken.hits), {})
    assert prepared.collides.tolist() == [True]


def record(hit: RefHit, offset: int) -> LoggedRecord:
    value = Record(RecordKind.HITS, pack_record(hit_rows([hit])), 1)
    return LoggedRecord(Position(*PARTITION, offset), hit.event_time, value)


def test_order_counts_once_and_makes_its_visit_one_with_an_order(stream: Stream) -> None:
    order: dict[str, Any] = {"type": "ORDER", "order_id": "o", "total_micros": 5, "currency": "USD", "page_path": None}
    first = stream.at(600, a_hit(600), a_hit(601, **order))
    assert (first["orders"], first["gross_revenue"], first["order_visits"]) == (1, 5, 1)
    taken = take_in([record(a_hit(602, **order), offset=9)]).partitions[PARTITION]
    prepared = prepare(stream.state, RecordsOf(taken.ends, taken.hits), {})
    repeated = net(apply(stream.state, prepared, np.array([False])))
    assert repeated == {"hits": 1}


def test_orphan_waits_for_a_visit_that_begins_before_it(stream: Stream) -> None:
    quiet = a_hit(610, type="ENGAGEMENT", interactive=False, page_path=None)
    assert stream.at(611, quiet) == {"hits": 1}
    found = stream.at(612, a_hit(600))
    assert (found["visits"], found["hits"]) == (1, 1)
    assert stream.at(641)["visit_duration_total"] == 10 * MINUTE
    assert stream.counts.slow == 1


def test_state_forgets_what_nothing_can_change(stream: Stream) -> None:
    for minute in range(600, 900, 5):
        stream.at(minute, a_hit(minute, visitor=f"v{minute}"))
    # The state keeps a timeline for at most 105 minutes: 60 minutes until hits are late, 30 minutes for the gap, and 15
    # minutes for an epoch.
    assert len(stream.state.timelines) <= 21
    assert len(stream.state.kept) <= 24
    stream.at(1_200)
    assert len(stream.state.timelines) == len(stream.state.kept) == len(stream.state.closing) == 0


def test_visit_that_ends_as_an_epoch_begins_keeps_its_pages_whatever_is_tidied(tmp_path: Path) -> None:
    """Unused page numbers are released while a visit ends.

    The page numbers of the ending visit itself must not be released.
    """
    stream = Stream(tmp_path, Limits(tidy_from=1, tidy_ratio=0))
    stream.at(600, *(a_hit(600, visitor=f"v{number}", page_path=f"/gone/{number}") for number in range(5)))
    stream.at(668, a_hit(668, page_path="/first"), a_hit(669, page_path="/last"))
    stream.at(699, *(a_hit(698, visitor=f"w{number}", page_path=f"/new/{number}") for number in range(5)))
    before = len(stream.state.interned.tuples)
    assert stream.at(705) == {"visit_duration_total": MINUTE, "visit_views": 2, "exits": 1}
    rows = stream.last.rows.visits.select("landing_page", "exit_page", "visits", "exits")
    assert sorted(rows.rows(), key=repr) == [("/first", "/last", 1, 1), ("/first", None, -1, 0)]
    assert len(stream.state.interned.tuples) < before
    assert stream.at(730)["exits"] == 5
    ended = stream.last.rows.visits.filter(pl.col("exits") == 1).select("landing_page", "exit_page")
    assert sorted(ended.rows()) == [(f"/new/{number}", f"/new/{number}") for number in range(5)]


def test_windows_are_cut_where_an_epoch_ends() -> None:
    records = [record(a_hit(minute), offset) for offset, minute in enumerate((0, 14.9, 15, 29, 31, 32))]
    other = [LoggedRecord(Position("log", 1, 0), MIDNIGHT + 16 * MINUTE, Record(RecordKind.HEARTBEAT))]
    cut = windows([*records[:3], *other, *records[3:]], 15 * MINUTE)
    offsets = [[logged.position.offset for logged in group if logged.position.partition == 0] for group in cut]
    assert offsets == [[0, 1], [2, 3], [4, 5]]
    assert sum(len(group) for group in cut) == 7


def test_hit_out_of_order_waits_where_its_visitor_has_too_many_kept_hits(tmp_path: Path) -> None:
    stream = Stream(tmp_path, replace(PRODUCTION, kept_of_visitor=3))
    stream.at(600, a_hit(599), a_hit(600))
    assert stream.at(600.1, a_hit(598)) == {"hits": 1, "pageviews": 1, MOVED_VISITORS: 2}, "two are kept"
    assert stream.at(600.2, a_hit(598.5)) == {"hits": 1, "pageviews": 1}, "three are kept"
    assert stream.at(600.3, a_hit(601), a_hit(600.5)) == {"hits": 2, "pageviews": 2}, "both behind earlier records"
    assert stream.at(600.4, a_hit(601, "same time")) == {"hits": 1, "pageviews": 1}
    assert stream.at(600.5, a_hit(598, "other", visitor="other")) == {
        "hits": 1,
        "pageviews": 1,
        "visits": 1,
        "bounces": 1,
        "entries": 1,
    }
    assert (stream.counts.slow, stream.counts.waiting) == (1, 2)
    ended = stream.at(640)
    assert ended == {"visit_duration_total": 3 * MINUTE, "visit_views": 6, "exits": 2}


@pytest.mark.parametrize(
    ("later", "waiting"),
    [
        ([[a_hit(601, "same time")]], 1),
        # The last hit (minute 600.5) is later than the hit of the previous record, but earlier than the hit of minute
        # 601.
        ([[a_hit(600)], [a_hit(600.5)]], 2),
        ([[a_hit(602)], [a_hit(601.5)], [a_hit(602.5)]], 1),
    ],
)
def test_the_same_hits_wait_however_records_are_cut_into_steps(
    tmp_path: Path, later: Sequence[Sequence[RefHit]], waiting: int
) -> None:
    records = [[a_hit(598), a_hit(599), a_hit(601)], *later]
    one_by_one, at_once = (
        Stream(tmp_path / name, replace(PRODUCTION, kept_of_visitor=3)) for name in ("one by one", "at once")
    )
    for record in records:
        one_by_one.at(603, *record)
    at_once.at_once(603, *records)
    assert (one_by_one.counts.waiting, at_once.counts.waiting) == (waiting, waiting)


def test_first_view_of_a_visit_changes_its_landing_page_however_many_hits_came_before(tmp_path: Path) -> None:
    stream = Stream(tmp_path, replace(PRODUCTION, kept_of_visitor=3))
    stream.at(540, *[a_hit(500 + n, page_path="/early") for n in range(5)])
    first = [a_hit(600 + n, type="EVENT", event_name="e", page_path="/e") for n in range(2)]
    stream.at(602, *first)
    changed = stream.at(603, a_hit(603, page_path="/landing"))
    assert changed == {"hits": 1, "pageviews": 1, "entries": 1, MOVED_VISITORS: 2}
    assert (stream.counts.slow, stream.counts.waiting) == (1, 0)


def test_hits_that_wait_are_in_no_visit_once_their_visitor_has_few_hits_again(tmp_path: Path) -> None:
    stream = Stream(tmp_path, replace(PRODUCTION, kept_of_visitor=3))
    stream.at(600, a_hit(598), a_hit(599), a_hit(600))
    stream.at(600.1, a_hit(597))
    assert stream.counts.waiting == 1
    assert stream.last.waiting is not None
    assert stream.last.waiting.select("at", "hits").rows() == [(20_000, 1)]
    stream.at(650, a_hit(650))
    # After 105 minutes, none of the earlier hits is kept.
    assert stream.at(720, a_hit(720))["visits"] == 1
    assert stream.at(721, a_hit(719)) == {"hits": 1, "pageviews": 1, "bounces": -1, MOVED_VISITORS: 1}
