"""Test refunds with literal times (rule D3), both streamed and settled.

The tests cover repeats and refunds of whole orders.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from control.rpc.operations.get_drift import get_drift
from hitmesh.api.control.v1 import operations_pb2 as pb
from hitmesh.model.claims import OrderClaim
from hitmesh.model.errors import RefusedError
from hitmesh.model.limits import MAX_ABS_MICROS
from hitmesh.model.positions import Position
from hitmesh.model.rows.rollup_rows import TRAFFIC_DIMENSIONS
from hitmesh.model.sites import SiteDay
from tests.reference.hits import RefHit
from tests.support.reporters import control_backend
from tests.support.small_mesh import SmallMesh
from tests.unit.test_settlement import DAY, NOON, SITE, a_hit, an_order, settled, totals

DAY_MINUTES = 24 * 60


def a_refund(minute: float, order_id: str = "o", micros: int | None = 30, **fields: Any) -> RefHit:
    sent = {"currency": "USD", "visitor": "webhook", **fields}
    return a_hit(minute, "REFUND", interactive=False, refund_micros=micros, order_id=order_id, **sent)


def streamed(*hits: RefHit) -> SmallMesh:
    mesh = SmallMesh(NOON, sites=[SITE])
    for hit in hits:
        mesh.send([hit])
        mesh.stream()
    return mesh


def test_refund_sent_twice_counts_once_in_the_stream_and_settled() -> None:
    hits = [a_refund(701, refund_id="r"), a_refund(702, refund_id="r"), a_refund(703, refund_id="s"), a_refund(704)]
    mesh = streamed(an_order(700, "o"), *hits, a_refund(705))
    assert totals(mesh, DAY, "hits", "refunds", "gross_revenue") == (6, 4 * 30, 100)
    mesh.settle()
    assert totals(mesh, DAY, "hits", "refunds", "gross_revenue") == (6, 4 * 30, 100)
    (drift,) = mesh.stores.generations.drifts(SITE, DAY, DAY + 1).values()
    assert (drift.confirmed, drift.full_refunds) == (True, 0)


def test_refund_repeated_on_another_day_takes_nothing_off() -> None:
    mesh = settled([a_refund(DAY_MINUTES + 1, refund_id="r")], [a_refund(0, refund_id="r")])
    assert [totals(mesh, day, "refunds") for day in (DAY, DAY + 1)] == [(0,), (30,)]


def test_claim_on_a_refund_that_proves_to_be_a_copy_hands_it_on() -> None:
    first, copy = a_hit(60, hit_id="x"), a_refund(90, refund_id="r", hit_id="x", visitor="v")
    mesh = settled([first, copy, a_refund(DAY_MINUTES + 60, refund_id="r")])
    assert totals(mesh, DAY, "refunds", "duplicate_hits") == (0, 1)
    assert totals(mesh, DAY + 1, "refunds") == (30,)


def test_excluded_refund_takes_none_from_the_others() -> None:
    mesh = settled([a_refund(0, refund_id="r", excluded=True), a_refund(1, refund_id="r")])
    assert totals(mesh, DAY, "refunds") == (30,)


def test_order_and_refund_of_one_id_both_count() -> None:
    mesh = settled([an_order(0, "same"), a_refund(1, "same", refund_id="same")])
    assert totals(mesh, DAY, "orders", "gross_revenue", "refunds", "order_visits") == (1, 100, 30, 1)


@pytest.mark.parametrize("micros", [0, None])
def test_refund_of_a_whole_order_is_0_until_it_is_settled_and_listed_apart(micros: int | None) -> None:
    refund = a_refund(702, micros=micros, currency="EUR")
    mesh = streamed(an_order(700, "o"), an_order(701, "o", 70, visitor="w"), refund)
    assert totals(mesh, DAY, "refunds", "gross_revenue") == (0, 100)
    mesh.settle()
    assert totals(mesh, DAY, "refunds", "gross_revenue") == (100, 100)
    (drift,) = mesh.stores.generations.drifts(SITE, DAY, DAY + 1).values()
    assert (drift.confirmed, drift.rows_differ, drift.measures, drift.full_refunds) == (False, True, {}, 100)
    assert drift.row_measures == {}
    currencies = {
        key[4][TRAFFIC_DIMENSIONS.index("currency")] for key, row in mesh.rows().items() if row.get("refunds")
    }
    assert currencies == {"USD"}


def test_refunds_of_whole_orders_are_exact_beyond_an_int64_and_drift_refuses_what_it_cannot_hold() -> None:
    """The sum of ten orders at the limit of an amount exceeds 2⁶³ micros."""
    orders = [an_order(700 + number, f"o-{number}", MAX_ABS_MICROS) for number in range(10)]
    refunds = [a_refund(720 + number, f"o-{number}", 0) for number in range(10)]
    for count in (9, 10):
        mesh = streamed(*orders[:count], *refunds[:count])
        mesh.settle()
        (drift,) = mesh.stores.generations.drifts(SITE, DAY, DAY + 1).values()
        assert (drift.full_refunds, drift.measures, drift.row_measures) == (count * MAX_ABS_MICROS, {}, {})
        backend = control_backend(mesh.stores, mesh.clock, open_reads=True)
        if count == 9:
            (listed,) = get_drift(backend, None, pb.GetDriftRequest(site=SITE)).days
            assert listed.full_refunds == count * MAX_ABS_MICROS
            continue
        with pytest.raises(RefusedError, match=r"full_refunds of .* is 10,000,000,000,000,000,000 micros") as caught:
            get_drift(backend, None, pb.GetDriftRequest(site=SITE))
        assert caught.value.reason == "SUM_OUT_OF_RANGE"


def test_refund_of_a_whole_order_finds_the_order_on_any_day() -> None:
    mesh = settled([an_order(0, "o")], [a_refund(3 * DAY_MINUTES, micros=0)])
    assert totals(mesh, DAY + 3, "refunds") == (100,)
    again = settled([an_order(0, "o")], [a_refund(3 * DAY_MINUTES, micros=0), a_refund(0, "p", 0)])
    assert [totals(again, day, "refunds") for day in (DAY, DAY + 3)] == [(0,), (100,)]


@pytest.mark.parametrize("order_minute", [-3 * DAY_MINUTES, 0, 3 * DAY_MINUTES])
def test_order_that_comes_after_the_day_of_its_refund_was_settled_settles_it_again(order_minute: int) -> None:
    mesh = settled([a_refund(60, micros=0, refund_id="r")])
    assert totals(mesh, DAY, "refunds") == (0,)
    mesh.send([an_order(order_minute, "o", 70)])
    mesh.stream()
    assert SiteDay(SITE, DAY) in {waiting.site_day for waiting in mesh.stores.dirty.pending(SITE)}
    mesh.settle()
    assert totals(mesh, DAY, "refunds") == (70,)


def test_order_that_is_found_by_another_processor_settles_the_day_of_its_refund_again() -> None:
    """Order and refund arrive at the same moment.

    The refund's day is marked dirty only by the settlement of the order's day.
    """
    mesh = settled([a_refund(60, micros=0)])
    mesh.send([an_order(3 * DAY_MINUTES, "o", 70)])
    mesh.stream()
    for waiting in mesh.stores.dirty.pending(SITE):
        mesh.stores.dirty.clear(waiting)
    mesh.settle()
    assert totals(mesh, DAY, "refunds") == (70,)


def test_repeat_of_a_refund_of_a_whole_order_takes_nothing_off() -> None:
    mesh = settled([an_order(0, "o"), a_refund(1, micros=0, refund_id="r"), a_refund(2, micros=0, refund_id="r")])
    assert totals(mesh, DAY, "refunds") == (100,)


def test_claim_that_was_made_before_claims_had_totals_gets_it_from_its_hit() -> None:
    mesh = SmallMesh(NOON, sites=[SITE])
    mesh.send([an_order(0, "o", 70)])
    log_time, log, partition, offset, row = mesh.sent[0].position
    position = Position(log, partition, offset)
    mesh.stores.claims.claim([OrderClaim(SITE, "o", log_time, position, row, 1, 2, "v-0", DAY, False)])
    mesh.settle()
    mesh.send([a_refund(DAY_MINUTES, micros=0)])
    mesh.settle()
    (claim,) = mesh.stores.claims.of(SITE, ["o"])
    assert claim.total is None
    assert totals(mesh, DAY + 1, "refunds") == (70,)


def test_refund_of_a_record_without_ids_counts_as_before() -> None:
    mesh = settled([a_refund(0), a_refund(1), replace(a_refund(2), refund_micros=None)])
    assert totals(mesh, DAY, "refunds") == (60,)
