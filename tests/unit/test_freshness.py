"""Test freshness (rules L1 to L3): progress, days that wait for settlement, and the partitions that matter."""

from __future__ import annotations

import pytest

from hitmesh.model.generations import SETTLEMENT_LOG, DirtySiteDay, MarkRange
from hitmesh.model.placement import partitions_of_site
from hitmesh.model.positions import PartitionId, PartitionProgress
from hitmesh.model.sites import Site, SiteDay
from reporter.answer.freshness import CellState, State, Waiting, first_open_day, freshness, state_of

NOW = 1_700_000_000_000
MINUTE = 60_000
CELL = 15 * MINUTE
SITE = Site("merchants/demo/sites/shop", "UTC", "USD", b"s" * 32)
LOG = "hits-1"
PARTITIONS = 8
OWN = min(partitions_of_site(SITE, PARTITIONS))
DAY_MS = 86_400_000
DAY = NOW // DAY_MS


def progress_at(log_time: int, **others: int) -> dict[PartitionId, PartitionProgress]:
    times = dict.fromkeys(range(PARTITIONS), log_time) | {int(name[1:]): at for name, at in others.items()}
    return {PartitionId(LOG, number): PartitionProgress(100, at) for number, at in times.items()}


def waiting(first_offset: int, log_time: int, partition: PartitionId, day: int = DAY) -> DirtySiteDay:
    return DirtySiteDay(SiteDay(SITE.name, day), (MarkRange(partition, first_offset, first_offset, log_time),))


def test_without_waiting_days_progress_is_what_is_visible() -> None:
    found = freshness([SITE], progress_at(NOW - 1_000), {}, NOW)
    assert found.complete_through == NOW - 1_000
    assert found.lag_ms == 1_000
    assert found.state is State.LIVE
    assert found.partitions == {PartitionId(LOG, OWN): PartitionProgress(100, NOW - 1_000)}
    assert found.stalled == ()
    assert found.dirty_days == 0


def test_a_partition_is_named_as_stalled_when_it_stands_still_for_a_minute() -> None:
    other = (OWN + 1) % PARTITIONS
    spread = Site(SITE.name, "UTC", "USD", SITE.secret, spread=PARTITIONS)
    at_the_limit = progress_at(NOW, **{f"p{other}": NOW - 60_000})
    assert freshness([spread], at_the_limit, {}, NOW).stalled == ()
    found = freshness([spread], progress_at(NOW, **{f"p{other}": NOW - 60_001}), {}, NOW)
    assert found.stalled == (PartitionId(LOG, other),)
    assert found.state is State.LIVE


def test_hits_that_wait_for_settlement_stall_a_partition_only_after_15_minutes() -> None:
    for waits_ms, stalled in ((900_000, ()), (900_001, (PartitionId(LOG, OWN),))):
        pending = {SITE.name: Waiting([waiting(40, NOW - waits_ms, PartitionId(LOG, OWN))])}
        assert freshness([SITE], progress_at(NOW), pending, NOW).stalled == stalled


def test_a_waiting_record_holds_back_its_partition() -> None:
    pending = {SITE.name: Waiting([waiting(40, NOW - 5_000, PartitionId(LOG, OWN))])}
    found = freshness([SITE], progress_at(NOW), pending, NOW)
    assert found.complete_through == NOW - 5_000
    assert found.partitions[PartitionId(LOG, OWN)] == PartitionProgress(40, NOW - 5_000)
    assert found.dirty_days == 1
    assert found.unsettled_days == (DAY,)


def test_a_day_that_settlement_marked_holds_back_the_time_but_no_offset() -> None:
    of_settlement = waiting(7, NOW - 9_000, PartitionId(SETTLEMENT_LOG, 0))
    pending = {SITE.name: Waiting([of_settlement, waiting(100, NOW - 2_000, PartitionId(LOG, OWN), DAY + 1)])}
    found = freshness([SITE], progress_at(NOW), pending, NOW)
    assert (found.dirty_days, found.resettling_days) == (2, 1)
    assert found.complete_through == NOW - 9_000
    assert found.partitions[PartitionId(LOG, OWN)].next_offset == 100


def test_marks_of_another_log_hold_nothing_back() -> None:
    pending = {SITE.name: Waiting([waiting(0, 1, PartitionId("rejected-1", OWN))])}
    found = freshness([SITE], progress_at(NOW), pending, NOW)
    assert found.complete_through == NOW
    assert found.dirty_days == 1


def test_a_partition_in_which_the_site_cannot_be_does_not_matter() -> None:
    other = (OWN + 1) % PARTITIONS
    found = freshness([SITE], progress_at(NOW, **{f"p{other}": 0}), {}, NOW)
    assert found.complete_through == NOW


def test_the_slowest_partition_of_a_spread_site_decides() -> None:
    spread = Site(SITE.name, "UTC", "USD", SITE.secret, spread=3)
    assert partitions_of_site(spread, PARTITIONS) == {(OWN + shift) % PARTITIONS for shift in range(3)}
    slow = (OWN + 2) % PARTITIONS
    found = freshness([spread], progress_at(NOW, **{f"p{slow}": NOW - 20 * MINUTE}), {}, NOW)
    assert found.complete_through == NOW - 20 * MINUTE
    assert found.stalled == (PartitionId(LOG, slow),)
    assert found.state is State.DELAYED


def test_a_spread_wider_than_the_log_is_every_partition() -> None:
    assert len(partitions_of_site(Site(SITE.name, "UTC", "USD", b"", spread=64), 4)) == 4


