"""Test that the remaining claims on orders and refunds count after an erasure.

The days of the remaining claims are settled again.
"""

from __future__ import annotations

from dataclasses import replace

from hitmesh.model.claims import ClaimKind
from hitmesh.model.zones import DAY_MS
from tests.reference.hits import RefHit
from tests.support.erasing import erase, key_of, without
from tests.support.reprocessing import imbalance, stored
from tests.support.small_mesh import SmallMesh, differences, expected_rows
from tests.unit.settling import MIDNIGHT, MINUTE, NOON, SITE, a_hit, an_order
from tests.unit.test_settlement import totals

TWO_DAYS = 2 * 1_440


def a_refund(minute: float, visitor: str = "w", micros: int | None = None, refund_id: str | None = None) -> RefHit:
    """Return a refund of order `o`. Without an amount, the refund is for the whole order."""
    refund = replace(a_hit(minute, visitor), type="REFUND", interactive=False, order_id="o", currency="USD")
    return replace(refund, refund_micros=micros, refund_id=refund_id)


def an_erased_mesh(*hits: RefHit) -> SmallMesh:
    """Return a mesh that settled the hits, erased visitor v, and settled the dirty days again."""
    mesh = SmallMesh(NOON, sites=[SITE])
    mesh.send(hits)
    mesh.settle()
    erase(mesh, SITE, "v")
    mesh.settle()
    return mesh


def test_a_refund_for_an_erased_order_on_a_later_day_has_no_amount() -> None:
    mesh = an_erased_mesh(an_order(30, "o"), a_hit(31, "w"), a_refund(30 + TWO_DAYS))
    assert differences(mesh.rows(), expected_rows(without(mesh.sent, "v"))) == []
    assert imbalance(mesh) == 0


def test_a_refund_that_an_erased_visitor_sent_first_counts_where_it_is_repeated() -> None:
    mesh = an_erased_mesh(*(a_refund(at, who, 30, "r") for at, who in ((30, "v"), (30 + TWO_DAYS, "w"))))
    assert differences(mesh.rows(), expected_rows(without(mesh.sent, "v"))) == []
    (claim,) = mesh.stores.claims.of(SITE, ["r"], ClaimKind.REFUND)
    assert ((claim.visitor_hi, claim.visitor_lo), claim.duplicate) == (key_of("w"), False)
    assert totals(mesh, claim.day, "refunds") == (30,)


def test_an_order_after_the_erasure_counts_although_it_is_on_the_same_day() -> None:
    mesh = SmallMesh(MIDNIGHT + 720 * MINUTE, sites=[SITE])
    mesh.send([an_order(700, "before"), a_hit(710, "w")])
    mesh.stream()
    erase(mesh, SITE, "v")
    until = stored(mesh, "e").created_at
    mesh.clock.advance(60 * MINUTE)
    mesh.send([replace(an_order(0, "after"), event_time=mesh.clock.now())])
    mesh.settle()
    assert totals(mesh, MIDNIGHT // DAY_MS, "orders") == (1,)
    assert differences(mesh.rows(), expected_rows(without(mesh.sent, "v", until))) == []
