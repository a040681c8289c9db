"""Test the reporter's cache of sites' settlement states.

The cache is bounded, and returns the newest entry that covers the queried days.
"""

from __future__ import annotations

from dataclasses import replace

from hitmesh.model.logic import CURRENT, V0, V1
from hitmesh.model.positions import PartitionId, PartitionProgress
from hitmesh.model.sites import SiteDay
from reporter.answer.freshness import Waiting
from reporter.answer.standing import MAX_AGE_MS, LastKnown, Reach, Standing, days_between
from tests.support.reporters import a_site
from tests.support.settled_rows import DAY, SITE

HITS = PartitionId("hits.1", 0)
SITES = (SITE,)


def a_standing(days: range, read_at: int = 0, offset: int = 10) -> Standing:
    return Standing(
        progress={HITS: PartitionProgress(offset, offset * 1_000)},
        waiting={SITE: Waiting()},
        sequences=1,
        version="s1.p10",
        is_caught_up=True,
        days=days,
        generations={SiteDay(SITE, day): day for day in days},
        logics={CURRENT.number: frozenset(days)} if days else {},
        read_at=read_at,
    )


def test_the_newest_that_covers_the_days_is_found() -> None:
    known = LastKnown()
    known.keep(SITES, a_standing(range(10), read_at=1))
    known.keep(SITES, a_standing(range(5, 8), read_at=2))
    assert known.of(SITES, range(5, 7), 3) == a_standing(range(5, 8), read_at=2)
    assert known.of(SITES, range(4, 7), 3) == a_standing(range(10), read_at=1)
    assert known.of(SITES, range(0), 3) == a_standing(range(5, 8), read_at=2)
    assert known.of(SITES, range(9, 12), 3) is None
    assert known.of(("merchants/demo/sites/other",), range(5, 7), 3) is None


def test_a_standing_that_is_too_old_is_not_returned() -> None:
    known = LastKnown()
    known.keep(SITES, a_standing(range(10), read_at=1))
    assert known.of(SITES, range(10), MAX_AGE_MS + 1) is not None
    assert known.of(SITES, range(10), MAX_AGE_MS + 2) is None


def test_no_more_is_kept_than_fits() -> None:
    known = LastKnown(max_kept=2, max_days=25)
    for name in ("a", "b", "c"):
        known.keep((name,), a_standing(range(5)))
    assert [known.of((name,), range(1), 0) is None for name in ("a", "b", "c")] == [True, False, False]
    known.keep(("d",), a_standing(range(20)))
    assert [known.of((name,), range(1), 0) is None for name in ("b", "c", "d")] == [True, True, False]
    for end in range(1, 10):
        known.keep(("d",), a_standing(range(end, end + 1)))
    assert known.of(("d",), range(20), 0) is None, "the oldest of a site goes too"


def test_versions_of_the_logic_are_those_of_the_days_that_remain() -> None:
    both = replace(a_standing(range(10)), logics={V0.number: frozenset({2}), V1.number: frozenset({3, 9})})
    assert both.logic_versions == ("v0", "v1")
    assert both.within(range(3, 5), {}).logic_versions == ("v1",)
    assert both.within(range(4, 9), {}).logic_versions == ()


def test_a_remembered_standing_holds_only_for_progress_taken_in_then_and_now() -> None:
    remembered = a_standing(range(10))
    later, sooner = ({HITS: PartitionProgress(offset, offset * 1_000)} for offset in (12, 8))
    assert remembered.within(range(2, 4), later).progress == remembered.progress
    assert remembered.within(range(2, 4), sooner).progress == sooner
    assert remembered.within(range(2, 4), {}).progress == {HITS: PartitionProgress(0, 0)}
    part = remembered.within(range(2, 4), later)
    assert (part.is_remembered, part.is_caught_up) == (True, False)
    assert part.generations == {SiteDay(SITE, 2): 2, SiteDay(SITE, 3): 3}


def test_a_store_holds_what_was_committed_when_it_has_taken_in_as_much() -> None:
    refusals = PartitionId("rejected.1", 0)
    committed = Reach({HITS: PartitionProgress(10, 1)}, {refusals: PartitionProgress(3, 1)})
    assert Reach({HITS: PartitionProgress(10, 1)}).holds([a_site()], committed)
    assert committed.holds([a_site()], committed)
    assert not Reach({HITS: PartitionProgress(9, 1)}).holds([a_site()], committed)
    behind = Reach({HITS: PartitionProgress(10, 1)}, {refusals: PartitionProgress(2, 1)})
    assert not behind.holds([a_site()], committed)


def test_days_are_those_that_a_range_touches() -> None:
    assert days_between(DAY, 3 * DAY) == range(1, 3)
    assert days_between(DAY - 1, 2 * DAY + 1) == range(3)
    assert not days_between(DAY, DAY)
