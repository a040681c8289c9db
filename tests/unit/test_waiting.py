"""Test hits that wait for settlement (rule S9).

The ledger notes waiting hits. If a hit waits, settlement does not confirm the stream's rows of the adjacent days.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from hitmesh.model.sites import SiteDay
from hitmesh.model.zones import DAY_MS
from processor.building import stream_stores
from tests.generate.scenarios import HOUR, MINUTE
from tests.reference.hits import RefHit
from tests.support.live_faults import Fuse, Killed, fused
from tests.support.live_mesh import SMALLEST, LiveMesh

SITE = "merchants/demo/sites/alpha"
DAY = 20_000
NOON = DAY * DAY_MS + 12 * HOUR


@pytest.fixture
def mesh(tmp_path: Path) -> Iterator[LiveMesh]:
    """Return a mesh whose clock is three days before NOON.

    Out-of-order hits wait if their visitor has three kept hits.
    """
    limits = replace(SMALLEST, kept_of_visitor=3)
    with LiveMesh("memory:", tmp_path, NOON - 3 * DAY_MS, [SITE], partitions=1, limits=limits) as made:
        yield made


def views(mesh: LiveMesh, visitor: str, *minutes: int) -> None:
    """Append a record of page views. `minutes` are the ages of the page views."""
    times = [mesh.clock.now() - ago * MINUTE for ago in minutes]
    mesh.append([RefHit(SITE, visitor, f"{visitor}-{at}", at, page_path="/") for at in times], 0)


def test_hits_that_wait_are_noted_before_their_rows_are_seen(mesh: LiveMesh) -> None:
    mesh.advance_to(NOON, HOUR)
    views(mesh, "v", 2, 1, 0)
    mesh.step()
    views(mesh, "v", 3)
    behind_the_transaction = Fuse(1, only=frozenset({"transaction"}))
    mesh.runner = mesh.a_runner(fused(stream_stores(mesh.stores), behind_the_transaction))
    with pytest.raises(Killed):
        mesh.step()
    assert behind_the_transaction.blown == "after transaction"
    assert mesh.stores.ledger.waiting(SITE, DAY - 9, DAY + 9) == {DAY}


def test_days_beside_one_with_hits_that_waited_are_not_confirmed(mesh: LiveMesh) -> None:
    for days_ago in (3, 1):
        mesh.advance_to(NOON - days_ago * DAY_MS, HOUR)
        views(mesh, "other", 0)
        mesh.step()
    mesh.advance_to(NOON, HOUR)
    for minutes in ((2, 1, 0), (3,)):
        views(mesh, "v", *minutes)
        mesh.step()
    mesh.settle()
    drifts = mesh.stores.generations.drifts(SITE, DAY - 9, DAY + 9)
    found = {by: drifts[SiteDay(SITE, DAY + by)] for by in (-3, -1, 0)}
    assert {by: drift.confirmed for by, drift in found.items()} == {-3: True, -1: False, 0: False}
    assert {by: drift.rows_differ for by, drift in found.items()} == {-3: False, -1: False, 0: True}
