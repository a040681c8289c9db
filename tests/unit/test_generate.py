"""Test the generated hits, and invariants of the reference on random sets of hits."""

from __future__ import annotations

from collections import Counter
from datetime import date

import pytest
from hypothesis import given

from tests.generate.hits import DAY, generate_hits, second_file
from tests.generate.scenarios import GAP
from tests.generate.strategies import policies, ref_hits
from tests.reference.hits import RefHit, in_log_order
from tests.reference.report import Report, report
from tests.reference.settled import settle
from tests.reference.visits import RefPolicy, RefVisit


def test_the_generated_file_is_the_same_for_the_same_seed() -> None:
    hits = generate_hits(seed=5, count=0)
    assert hits == generate_hits(seed=5, count=0)
    assert hits != generate_hits(seed=6, count=0)


@pytest.mark.timeout(60)
def test_the_generated_files_hold_what_makes_visits_hard() -> None:
    first = generate_hits()
    later = second_file(first)
    before, after = settle(first), settle([*first, *later])
    assert len(first) >= 50_000
    assert len({hit.position for hit in (*first, *later)}) == len(first) + len(later)
    assert any(visit.bot_behaviour for visit in before.visits)
    assert any(visit.duration_ms == DAY - 1 for visit in before.visits)
    assert before.orphans
    assert before.repeats
    assert before.copies
    gaps = Counter(
        right.event_time - left.event_time
        for visit in before.visits
        for left, right in zip(visit.hits, visit.hits[1:], strict=False)
    )
    assert min(gaps[GAP - 1], gaps[GAP], gaps[0]) > 100
    assert max(gaps) == GAP
    # The second file's hits make some visits begin a day earlier, and merge visits.
    started_before = {(visit.first.site, visit.first.visitor, visit.last): visit for visit in before.visits}
    moved = [
        visit
        for visit in after.visits
        for known in [started_before.get((visit.first.site, visit.first.visitor, visit.last))]
        if known and visit.start // DAY < known.start // DAY
    ]
    assert len(moved) > 20


@given(ref_hits(), policies())
def test_any_order_of_arrival_and_any_copies_give_the_same_visits(hits: list[RefHit], policy: RefPolicy) -> None:
    unique = list({(hit.site, hit.visitor, hit.hit_id): hit for hit in hits}.values())
    once = settle(in_log_order(unique), policy)
    again = settle(in_log_order([*reversed(unique), *unique]), policy)
    assert Counter(map(_shape, once.visits)) == Counter(map(_shape, again.visits))
    assert len(again.copies) == len(unique)


def _shape(visit: RefVisit) -> tuple[object, ...]:
    return (visit.first.site, visit.first.visitor, visit.first.excluded, *(hit.hit_id for hit in visit.hits))


@given(ref_hits(), policies())
def test_every_counted_hit_is_in_one_visit_or_an_orphan(hits: list[RefHit], policy: RefPolicy) -> None:
    of = settle(hits, policy)
    in_visits = [hit for visit in of.visits for hit in visit.hits]
    assert Counter(map(id, [*in_visits, *of.orphans])) == Counter(map(id, of.counted))
    assert len(of.counted) + len(of.copies) == len(hits)
    for visit in of.visits:
        assert visit.first.is_interactive
        assert visit.duration_ms < policy.cap_ms
        assert len(visit.hits) <= policy.max_hits


@given(ref_hits())
def test_finer_grains_add_up_to_the_whole(hits: list[RefHit]) -> None:
    of = settle(hits)

    def rows_by(grain: str) -> Report:
        return report(
            of,
            sites={hit.site for hit in hits},
            metrics=["hits", "visits", "gross_revenue"],
            grain=grain,
            zone="Australia/Lord_Howe",
            first_date=date(2025, 4, 3),
            last_date=date(2025, 5, 6),
        )

    whole = rows_by("NONE").get(("",), {})
    for grain in ("HOUR", "DAY", "WEEK", "MONTH"):
        added: Counter[str] = Counter()
        for values in rows_by(grain).values():
            added.update({metric: value for metric, value in values.items() if isinstance(value, int)})
        assert dict(added) == whole
