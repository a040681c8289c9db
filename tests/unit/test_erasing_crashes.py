"""Test an erasure that crashes at any effect.

The restart repeats work but changes no result, and the receipt is exact.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from hitmesh.model.reprocessings import Work
from processor.reprocess.reprocessor import Reprocessor
from processor.settle.stores import SettlerStores
from tests.reference.visits import V1
from tests.support.erasing import erasing_reprocessor, plan_erasure, small_portions, turns, without
from tests.support.reprocessing import done, imbalance, request
from tests.support.small_mesh import SmallMesh, differences, expected_rows, settler_stores
from tests.unit.settling import NOON, SITE, a_hit, an_order
from tests.unit.test_reprocessing_crashes import Crash, Failing

ERASING = ("put", "mark", "remove", "replace", "publish", "set_duplicates", "erase_texts")
"""Methods that change a store. Methods that an erasure calls again in every search are left out."""
MANY = 60
PORTIONS = 25
STEP = 6


class FailingErasure(Failing):
    """A port that raises an error before or after the n-th effect of an erasure."""

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._port, name)
        return self._effect(found) if name in ERASING else found


def fails_at(effects: int, *, after: bool) -> bool:
    """Erase with a crash at the n-th effect, and check reports, ledger and receipt.

    Return whether there was a crash.
    """
    mesh = SmallMesh(NOON, sites=[SITE])
    mesh.send([a_hit(4), a_hit(5, "w"), an_order(30, "o"), a_hit(1_436)])
    mesh.send([a_hit(1_444), an_order(3_000, "o", "w")], partition=1)
    mesh.settle()
    plan_erasure(mesh, SITE, "v")
    done(mesh, Work.RECOMPUTE, "e")
    request(mesh, Work.PUBLISH, "e")
    countdown = iter(range(effects, -(10**6), -1))
    stores = settler_stores(mesh.stores)
    ports: dict[str, Any] = {
        port.name: FailingErasure(getattr(stores, port.name), countdown, Crash, after=after) for port in fields(stores)
    }
    reprocessings: Any = FailingErasure(mesh.stores.reprocessings, countdown, Crash, after=after)
    reprocessor = Reprocessor(SettlerStores(**ports), reprocessings, mesh.clock, small_portions(), marks=8)
    failed = False
    try:
        for _ in range(PORTIONS):  # after PORTIONS portions, the erasure only waits for the settler
            mesh.clock.advance(1_000)
            reprocessor.run_once()
    except Crash:
        failed = True
    assert imbalance(mesh) == 0, effects
    if failed:
        mesh.restart()
    receipt = turns(mesh, erasing_reprocessor(mesh, small_portions()))
    mesh.settle()
    assert (receipt.hits, receipt.raw_records, receipt.claims, receipt.pending) == (4, 2, 1, ()), effects
    assert differences(mesh.rows(), expected_rows(without(mesh.sent, "v"), V1)) == [], effects
    assert imbalance(mesh) == 0, effects
    return failed


@pytest.mark.timeout(120)
def test_a_crash_at_an_effect_of_an_erasure_changes_no_report() -> None:
    effects = 0
    while fails_at(effects, after=bool(effects // STEP % 2)):
        effects += STEP
        assert effects < MANY, "the erasure never ends"


@pytest.mark.long
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.timeout(300)
def test_a_crash_at_any_effect_of_an_erasure_changes_no_report(after: bool) -> None:
    effects = 0
    while fails_at(effects, after=after):
        effects += 1
        assert effects < MANY, "the erasure never ends"
