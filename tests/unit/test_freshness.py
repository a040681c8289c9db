"""How far the numbers reach (rules L1, L2): progress, what waits, and which partitions matter."""

from __future__ import annotations

import pytest

from hitmesh.ports import (
    SETTLEMENT_LOG,
    DirtySiteDay,
    MarkRange,
    PartitionId,
    PartitionProgress,
    Site,
    SiteDay,
)
from reporter.freshness import State, freshness, partitions_of_site, state_of

NOW = 1_700_000_000_000
MINUTE = 60_000
SITE = Site("merchants/demo/sites/shop", "UTC", "USD", b"s" * 32)
LOG = "hits-1"
PARTITIONS = 8
OWN = min(partitions_of_site(SITE, PARTITIONS))
DAY = NOW // 86_400_000


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


def test_a_waiting_record_holds_back_its_partition() -> None:
    pending = {SITE.name: [waiting(40, NOW - 5_000, PartitionId(LOG, OWN))]}
    found = freshness([SITE], progress_at(NOW), pending, NOW)
    assert found.complete_through == NOW - 5_000
    assert found.partitions[PartitionId(LOG, OWN)] == PartitionProgress(40, NOW - 5_000)
    assert found.dirty_days == 1
    assert found.provisional_from == DAY * 86_400_000


def test_a_day_that_settlement_marked_holds_back_the_time_but_no_offset() -> None:
    of_settlement = waiting(7, NOW - 9_000, PartitionId(SETTLEMENT_LOG, 0))
    pending = {SITE.name: [of_settlement, waiting(100, NOW - 2_000, PartitionId(LOG, OWN), DAY + 1)]}
    found = freshness([SITE], progress_at(NOW), pending, NOW)
    assert (found.dirty_days, found.resettling_days) == (2, 1)
    assert found.complete_through == NOW - 9_000
    assert found.partitions[PartitionId(LOG, OWN)].next_offset == 100


def test_marks_of_another_log_hold_nothing_back() -> None:
    pending = {SITE.name: [waiting(0, 1, PartitionId("rejected-1", OWN))]}
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


def test_sites_together_are_as_fresh_as_the_last_of_them() -> None:
    other = Site("merchants/demo/sites/blog", "UTC", "USD", b"")
    pending = {SITE.name: [waiting(40, NOW - 5_000, PartitionId(LOG, OWN))], other.name: []}
    found = freshness([other, SITE], progress_at(NOW), pending, NOW)
    assert found.complete_through == NOW - 5_000
    assert found.dirty_days == 1


def test_a_clock_behind_the_log_shows_no_negative_lag() -> None:
    assert freshness([SITE], progress_at(NOW + 500), {}, NOW).lag_ms == 0


def test_provisional_from_is_the_cell_that_complete_through_is_in() -> None:
    assert freshness([SITE], progress_at(NOW), {}, NOW).provisional_from == NOW - NOW % 900_000


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
