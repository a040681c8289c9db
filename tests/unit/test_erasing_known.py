"""Test the number of hits that an erasure finds before the removal begins, on settled days and on open days."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hitmesh.model.erasures import Receipt
from hitmesh.model.reprocessings import State, Work
from processor.reprocess.pace import ReprocessPace
from tests.support.erasing import PACE, erasing_reprocessor, plan_erasure, turns
from tests.support.reprocessing import SMALL_PORTIONS, done, rebuilt, request, stored
from tests.support.small_mesh import SmallMesh
from tests.unit.reprocessed import arrive
from tests.unit.settling import SITE, a_hit, a_mesh

OPEN_DAY = 5 * 1_440
"""The first minute of the present day, counted from the start of DAY."""


def known(mesh: SmallMesh, visitor: str, pace: ReprocessPace | None = None) -> tuple[int, int]:
    """Plan and recompute an erasure.

    Return the number of the visitor's hits on settled days, and the number of the visitor's hits on other days.
    """
    plan_erasure(mesh, SITE, visitor, visitor)
    ready = done(mesh, Work.RECOMPUTE, visitor, pace=pace)
    assert ready.state is State.DIFF_READY
    found = rebuilt(mesh, visitor)
    done(mesh, Work.CANCEL, visitor)
    return sum(each.after.ledger.erased - each.before.ledger.erased for each in found), ready.open_hits


@pytest.mark.parametrize("pace", [None, SMALL_PORTIONS])
def test_hits_of_settled_and_of_open_days_are_counted(pace: ReprocessPace | None) -> None:
    mesh = a_mesh(a_hit(5), a_hit(6), a_hit(1_500), a_hit(7, "w"))
    mesh.settle()
    arrive(mesh, a_hit(OPEN_DAY + 1), a_hit(OPEN_DAY + 2, "only-now"), a_hit(OPEN_DAY - 1, "only-now"))
    assert known(mesh, "v", pace) == (3, 1)
    assert known(mesh, "w", pace) == (1, 0)
    assert known(mesh, "only-now", pace) == (0, 2)
    assert known(mesh, "nobody", pace) == (0, 0)


def test_receipt_names_what_the_erasure_waits_for_until_the_end() -> None:
    mesh = a_mesh(a_hit(5), a_hit(7, "w"))
    mesh.settle()
    plan_erasure(mesh, SITE, "v")
    done(mesh, Work.RECOMPUTE, "e")
    request(mesh, Work.PUBLISH, "e")
    reprocessor = erasing_reprocessor(mesh, replace(PACE, marks_known_ms=60_000))
    waits = set()
    for _ in range(10):
        reprocessor.run_once()
        mesh.clock.advance(1)
        waits.add(Receipt.from_text(stored(mesh, "e").receipt).waiting)
    assert waits - {""} == {"the running streams have not yet loaded the erasure marks"}
    mesh.clock.advance(60_000)
    assert turns(mesh, reprocessor).waiting == ""