def test_a_partition_without_progress_is_infinitely_far_behind() -> None:
    found = freshness([SITE], progress_at(0), {}, NOW)
    assert found.complete_through == 0
    assert found.state is State.DEGRADED
    assert freshness([SITE], {}, {}, NOW).complete_through == 0


def test_lag_is_unknown_while_a_partition_has_no_progress_and_the_cause_names_it() -> None:
    spread = Site(SITE.name, "UTC", "USD", SITE.secret, spread=3)
    silent = (OWN + 2) % PARTITIONS
    found = freshness([spread], progress_at(NOW - 1_000, **{f"p{silent}": 0}), {}, NOW)
    assert (found.complete_through, found.lag_ms, found.state) == (0, None, State.DEGRADED)
    assert found.cause.startswith("The store has no progress in 1 of 3 partitions of the site, so the lag is unknown.")
    assert freshness([spread], progress_at(NOW - 1_000), {}, NOW).cause == ""


def test_lag_is_unknown_while_the_store_knows_no_partition() -> None:
    found = freshness([SITE], {}, {}, NOW)
    assert (found.lag_ms, found.state) == (None, State.DEGRADED)
    assert found.cause.startswith("The store has no progress in 0 of 0 partitions")


def test_sites_together_are_as_fresh_as_the_last_of_them() -> None:
    other = Site("merchants/demo/sites/blog", "UTC", "USD", b"")
    pending = {SITE.name: Waiting([waiting(40, NOW - 5_000, PartitionId(LOG, OWN))])}
    found = freshness([other, SITE], progress_at(NOW), pending, NOW)
    assert found.complete_through == NOW - 5_000
    assert found.dirty_days == 1


def test_a_clock_behind_the_log_shows_no_negative_lag() -> None:
    assert freshness([SITE], progress_at(NOW + 500), {}, NOW).lag_ms == 0


def test_cells_from_the_one_that_complete_through_is_in_are_live() -> None:
    found = freshness([SITE], progress_at(NOW), {}, NOW)
    cell = NOW - NOW % CELL
    assert found.live_from == cell
    assert found.state_between(cell, cell + CELL) is CellState.LIVE
    assert found.state_between(cell - CELL, cell) is CellState.PROVISIONAL
    assert found.state_between(cell - CELL, cell + CELL) is CellState.LIVE


def test_a_cell_ends_when_complete_through_is_its_end() -> None:
    cell = NOW - NOW % CELL
    found = freshness([SITE], progress_at(cell), {}, NOW)
    assert found.state_between(cell - CELL, cell) is CellState.PROVISIONAL


@pytest.mark.parametrize(("past_ms", "is_open"), [(0, True), (1, False)])
def test_a_day_is_closed_when_every_partition_is_26_hours_past_its_end(past_ms: int, is_open: bool) -> None:
    closing = (DAY + 1) * DAY_MS + 26 * 60 * MINUTE
    assert (first_open_day(progress_at(closing + past_ms)) == DAY) is is_open
    # Even a partition that cannot contain a hit of the site keeps the day open.
    other = (OWN + 1) % PARTITIONS
    behind = progress_at(closing + 10 * DAY_MS, **{f"p{other}": closing + past_ms})
    assert (first_open_day(behind) == DAY) is is_open
    assert first_open_day(progress_at(0)) == 0
    assert first_open_day({}) == 0


def test_days_that_closed_are_settled_unless_they_wait() -> None:
    first_open = first_open_day(progress_at(NOW))
    found = freshness([SITE], progress_at(NOW), {SITE.name: Waiting(awaited=[first_open - 3])}, NOW)
    states = [found.state_between(day * DAY_MS, (day + 1) * DAY_MS) for day in range(first_open - 4, first_open + 1)]
    settled, provisional = CellState.SETTLED, CellState.PROVISIONAL
    assert states == [settled, provisional, settled, settled, provisional]
    assert found.provisional_from == (first_open - 3) * DAY_MS
    assert found.open_days == 1
    assert found.complete_through == NOW


def test_a_bucket_is_as_final_as_the_least_of_its_cells() -> None:
    first_open = first_open_day(progress_at(NOW))
    found = freshness([SITE], progress_at(NOW), {}, NOW)
    begin = first_open * DAY_MS
    assert found.provisional_from == begin
    assert found.state_between(begin - 30 * DAY_MS, begin) is CellState.SETTLED
    assert found.state_between(begin - 30 * DAY_MS, begin + CELL) is CellState.PROVISIONAL
    assert found.state_between(begin - 30 * DAY_MS, NOW - NOW % CELL + CELL) is CellState.LIVE


def test_sites_together_are_as_final_as_the_least_of_them() -> None:
    other = Site("merchants/demo/sites/blog", "UTC", "USD", b"")
    found = freshness([SITE, other], progress_at(NOW), {other.name: Waiting(awaited=[3, 7]), SITE.name: Waiting()}, NOW)
    assert found.state_between(7 * DAY_MS, 8 * DAY_MS) is CellState.PROVISIONAL
    assert found.state_between(4 * DAY_MS, 7 * DAY_MS) is CellState.SETTLED
    assert found.provisional_from == 3 * DAY_MS


@pytest.mark.parametrize(
    ("lag_ms", "state"),
    [
        (15 * MINUTE, State.LIVE),
        (15 * MINUTE + 1, State.DELAYED),
        (60 * MINUTE, State.DELAYED),
        (60 * MINUTE + 1, State.DEGRADED),
    ],
)
def test_states_begin_after_15_and_60_minutes(lag_ms: int, state: State) -> None:
    assert state_of(lag_ms) is state
