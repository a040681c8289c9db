"""Test when partitions' states are saved (decision 0034): one after the other, at the configured interval.

Saves use at most 2 % of the time.
"""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hitmesh.model.positions import PartitionId
from processor.stream.turns import LONGEST_REST_MS, REST, Turns

PARTITIONS = tuple(PartitionId("log", number) for number in range(4))
EVERY_MS = 180_000


def saved_at(every_ms: int, took_ms: int, until_ms: int, step_ms: int = 500) -> list[tuple[int, PartitionId]]:
    """Return the times at which states are saved.

    Every `step_ms`, all partitions whose turn has come are saved. A save takes `took_ms`.
    """
    turns, now, saved = Turns(every_ms), 0, []
    turns.begin(PARTITIONS, now)
    while now < until_ms:
        while (partition := turns.due(now)) is not None:
            saved.append((now, partition))
            turns.saved(partition, now, now + took_ms)
            now += took_ms
        now += step_ms
    return saved


class TestTurns:
    def test_without_partitions_nothing_is_due(self) -> None:
        turns = Turns(EVERY_MS)
        turns.begin([], 0)
        assert turns.due(10 * EVERY_MS) is None

    def test_states_that_save_instantly_are_saved_in_turn_as_often_as_configured(self) -> None:
        quarter = EVERY_MS // len(PARTITIONS)
        assert saved_at(EVERY_MS, 0, 2 * EVERY_MS + 1) == [
            (quarter * number, PARTITIONS[(number - 1) % len(PARTITIONS)])
            for number in range(1, 2 * len(PARTITIONS) + 1)
        ]

    def test_with_an_interval_of_0_all_states_are_saved_at_once(self) -> None:
        turns = Turns(0)
        turns.begin(PARTITIONS, 7)
        found = []
        while (partition := turns.due(7)) is not None:
            found.append(partition)
            turns.saved(partition, 7, 7)
        assert found == list(PARTITIONS)
        assert turns.due(8) == PARTITIONS[0]

    def test_new_partitions_replace_partitions_that_moved_away(self) -> None:
        turns = Turns(EVERY_MS)
        turns.begin(PARTITIONS, 0)
        turns.begin(PARTITIONS[2:], 0)
        assert turns.due(10 * EVERY_MS) == PARTITIONS[2]

    def test_a_machine_that_slept_while_it_saved_saves_again_within_the_hour(self) -> None:
        turns, asleep = Turns(EVERY_MS), 8 * 3_600_000
        turns.begin(PARTITIONS, 0)
        turns.saved(PARTITIONS[0], 0, asleep)
        assert turns.due(asleep + LONGEST_REST_MS - 1) is None
        assert turns.due(asleep + LONGEST_REST_MS) == PARTITIONS[1]

    @given(took_ms=st.integers(0, 20_000), every_ms=st.integers(0, 300_000))
    def test_saving_takes_at_most_a_fiftieth_of_the_time_and_leaves_no_state_out(
        self, took_ms: int, every_ms: int
    ) -> None:
        whole = len(PARTITIONS) * max(every_ms, (REST + 1) * took_ms + 500, 1_000)
        saved = saved_at(every_ms, took_ms, whole)
        assert {partition for _, partition in saved} == set(PARTITIONS)
        assert took_ms * (len(saved) - 1) * (REST + 1) <= saved[-1][0]

    @pytest.mark.parametrize("partition", PARTITIONS)
    def test_no_state_is_saved_sooner_than_configured(self, partition: PartitionId) -> None:
        times = [at for at, saved in saved_at(EVERY_MS, 40, 5 * EVERY_MS) if saved == partition]
        assert len(times) > 2
        assert min(later - sooner for sooner, later in itertools.pairwise(times)) >= EVERY_MS
