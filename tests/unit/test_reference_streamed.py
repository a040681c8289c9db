"""Test the reference model of the stream with literal numbers: counts before settlement, and drift."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date

from tests.generate.scenarios import HOUR, MINUTE, SECOND
from tests.reference.hits import RefHit
from tests.reference.report import METRICS, Value, report
from tests.reference.settled import Settled, settle
from tests.reference.streamed import DAY_MS, drift, stream

SITE = "merchants/demo/sites/example"
MIDNIGHT = 1_743_811_200_000  # 2025-04-05T00:00:00Z
DAY_1 = date(2025, 4, 5)
NUMBER_1 = MIDNIGHT // DAY_MS


def a_hit(
    minute: float = 0,
    came: float | None = None,
    *,
    hit_id: str | None = None,
    type: str = "PAGE_VIEW",
    **fields: object,
) -> RefHit:
    """Return a hit with the event time `minute` and the log time `came`. By default, `came` equals `minute`."""
    at_ms, came_ms = (MIDNIGHT + round(minutes * MINUTE) for minutes in (minute, minute if came is None else came))
    hit = RefHit(SITE, "visitor", hit_id or f"hit-{at_ms}-{type}", at_ms, type)
    hit = replace(hit, position=(came_ms, "log", 0, came_ms, 0), is_late=came_ms - at_ms > 60 * MINUTE)
    return replace(hit, **fields)  # type: ignore[arg-type]  # fields are the keyword arguments of the tests


def totals(of: Settled, *dimensions: str, metrics: Sequence[str] = METRICS) -> dict[tuple[str, ...], dict[str, Value]]:
    """Return the rows of a report of the first day, by dimension values."""
    rows = report(of, sites=[SITE], first_date=DAY_1, last_date=DAY_1, dimensions=dimensions, metrics=metrics)
    return {key[1:]: row for key, row in rows.items()}


def total(of: Settled, *metrics: str) -> tuple[Value, ...]:
    row = totals(of, metrics=metrics).get((), {})
    return tuple(row.get(name, 0) for name in metrics)


def minutes(log_time: float) -> int:
    return MIDNIGHT + round(log_time * MINUTE)


def test_a_visit_counts_at_once_and_its_duration_views_and_exit_when_it_has_ended() -> None:
    hits = [a_hit(0, page_path="/in"), a_hit(10, page_path="/out")]
    open_metrics = ("visits", "bounces", "entries", "hits", "exits", "visit_duration_total", "views_per_visit")
    assert total(stream(hits, minutes(0)), *open_metrics) == (1, 1, 1, 1, 0, 0, (0, 1))
    assert total(stream(hits, minutes(10)), *open_metrics) == (1, 0, 1, 2, 0, 0, (0, 1))
    assert total(stream(hits, minutes(40)), *open_metrics) == (1, 0, 1, 2, 0, 0, (0, 1))
    ended = (1, 0, 1, 2, 1, 10 * MINUTE, (2, 1))
    assert total(stream(hits, minutes(40) + 1), *open_metrics) == ended
    assert total(stream(hits), *open_metrics) == ended


def test_an_open_visit_stands_under_no_exit_page_and_an_ended_one_under_its_own() -> None:
    hits = [a_hit(0, page_path="/in"), a_hit(10, page_path="/out")]
    metrics = ("visits", "entries", "exits", "visit_duration_total")
    for_open, for_ended = stream(hits, minutes(15)), stream(hits)
    [at_once] = [entry for entry in for_open.entries if "visits" in entry.adds]
    assert at_once.adds == {"visits": 1, "bounces": 0, "entries": 1, "order_visits": 0}
    assert not any("exits" in entry.adds for entry in for_open.entries)
    assert totals(for_open, "exit_page", metrics=metrics)["(not set)",]["visits"] == 1
    assert totals(for_ended, "exit_page", metrics=metrics)["/out",] == {
        "visits": 1,
        "entries": 1,
        "exits": 1,
        "visit_duration_total": 10 * MINUTE,
    }


def test_a_hit_an_hour_old_is_on_time_and_a_millisecond_more_is_late() -> None:
    on_time, late = a_hit(0, 60), a_hit(0, 60 + 1 / 60_000)
    assert total(stream([on_time]), "hits", "visits", "late_hits") == (1, 1, 0)
    assert total(stream([late]), "hits", "visits", "late_hits", "visitors", "pageviews") == (1, 0, 1, 1, 1)


def test_a_late_hit_stands_under_its_own_page_and_bridges_no_visits() -> None:
    hits = [a_hit(0, page_path="/a"), a_hit(50, page_path="/b"), a_hit(25, 100, page_path="/late")]
    streamed, settled = stream(hits), settle(hits)
    assert total(streamed, "visits", "hits", "bounces") == (2, 3, 2)
    assert totals(streamed, "landing_page", metrics=("hits",)) == {
        ("/a",): {"hits": 1},
        ("/b",): {"hits": 1},
        ("/late",): {"hits": 1},
    }
    assert drift(settled, streamed) == {
        (SITE, NUMBER_1): {
            "visits": -1,
            "bounces": -2,
            "entries": -1,
            "exits": -1,
            "visit_views": 1,
            "visit_duration_total": 50 * MINUTE,
        }
    }


def test_a_hit_of_a_closed_day_waits_for_settlement() -> None:
    day_end = 24 * 60
    still_open, closed = a_hit(0, day_end + 26 * 60), a_hit(1, day_end + 26 * 60 + 1 / 60_000)
    streamed = stream([still_open, closed])
    assert total(streamed, "hits", "late_hits") == (1, 1)
    assert streamed.pending == [replace(closed, is_late=True)]
    # Settlement knows both hits and builds one visit.
    assert drift(settle([still_open, closed]), streamed)[SITE, NUMBER_1]["visits"] == 1


def test_a_copy_is_known_for_90_minutes_of_log_time_and_two_hours_of_event_time() -> None:
    def copies(minute: float, came: float) -> int:
        return len(stream([a_hit(0, 0, hit_id="same"), a_hit(minute, came, hit_id="same")]).copies)

    assert (copies(0, 90), copies(0, 90 + 1 / 60_000)) == (1, 0)
    assert (copies(120, 80), copies(120 + 1 / 60_000, 80)) == (1, 0)
    assert copies(-120, 10) == 1


def test_a_copy_of_a_copy_is_known_though_its_original_is_forgotten() -> None:
    hits = [a_hit(0, came, hit_id="same") for came in (0, 80, 160)]
    assert total(stream(hits), "hits", "duplicate_hits") == (1, 2)


def test_a_copy_that_is_not_known_any_more_counts_until_the_day_is_settled() -> None:
    hits = [a_hit(0, 0, hit_id="same"), a_hit(0, 100, hit_id="same")]
    streamed = stream(hits)
    assert total(streamed, "hits", "duplicate_hits", "visits", "late_hits") == (2, 0, 1, 1)
    assert drift(settle(hits), streamed) == {
        (SITE, NUMBER_1): {"hits": -1, "pageviews": -1, "duplicate_hits": 1, "late_hits": -1}
    }


def test_the_same_hit_after_3_and_30_seconds_is_one_hit_and_two_duplicates() -> None:
    hits = [a_hit(0, seconds * SECOND / MINUTE, hit_id="same") for seconds in (0, 3, 30)]
    assert total(stream(hits), "hits", "duplicate_hits", "visits") == (1, 2, 1)


def test_a_late_order_can_win_and_one_of_a_closed_day_holds_its_id() -> None:
    order = a_hit(0, 70, type="ORDER", order_id="o", currency="USD", total_micros=5)
    repeat = a_hit(80, type="ORDER", order_id="o", currency="USD", total_micros=7)
    assert total(stream([order, repeat]), "orders", "gross_revenue", "order_visits") == (1, 5, 0)
    history = replace(order, position=(minutes(51 * 60), "log", 0, 0, 0))
    later = replace(repeat, position=(minutes(51 * 60) + 1, "log", 0, 1, 0), event_time=minutes(51 * 60))
    assert total(stream([history, later]), "orders", "gross_revenue") == (0, 0)
    assert total(settle([history, later]), "orders", "gross_revenue") == (1, 5)


def test_hits_that_have_not_come_yet_are_not_there() -> None:
    hits = [a_hit(0), a_hit(1, 20)]
    assert (len(stream(hits, minutes(19)).counted), len(stream(hits, minutes(20)).counted)) == (1, 2)


def test_hits_in_any_order_within_the_hour_settle_as_they_were_streamed() -> None:
    hits = [a_hit(0, 59), a_hit(20, 30), a_hit(45, 45), a_hit(45, 50), a_hit(90, 149)]
    assert drift(settle(hits), stream(hits)) == {}
    assert drift(settle([*hits, a_hit(8 * 60, 30 * HOUR / MINUTE)]), stream(hits)) != {}
