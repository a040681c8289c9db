"""A settler that another settler overtakes loses no hit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from hitmesh.model.errors import StaleGeneration
from hitmesh.model.positions import PartitionId, PartitionProgress, Topic
from processor.settle.attempt import Attempt
from processor.settle.pace import SettlePace
from processor.settle.reached import ScanBounds, scan_bounds
from processor.settle.settler import Settler
from tests.support.reprocessing import imbalance
from tests.support.small_mesh import SmallMesh, differences, expected_rows, settler_stores
from tests.unit.settling import TODAY, a_hit, a_mesh, dirty


class OvertakenProgress:
    """Progress after whose first complete reading another settler works."""

    def __init__(self, mesh: SmallMesh, overtake: Callable[[], object]) -> None:
        self._port, self._overtake = mesh.stores.progress, overtake
        self._is_overtaken = False

    def progress(self, topic: Topic) -> Mapping[PartitionId, PartitionProgress]:
        found = self._port.progress(topic)
        if topic is Topic.REJECTED and not self._is_overtaken:
            self._is_overtaken = True
            self._overtake()
        return found


def attempt_within(mesh: SmallMesh, bounds: ScanBounds) -> Attempt:
    return Attempt(settler_stores(mesh.stores), TODAY, bounds.hits, bounds.all)


def test_settler_with_older_bounds_does_not_replace_a_generation_that_was_read_further() -> None:
    mesh = a_mesh(a_hit(0))
    mesh.settle()
    mesh.send([a_hit(1)])
    mesh.stream()

    def overtake() -> None:
        mesh.send([a_hit(2)])
        mesh.stream()
        mesh.settle()

    progress: Any = OvertakenProgress(mesh, overtake)
    stores = replace(settler_stores(mesh.stores), progress=progress)
    overtaken = Settler(stores, mesh.clock, SettlePace(resettle_after_ms=0), marks=5)
    assert overtaken.run_once() == 0
    assert mesh.ledgers()[TODAY].accepted == 3
    mesh.settle()
    assert (imbalance(mesh), dirty(mesh)) == (0, [])
    assert differences(mesh.rows(), expected_rows(mesh.sent)) == []


def test_attempt_is_stale_only_if_a_partition_that_both_know_was_read_further() -> None:
    mesh = a_mesh(a_hit(0))
    mesh.settle()
    bounds = scan_bounds(mesh.stores.progress)
    assert attempt_within(mesh, bounds).settle() is not None
    without_hits = dict.fromkeys(bounds.all, 0)
    with pytest.raises(StaleGeneration, match="scan again"):
        attempt_within(mesh, ScanBounds(bounds.hits, without_hits)).settle()
    others = {PartitionId("another-log", 0): 0}
    assert attempt_within(mesh, ScanBounds(bounds.hits, others)).settle() is not None
