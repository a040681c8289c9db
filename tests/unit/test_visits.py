"""Test how visits are built, on the fast path and on the slow path: the vectors S-a to S-j in rules.md §11."""

from __future__ import annotations

import re
from dataclasses import dataclass

import polars as pl
import pytest

from hitmesh.model.errors import StoreCorrupt
from hitmesh.model.sites import VisitPolicy
from processor.rules import visits
from processor.rules.carry import Carry, no_open_visits, open_rows
from processor.rules.visits import build_visits, open_at
from tests.reference.hits import NO_CAMPAIGN, Campaign, RefHit
from tests.support.small_mesh import hit_rows

MIDNIGHT = 20_000 * 86_400_000
MINUTE = 60_000
X: Campaign = ("x", "", "", "")
Y: Campaign = ("y", "", "", "")
V1 = VisitPolicy()


def a_hit(
    minute: float,
    type: str = "PAGE_VIEW",
    campaign: Campaign = NO_CAMPAIGN,
    visitor: str = "v",
    hit_id: str | None = None,
    page: str | None = None,
    interactive: bool = True,
    offline: bool = False,
    excluded: bool = False,
) -> RefHit:
    return RefHit(
        "merchants/m/sites/s",
        visitor,
        hit_id or f"hit-{minute}",
        MIDNIGHT + round(minute * MINUTE),
        type,
        campaign=campaign,
        page_path=page or f"/{minute:g}",
        interactive=interactive,
        offline=offline,
        excluded=excluded,
    )


def frame(hits: list[RefHit]) -> pl.DataFrame:
    rows = hit_rows(hits).rename({"utm_campaign": "campaign"})
    return rows.with_columns(pl.Series("excluded", [hit.excluded for hit in hits], pl.Boolean))


@dataclass(frozen=True)
class Seen:
    """The compared values of a visit: the minutes of its first and last hit, and its number of hits."""

    first: float
    last: float
    hits: int


def visits_of(
    *hits: RefHit, policy: VisitPolicy = V1, zone: str = "UTC", carry: pl.DataFrame | None = None
) -> list[Seen]:
    built = build_visits(frame(list(hits)), no_open_visits() if carry is None else carry, policy, zone)
    table = built.visits
    seen = [
        Seen((int(start) - MIDNIGHT) / MINUTE, (int(last) - MIDNIGHT) / MINUTE, int(count))
        for start, last, count in zip(table.start, table.last, table.hits, strict=True)
    ]
    return sorted(seen, key=lambda visit: (visit.first, visit.last))


def test_ten_hits_of_the_worked_example_give_the_visits_in_the_module_docstring() -> None:
    hits, expected_visits = [], []
    for hour, minute, second, kind, sent_with, visit in re.findall(
        r"^ +\d+ +(\d\d):(\d\d):([\d.]+)  ([A-Z_]+) +((?:campaign=|offline)\w*)? +(\d|-)  ",
        str(visits.__doc__),
        re.MULTILINE,
    ):
        name = sent_with.removeprefix("campaign=")
        campaign = NO_CAMPAIGN if sent_with in ("", "offline") else (name, "", "", "")
        at = 60 * int(hour) + int(minute) + float(second) / 60
        hits.append(a_hit(at, kind, campaign, offline=sent_with == "offline"))
        expected_visits.append(-1 if visit == "-" else int(visit) - 1)
    expected = re.findall(r"^ +(\d) +(\d) +(\d) +(\d) +(\d+) min(  a bounce)?$", str(visits.__doc__), re.MULTILINE)
    assert (len(hits), len(expected)) == (10, 4)

    built = build_visits(frame(hits), no_open_visits(), V1)

    assert built.visit_of.tolist() == expected_visits
    table = built.visits
    minutes = (table.last - table.start) // MINUTE
    for index, (number, *counts, bounce) in enumerate(expected):
        seen = (table.hits[index], table.interactive_hits[index], table.views[index], minutes[index])
        assert (index + 1, *seen) == (int(number), *map(int, counts))
        assert (table.interactive_hits[index] == 1) == bool(bounce)


def test_gap_of_exactly_thirty_minutes_stays_and_one_millisecond_more_splits() -> None:
    assert visits_of(a_hit(0), a_hit(30)) == [Seen(0, 30, 2)]
    late = a_hit(30 + 1 / MINUTE, page="/late")
    assert [visit.hits for visit in visits_of(a_hit(0), late)] == [1, 1]


def test_hit_that_arrives_between_two_visits_merges_them() -> None:
    assert visits_of(a_hit(0), a_hit(50)) == [Seen(0, 0, 1), Seen(50, 50, 1)]
    assert visits_of(a_hit(0), a_hit(50), a_hit(25)) == [Seen(0, 50, 3)]


def test_earlier_hit_becomes_the_first_and_gives_the_landing_page() -> None:
    rows = frame([a_hit(10), a_hit(0)])
    table = build_visits(rows, no_open_visits(), V1).visits
    assert (table.first.tolist(), table.landing.tolist(), table.exit.tolist()) == ([1], [1], [0])


def test_each_other_campaign_starts_a_visit_and_the_same_one_stays() -> None:
    hits = (a_hit(0, campaign=X), a_hit(5), a_hit(10, campaign=Y), a_hit(15, campaign=X), a_hit(16, campaign=X))
    assert visits_of(*hits) == [Seen(0, 5, 2), Seen(10, 10, 1), Seen(15, 16, 2)]
    assert visits_of(*hits, policy=VisitPolicy(campaign_splits=False)) == [Seen(0, 16, 5)]


def test_first_campaign_splits_a_visit_that_began_without_one() -> None:
    assert visits_of(a_hit(0), a_hit(20), a_hit(10, campaign=Y)) == [Seen(0, 0, 1), Seen(10, 20, 2)]


