"""Test an erasure while a settler that has lost its lease on the site still works."""

from __future__ import annotations

import pytest

from hitmesh.model.erasures import ErasureMark
from hitmesh.model.errors import StaleGeneration
from hitmesh.model.generations import LedgerEntry
from hitmesh.model.reprocessings import Reprocessing
from processor.settle.attempt import Attempt
from processor.settle.reached import scan_bounds
from tests.support.erasing import erase, plan_erasure
from tests.support.reprocessing import stored
from tests.support.small_mesh import SmallMesh, settler_stores
from tests.unit.settling import NOON, SITE, TODAY, TOMORROW, a_hit


def a_mesh() -> SmallMesh:
    mesh = SmallMesh(NOON, sites=[SITE])
    mesh.send([a_hit(4), a_hit(5, "w")])
    mesh.settle()
    return mesh


def test_generation_that_began_before_the_marks_cannot_be_published_after_the_erasure() -> None:
    mesh = a_mesh()
    generation = mesh.stores.generations.begin(TOMORROW)
    erase(mesh, SITE, "v")
    with pytest.raises(StaleGeneration):
        mesh.stores.generations.publish(
            TOMORROW,
            generation,
            logic_version=1,
            read_through={},
            seen_sequence=0,
            ledger=LedgerEntry(1, 1, 0, 0, sum64=7, xor64=7),
            carry=b"",
            now=mesh.clock.now(),
        )


def test_attempt_reads_the_marks_after_its_generation_began() -> None:
    mesh = a_mesh()
    bounds = scan_bounds(mesh.stores.progress)
    attempt = Attempt(settler_stores(mesh.stores), TODAY, bounds.hits, bounds.all)
    plan_erasure(mesh, SITE, "v")
    mesh.stores.erasures.put(marks_of(stored(mesh, "e")))
    settled = attempt.settle()
    assert settled is not None
    assert (settled.ledger.counted, settled.ledger.erased) == (1, 1)


def marks_of(erasing: Reprocessing) -> list[ErasureMark]:
    assert erasing.marks
    return list(erasing.marks)
