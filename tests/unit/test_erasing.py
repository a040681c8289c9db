"""Erasure of a visitor: reports, ledger and stores afterwards."""

from __future__ import annotations

from tests.reference.visits import V1
from tests.support.erasing import erase, without
from tests.support.reprocessing import imbalance
from tests.support.small_mesh import SmallMesh, differences, expected_rows
from tests.unit.settling import NOON, SITE, a_hit, an_order


def a_mesh() -> SmallMesh:
    """Return a settled mesh: visitor v on two days, with a visit over midnight and an order that w repeats."""
    mesh = SmallMesh(NOON, sites=[SITE])
    mesh.send([a_hit(4), a_hit(20), a_hit(5, "w"), an_order(30, "o"), a_hit(1_436), a_hit(1_444)])
    mesh.send([an_order(3_000, "o", "w"), a_hit(40, "u")], partition=1)
    mesh.settle()
    return mesh


def test_reports_after_an_erasure_are_the_reports_of_the_traffic_without_the_visitor() -> None:
    mesh = a_mesh()
    receipt = erase(mesh, SITE, "v")
    mesh.settle()
    assert differences(mesh.rows(), expected_rows(without(mesh.sent, "v"), V1)) == []
    assert imbalance(mesh) == 0
    assert (receipt.hits, receipt.raw_records, receipt.claims, receipt.site_days) == (5, 1, 1, 2)
    assert receipt.proven_at > 0
    assert (receipt.pending, receipt.log_until) == ((), 0)
