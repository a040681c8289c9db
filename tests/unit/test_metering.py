"""Test the metrics that the processor computes itself."""

from __future__ import annotations

from hitmesh.model.positions import PartitionId, PartitionProgress
from processor.stream.metering import ages_s

NOW = 1_700_000_000_000


def test_age_of_a_partition_is_the_time_since_its_log_time() -> None:
    progress = {
        PartitionId("hits.x", 0): PartitionProgress(7, NOW - 4_500),
        PartitionId("hits.x", 1): PartitionProgress(9, NOW + 20),  # the clock of the log is ahead
    }
    assert ages_s(progress, NOW) == {0: 4.5, 1: -0.02}


def test_partition_that_has_reached_nothing_has_no_age() -> None:
    assert ages_s({PartitionId("hits.x", 3): PartitionProgress(0, 0)}, NOW) == {}