def test_visit_of_more_than_a_day_is_cut_at_24_hours() -> None:
    assert visits_of(*(a_hit(20 * step) for step in range(75))) == [Seen(0, 1420, 72), Seen(1440, 1480, 3)]


def test_tie_is_broken_by_the_hash_of_the_id() -> None:
    early, late = sorted((a_hit(0, hit_id="a"), a_hit(0, hit_id="b")), key=lambda hit: hit.hit_hash)
    none_first = visits_of(a_hit(0, hit_id=early.hit_id), a_hit(0, hit_id=late.hit_id, campaign=Y))
    campaign_first = visits_of(a_hit(0, hit_id=early.hit_id, campaign=Y), a_hit(0, hit_id=late.hit_id))
    assert (len(none_first), len(campaign_first)) == (2, 1)


def test_midnight_splits_only_with_the_flag_and_in_the_zone_of_the_site() -> None:
    hits = (a_hit(-10), a_hit(10))
    flag = VisitPolicy(split_at_local_midnight=True)
    assert visits_of(*hits) == [Seen(-10, 10, 2)]
    assert visits_of(*hits, policy=flag) == [Seen(-10, -10, 1), Seen(10, 10, 1)]
    assert visits_of(*hits, policy=flag, zone="Asia/Kathmandu") == [Seen(-10, 10, 2)]


def test_non_interactive_hits_extend_a_visit_and_start_none() -> None:
    hits = (
        a_hit(-5, "ENGAGEMENT"),
        a_hit(0),
        a_hit(29, "ENGAGEMENT"),
        a_hit(58),
        a_hit(89, "EVENT", interactive=False),
        a_hit(90),
    )
    rows = frame(list(hits))
    built = build_visits(rows, no_open_visits(), V1)
    assert built.visit_of.tolist() == [-1, 0, 0, 0, -1, 1]
    assert built.visits.interactive_hits.tolist() == [2, 1]


def test_campaign_of_an_orphan_is_ignored() -> None:
    hits = (a_hit(0, campaign=X), a_hit(1, "ENGAGEMENT", campaign=Y), a_hit(2), a_hit(3, "ENGAGEMENT", campaign=X))
    built = build_visits(frame(list(hits)), no_open_visits(), V1)
    assert built.visit_of.tolist() == [0, -1, 0, 0]


def test_offline_hit_is_an_orphan_and_bridges_nothing() -> None:
    webhook = a_hit(20, "ORDER", offline=True)
    assert visits_of(a_hit(0), webhook, a_hit(40)) == [Seen(0, 0, 1), Seen(40, 40, 1)]


def test_hit_after_the_cap_on_hits_starts_a_flagged_visit() -> None:
    full = VisitPolicy(max_hits=3)
    hits = [a_hit(minute) for minute in range(3)] + [a_hit(3, "ENGAGEMENT"), a_hit(4), a_hit(5)]
    built = build_visits(frame(hits), no_open_visits(), full)
    assert built.visit_of.tolist() == [0, 0, 0, -1, 1, 1]
    assert built.visits.bot_behaviour.tolist() == [False, True]


def test_excluded_hits_form_visits_among_themselves() -> None:
    assert visits_of(a_hit(0), a_hit(1, excluded=True), a_hit(2)) == [Seen(0, 2, 2), Seen(1, 1, 1)]


def test_no_hits_give_no_visits() -> None:
    assert visits_of() == []
    assert visits_of(a_hit(0, "ENGAGEMENT")) == []


def carried(*hits: RefHit, policy: VisitPolicy = V1) -> pl.DataFrame:
    """Return the carry that a day with these hits passes to the next day."""
    rows = frame(list(hits))
    built = build_visits(rows, no_open_visits(), policy)
    return open_rows(open_at(built, MIDNIGHT, policy), rows, no_open_visits())


def test_visit_is_carried_while_a_hit_of_the_next_day_could_join() -> None:
    assert carried(a_hit(-31), a_hit(-30)).select("start", "last", "hits").row(0) == (
        MIDNIGHT - 31 * MINUTE,
        MIDNIGHT - 30 * MINUTE,
        2,
    )
    assert carried(a_hit(-31)).is_empty()
    a_day_old = [a_hit(-20 * step) for step in range(1, 73)]
    assert carried(*a_day_old).is_empty()


def test_carried_visit_goes_on_with_its_start_campaign_and_counts() -> None:
    carry = carried(a_hit(-1400, campaign=X), *(a_hit(minute) for minute in range(-1380, 0, 20)))
    table = visits_of(a_hit(10, campaign=X), a_hit(39), carry=carry)
    assert table == [Seen(-1400, 39, 72)]
    assert visits_of(a_hit(10), a_hit(39), a_hit(40), carry=carry) == [Seen(-1400, 39, 72), Seen(40, 40, 1)]
    assert visits_of(a_hit(10, campaign=Y), carry=carry) == [Seen(-1400, -20, 70), Seen(10, 10, 1)]


def test_equal_carries_are_equal_bytes_and_come_back_whole() -> None:
    hits = [a_hit(-minute, visitor=f"v{minute}", page='a "quote"\\') for minute in range(1, 20)]
    first, other = Carry(carried(*hits), 7), Carry(carried(*reversed(hits)), 7)
    assert first.to_bytes() == other.to_bytes()
    back = Carry.from_bytes(first.to_bytes())
    assert back.followed == 7
    assert back.hands_on_the_same(other)


def test_bytes_that_are_no_carry_are_refused() -> None:
    for broken in (b"", b"HMC0" + bytes(40), Carry(carried(a_hit(-1))).to_bytes()[:40]):
        with pytest.raises(StoreCorrupt, match="carry"):
            Carry.from_bytes(broken)
