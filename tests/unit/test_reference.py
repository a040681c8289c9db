"""Test the reference model with the vectors of rules.md §11 and with the real files.

These tests check the model itself, so that a comparison of the product with the model is meaningful.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from tests.generate.scenarios import HOUR, MINUTE, SECOND
from tests.reference.civil import bucket_starts, label
from tests.reference.files import read_access_log, read_shop_csv
from tests.reference.hits import Campaign, RefHit, RefItem, hash64, in_log_order
from tests.reference.report import METRICS, Report, Value, report
from tests.reference.settled import Settled, settle
from tests.reference.visits import V1, RefPolicy, RefVisit

SITE = "merchants/demo/sites/example"
MIDNIGHT = 1_743_811_200_000  # 2025-04-05T00:00:00Z
DAY_1, DAY_2 = date(2025, 4, 5), date(2025, 4, 6)
X: Campaign = ("x", "cpc", "", "")
Y: Campaign = ("y", "cpc", "", "")
REAL_FILES = Path(__file__).parents[2] / ".." / "shared" / "data"


def a_hit(minute: float = 0, *, hit_id: str | None = None, type: str = "PAGE_VIEW", **fields: object) -> RefHit:
    at_ms = MIDNIGHT + round(minute * MINUTE)
    hit = RefHit(SITE, "visitor", hit_id or f"hit-{at_ms}-{type}", at_ms, type)
    return replace(hit, **fields)  # type: ignore[arg-type]  # fields are the keyword arguments of the tests


def settled(*hits: RefHit, policy: RefPolicy = V1) -> Settled:
    return settle(in_log_order(hits), policy)


def spans(visits: Sequence[RefVisit]) -> list[tuple[float, float]]:
    """Return the minutes of the first and last hit of each visit."""
    return [((visit.start - MIDNIGHT) / MINUTE, (visit.last - MIDNIGHT) / MINUTE) for visit in visits]


def totals(of: Settled, day: date = DAY_1, *, include_excluded: bool = False) -> dict[str, Value]:
    rows = report(of, sites=[SITE], first_date=day, last_date=day, include_excluded=include_excluded)
    return rows.get(("",), dict.fromkeys(METRICS, 0))


def test_a_gap_of_exactly_30_minutes_stays_in_the_visit() -> None:
    assert spans(settled(a_hit(0), a_hit(30)).visits) == [(0, 30)]


def test_a_gap_of_a_millisecond_more_makes_two_bounces() -> None:
    of = settled(a_hit(0), a_hit(30 + 1 / 60_000))
    assert [visit.duration_ms for visit in of.visits] == [0, 0]
    assert totals(of)["bounces"] == 2


def test_late_hit_bridging_two_visits_merges_them() -> None:
    before, after = settled(a_hit(0), a_hit(50)), settled(a_hit(0), a_hit(50), a_hit(25))
    assert spans(before.visits) == [(0, 0), (50, 50)]
    assert spans(after.visits) == [(0, 50)]
    assert (totals(before)["bounces"], totals(after)["bounces"]) == (2, 0)


def test_an_earlier_hit_becomes_the_start_and_the_landing_page() -> None:
    [visit] = settled(a_hit(10, page_path="/second"), a_hit(0, page_path="/first")).visits
    assert (visit.start, visit.landing_page, visit.exit_page) == (MIDNIGHT, "/first", "/second")


def test_hits_sent_twice_count_once() -> None:
    of = settled(a_hit(0), a_hit(5), a_hit(0), a_hit(5))
    assert spans(of.visits) == [(0, 5)]
    assert (totals(of)["hits"], totals(of)["duplicate_hits"]) == (2, 2)


def test_another_campaign_starts_a_visit_and_none_does_not() -> None:
    hits = [a_hit(0, campaign=X), a_hit(5), a_hit(10, campaign=Y), a_hit(15, campaign=X)]
    assert spans(settled(*hits).visits) == [(0, 5), (10, 10), (15, 15)]
    assert spans(settled(*hits, policy=replace(V1, campaign_splits=False)).visits) == [(0, 15)]


def test_a_campaign_that_arrives_later_splits_the_visit() -> None:
    of = settled(a_hit(0), a_hit(20), a_hit(10, campaign=Y))
    assert spans(of.visits) == [(0, 0), (10, 20)]


def test_75_hits_every_20_minutes_are_cut_at_24_hours() -> None:
    visits = settled(*(a_hit(20 * index) for index in range(75))).visits
    assert spans(visits) == [(0, 1420), (1440, 1480)]
    assert [len(visit.hits) for visit in visits] == [72, 3]


def test_hits_of_one_instant_are_taken_in_the_order_of_their_hashes() -> None:
    first, second = sorted(("a", "b"), key=hash64)
    none_first = settled(a_hit(0, hit_id=first), a_hit(0, hit_id=second, campaign=Y))
    campaign_first = settled(a_hit(0, hit_id=first, campaign=Y), a_hit(0, hit_id=second))
    assert (len(none_first.visits), len(campaign_first.visits)) == (2, 1)


def test_a_visit_over_midnight_belongs_to_the_day_of_its_start() -> None:
    of = settled(*(a_hit(minute) for minute in range(23 * 60, 27 * 60 + 1, 20)))
    first, second = totals(of, DAY_1), totals(of, DAY_2)
    assert (first["visits"], first["visit_duration_total"]) == (1, 4 * HOUR)
    assert (first["views_per_visit"], first["hits"]) == ((13, 1), 3)
    assert (second["visits"], second["hits"], second["views_per_visit"]) == (0, 10, (0, 0))


def test_history_after_midnight_lengthens_the_visit_of_the_day_before() -> None:
    of = settled(a_hit(23 * 60 + 50), a_hit(24 * 60 + 5), a_hit(24 * 60 + 30))
    assert (totals(of, DAY_1)["visits"], totals(of, DAY_2)["visits"]) == (1, 0)


def test_local_midnight_splits_only_where_the_flag_is_set() -> None:
    # The hits are at 23:50 and 00:10 in Kathmandu (UTC+05:45).
    hits = [a_hit(18 * 60 + 5), a_hit(18 * 60 + 25)]
    flag = replace(V1, split_at_local_midnight=True, midnight_zone="Asia/Kathmandu")
    assert (len(settled(*hits).visits), len(settled(*hits, policy=flag).visits)) == (1, 2)


def test_a_refund_is_counted_on_its_own_day_and_leaves_gross_alone() -> None:
    order = a_hit(0, type="ORDER", order_id="o1", currency="USD", total_micros=100_000_000)
    refund = a_hit(24 * 60, type="REFUND", currency="USD", refund_micros=30_000_000)
    of = settled(order, refund)
    first, second = totals(of, DAY_1), totals(of, DAY_2)
    assert (first["gross_revenue"], first["net_revenue"]) == (100_000_000, 100_000_000)
    assert (second["gross_revenue"], second["refunds"], second["net_revenue"]) == (0, 30_000_000, -30_000_000)


def test_an_order_id_counts_once_and_the_first_claim_in_the_log_wins() -> None:
    item = RefItem("sku", "a/b", "brand", 10_000_000, 2)
    order = a_hit(9, type="ORDER", order_id="o1", currency="USD", total_micros=20_000_000, items=(item,))
    repeat = replace(order, event_time=MIDNIGHT, visitor="other", hit_id="reload", total_micros=99)
    of = settled(order, repeat)
    assert (of.winners[0].hit_id, [hit.hit_id for hit in of.repeats]) == (order.hit_id, ["reload"])
    got = totals(of)
    assert (got["orders"], got["hits"], got["gross_revenue"], got["items_sold"]) == (1, 2, 20_000_000, 2)
    assert (got["item_revenue"], got["order_visits"], got["visits"]) == (20_000_000, 1, 2)


def test_an_excluded_claim_takes_no_order_from_the_others() -> None:
    order = a_hit(0, type="ORDER", order_id="o1", currency="USD", total_micros=5)
    bot = replace(order, visitor="bot", excluded=True)
    of = settled(bot, order)
    assert (totals(of)["orders"], totals(of, include_excluded=True)["orders"]) == (1, 2)


def test_a_hit_sent_three_times_is_one_hit_and_two_duplicates() -> None:
    hit = a_hit(0)
    of = settle([replace(hit, position=(seconds * SECOND, "log", 0, seconds, 0)) for seconds in (0, 3, 30)])
    assert (totals(of)["hits"], totals(of)["duplicate_hits"]) == (1, 2)


def test_copies_are_recognised_up_to_two_hours_apart_from_any_earlier_copy() -> None:
    def counted(*minutes: float) -> int:
        return len(settled(*(a_hit(minute, hit_id="same") for minute in minutes)).counted)

    assert (counted(0, 120), counted(0, 120 + 1 / 60_000), counted(120, 0)) == (1, 2, 1)
    assert counted(0, 90, 180) == 1
    assert counted(0, 180, 90) == 2


def test_a_hit_that_is_not_interactive_extends_a_visit_and_starts_none() -> None:
    of = settled(a_hit(-1, type="ENGAGEMENT"), a_hit(0), a_hit(29, type="ENGAGEMENT"), a_hit(60, type="REFUND"))
    assert spans(of.visits) == [(0, 29)]
    assert [hit.event_time for hit in of.orphans] == [MIDNIGHT - MINUTE, MIDNIGHT + 60 * MINUTE]
    assert totals(of)["bounces"] == 1


def test_an_orphan_changes_neither_time_nor_campaign_of_the_open_visit() -> None:
    of = settled(a_hit(0), a_hit(20, type="ENGAGEMENT", campaign=X), a_hit(25, campaign=X), a_hit(26))
    assert spans(of.visits) == [(0, 0), (25, 26)]


def test_an_offline_order_is_in_no_visit_but_counts() -> None:
    order = a_hit(1, type="ORDER", offline=True, order_id="o", currency="USD", total_micros=7)
    of = settled(a_hit(0), order, a_hit(30))
    assert spans(of.visits) == [(0, 30)]
    got = totals(of)
    assert (got["orders"], got["gross_revenue"], got["order_visits"], got["hits"]) == (1, 7, 0, 3)


def test_the_hit_after_the_most_a_visit_may_have_starts_a_flagged_one() -> None:
    hits = [a_hit(index) for index in range(5)]
    visits = settled(*hits, policy=replace(V1, max_hits=3)).visits
    assert [(len(visit.hits), visit.bot_behaviour) for visit in visits] == [(3, False), (2, True)]


def test_excluded_hits_form_visits_among_themselves() -> None:
    of = settled(a_hit(0), a_hit(20, excluded=True), a_hit(40, excluded=True), a_hit(60))
    assert spans(of.visits) == [(0, 0), (60, 60), (20, 40)]
    without, with_them = totals(of), totals(of, include_excluded=True)
    assert (without["visits"], with_them["visits"], with_them["visitors"]) == (2, 3, 1)
    assert without["bot_hits"] == with_them["bot_hits"] == 2


def test_exits_are_by_exit_page_and_entries_by_landing_page() -> None:
    of = settled(a_hit(0, page_path="/in"), a_hit(1, type="EVENT"), a_hit(2, page_path="/out"), a_hit(90, type="EVENT"))
    rows = report(
        of,
        sites=[SITE],
        metrics=["hits", "visits", "entries", "exits"],
        first_date=DAY_1,
        last_date=DAY_1,
        dimensions=["page_path"],
    )
    assert rows == {
        ("", "/in"): {"hits": 1, "visits": 1, "entries": 1, "exits": 0},
        ("", "/out"): {"hits": 1, "visits": 0, "entries": 0, "exits": 1},
        ("", "(not set)"): {"hits": 2, "visits": 1, "entries": 0, "exits": 0},
    }


@pytest.mark.parametrize(
    ("zone", "day", "hours", "first_label"),
    [
        ("Europe/Berlin", date(2026, 3, 29), 23, "2026-03-29T00:00:00+01:00"),
        ("Europe/Berlin", date(2026, 10, 25), 25, "2026-10-25T00:00:00+02:00"),
        ("Australia/Lord_Howe", date(2026, 4, 5), 24.5, "2026-04-05T00:00:00+11:00"),
        ("Australia/Lord_Howe", date(2026, 10, 4), 23.5, "2026-10-04T00:00:00+10:30"),
        ("Asia/Kathmandu", date(2026, 7, 1), 24, "2026-07-01T00:00:00+05:45"),
        ("Africa/Cairo", date(2026, 4, 24), 23, "2026-04-24T01:00:00+03:00"),
        ("Asia/Beirut", date(2026, 3, 29), 23, "2026-03-29T01:00:00+03:00"),
        ("America/Santiago", date(2026, 9, 6), 23, "2026-09-06T01:00:00-03:00"),
        ("Pacific/Chatham", date(2026, 4, 5), 25, "2026-04-05T00:00:00+13:45"),
        ("America/St_Johns", date(2026, 11, 1), 25, "2026-11-01T00:00:00-02:30"),
    ],
)
def test_days_are_as_long_as_the_local_clock_makes_them(zone: str, day: date, hours: float, first_label: str) -> None:
    start, end = bucket_starts("DAY", zone, day, day)
    assert (end - start, label(start, ZoneInfo(zone))) == (hours * HOUR, first_label)


def test_both_02_00_hours_are_buckets_and_a_skipped_hour_is_none() -> None:
    def labels(zone: str, day: date) -> list[str]:
        return [label(start, ZoneInfo(zone))[11:] for start in bucket_starts("HOUR", zone, day, day)[:-1]]

    back = labels("Europe/Berlin", date(2026, 10, 25))
    assert (len(back), back[2:4]) == (25, ["02:00:00+02:00", "02:00:00+01:00"])
    assert "02:00:00+01:00" not in labels("Europe/Berlin", date(2026, 3, 29))
    assert labels("Australia/Lord_Howe", date(2026, 4, 5))[1:4] == [
        "01:00:00+11:00",
        "01:30:00+10:30",
        "02:00:00+10:30",
    ]


def test_weeks_and_months_are_cut_at_the_start_of_the_range() -> None:
    def labels(grain: str) -> list[str]:
        starts = bucket_starts(grain, "UTC", date(2025, 4, 30), date(2025, 5, 6))[:-1]
        return [label(start, ZoneInfo("UTC"))[:10] for start in starts]

    assert labels("WEEK") == ["2025-04-30", "2025-05-05"]
    assert labels("MONTH") == ["2025-04-30", "2025-05-01"]


def real_file(name: str) -> Path:
    path = REAL_FILES / name
    if not path.exists():
        pytest.skip(f"../shared/data/{name} is not here")
    return path


def by_day(of: Settled, first: date, last: date, metrics: Sequence[str]) -> list[list[Value]]:
    rows: Report = report(
        of,
        sites=[SITE],
        metrics=metrics,
        grain="DAY",
        first_date=first,
        last_date=last,
        include_excluded=True,
    )
    return [list(rows[key].values()) for key in sorted(rows)]


def test_the_real_access_log_has_the_known_numbers() -> None:
    hits, skipped = read_access_log(real_file("access.log"), SITE)
    assert skipped == {"static": 5673, "status": 371, "method": 48}
    of = settle(hits)
    first, last = date(2015, 5, 17), date(2015, 5, 20)
    metrics = ("hits", "visits", "visitors", "bounces", "visit_duration_total")
    assert by_day(of, first, last, metrics) == [
        [702, 399, 258, 287, 3_320_000],
        [1289, 713, 424, 483, 6_239_000],
        [1029, 616, 415, 446, 4_302_000],
        [888, 558, 368, 418, 4_027_000],
    ]
    assert totals_between(of, first, last)["visitors"] == 1264


def test_the_real_shop_export_has_the_known_numbers() -> None:
    hits, skipped = read_shop_csv(real_file("shop-2019-10.csv"), SITE)
    assert skipped == {"unparsable": 1}
    metrics = ("hits", "visits", "visitors", "bounces", "visit_duration_total")
    shop_metrics = ("product_views", "cart_adds", "orders", "items_sold", "gross_revenue", "item_revenue")
    day = date(2019, 10, 1)
    assert by_day(settle(hits), day, day, (*metrics, *shop_metrics)) == [
        [17434, 4518, 4504, 1664, 793_204_000, 17055, 165, 214, 214, 59_442_630_000, 59_442_630_000]
    ]


def totals_between(of: Settled, first: date, last: date) -> dict[str, Value]:
    return report(of, sites=[SITE], first_date=first, last_date=last, include_excluded=True)[("",)]


def test_lines_that_are_no_page_views_are_skipped_by_the_first_reason(tmp_path: Path) -> None:
    def line(request: str, status: int = 200, rest: str = ' "-" "agent"') -> str:
        return f'10.0.0.1 - - [17/May/2015:10:05:03 +0200] "{request}" {status} 12{rest}\n'

    log = tmp_path / "log"
    log.write_text(
        line("GET /a?utm_source=n%20l&utm_source=last&gclid=&utm_medium=+ HTTP/1.1")
        + line("GET /common", rest="")
        + line("GET /cut", rest=' "-" "no closing quote')
        + line("GET /tags/css")
        + line('GET /qu"ote HTTP/1.1')
        + line("GET")
        + line("POST /x.css", 500)
        + line("GET /x.css", 404)
        + line("GET /not-modified", 304)
        + line("GET /x.CSS?a=/b")
        + "garbage\n"
    )
    hits, skipped = read_access_log(log, SITE)
    assert skipped == {"unparsable": 3, "method": 1, "status": 1, "static": 1}
    assert [(hit.page_path, hit.user_agent) for hit in hits] == [
        ("/a", "agent"),
        ("/common", ""),
        ("/cut", "no closing quote"),
        ("/tags/css", "agent"),
        ("/not-modified", "agent"),
    ]
    assert hits[0].campaign == ("last", "", "", "")
    assert hits[0].event_time == 1_431_849_903_000
