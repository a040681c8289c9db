"""Test settled days with literal times: the vectors of rules.md §11 on midnights, orders and copies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from hitmesh.model.generations import LedgerEntry
from hitmesh.model.rows.rollup_rows import RowSource
from hitmesh.model.sites import SiteDay
from tests.reference.hits import RefHit, RefItem, hash64
from tests.support.small_mesh import SmallMesh

SITE = "merchants/m/sites/s"
DAY = 20_000
MINUTE = 60_000
MIDNIGHT = DAY * 86_400_000
NOON = MIDNIGHT + 720 * MINUTE


def a_hit(
    minute: float, type: str = "PAGE_VIEW", visitor: str = "v", hit_id: str | None = None, **fields: Any
) -> RefHit:
    hit = RefHit(
        SITE,
        visitor,
        hit_id or f"{visitor}-{minute}",
        MIDNIGHT + round(minute * MINUTE),
        type,
        page_path=f"/{minute:g}",
    )
    return replace(hit, **fields)


def an_order(minute: float, order_id: str, total: int = 100, **fields: Any) -> RefHit:
    items = (RefItem("sku", unit_price_micros=total),)
    return a_hit(minute, "ORDER", order_id=order_id, currency="USD", total_micros=total, items=items, **fields)


def settled(*rounds: Sequence[RefHit]) -> SmallMesh:
    """Return a mesh that has received and settled one round of hits after the other."""
    mesh = SmallMesh(NOON, sites=[SITE])
    for hits in rounds:
        mesh.send(list(hits))
        mesh.settle()
    return mesh


def totals(mesh: SmallMesh, day: int, *measures: str) -> tuple[int, ...]:
    """Return sums over a day's rows that are not excluded."""
    start = day * 86_400_000
    rows = [
        row
        for (_, with_excluded, _, cell, _), row in mesh.rows().items()
        if not with_excluded and start <= cell < start + 86_400_000
    ]
    return tuple(sum(row.get(name, 0) for row in rows) for name in measures)


def test_visit_over_midnight_belongs_to_the_day_it_began() -> None:
    mesh = settled([a_hit(minute) for minute in range(-60, 181, 20)])
    assert totals(mesh, DAY - 1, "visits", "visit_duration_total", "visit_views", "hits") == (1, 240 * MINUTE, 13, 3)
    assert totals(mesh, DAY, "visits", "visit_views", "hits") == (0, 0, 10)


def test_days_that_arrive_in_reverse_give_the_same_visit() -> None:
    second = [a_hit(minute) for minute in range(0, 181, 20)]
    first = [a_hit(minute) for minute in range(-60, 0, 20)]
    assert settled(second, first).rows() == settled([*first, *second]).rows()


def test_history_that_bridges_midnight_settles_the_next_day_again() -> None:
    mesh = settled([a_hit(-10), a_hit(30)])
    assert totals(mesh, DAY, "visits") == (1,)
    mesh.send([a_hit(5)])
    mesh.settle()
    assert totals(mesh, DAY, "visits") == (0,)
    assert totals(mesh, DAY - 1, "visits", "visit_duration_total") == (1, 40 * MINUTE)


def test_hit_of_the_next_day_lengthens_a_visit_of_a_settled_day() -> None:
    mesh = settled([a_hit(-10)], [a_hit(5)])
    assert totals(mesh, DAY - 1, "visits", "bounces", "visit_duration_total") == (1, 0, 15 * MINUTE)
    assert totals(mesh, DAY, "visits", "hits") == (0, 1)


def test_hit_of_a_carried_visit_has_the_dimensions_of_its_first_hit() -> None:
    mesh = settled([a_hit(-10, channel="search"), a_hit(5, channel="direct")])
    channels = [
        (cell >= MIDNIGHT, dimensions[8], dimensions[13])
        for source, with_excluded, _, cell, dimensions in mesh.rows()
        if source == RowSource.TRAFFIC and not with_excluded
    ]
    assert sorted(channels) == [(False, "search", "/-10"), (True, "search", "/-10")]


def test_visit_that_reaches_far_into_the_next_day_is_followed_to_its_end() -> None:
    mesh = settled([a_hit(minute) for minute in range(-10, 1421, 20)])
    assert totals(mesh, DAY - 1, "visits", "visit_duration_total") == (1, 1420 * MINUTE)
    assert totals(mesh, DAY, "visits") == (0,)


def test_first_day_without_a_carry_looks_at_the_raw_hits_before_it() -> None:
    whole = settled([a_hit(-10), a_hit(5)])
    alone = SmallMesh(NOON, sites=[SITE])
    alone.send([a_hit(-10), a_hit(5)])
    alone.stream()
    alone.close_days()
    alone.stream()
    (yesterday, _) = alone.stores.dirty.take(9, DAY + 1)
    alone.stores.dirty.clear(yesterday)
    alone.settler.run_once()
    assert totals(alone, DAY, "visits", "hits") == totals(whole, DAY, "visits", "hits") == (0, 1)


def test_refund_lowers_the_net_of_its_own_day_and_never_gross() -> None:
    refund = a_hit(1_500, "REFUND", interactive=False, refund_micros=30, currency="USD", order_id="o")
    mesh = settled([an_order(60, "o"), refund])
    assert totals(mesh, DAY, "gross_revenue", "refunds") == (100, 0)
    assert totals(mesh, DAY + 1, "gross_revenue", "refunds") == (0, 30)


def test_repeated_order_counts_once() -> None:
    mesh = settled([an_order(0, "o"), an_order(1, "o", visitor="w")])
    assert totals(mesh, DAY, "hits", "orders", "gross_revenue", "items_sold", "order_visits") == (2, 1, 100, 1, 1)


def test_first_claim_on_an_order_wins_whatever_its_day() -> None:
    mesh = settled([an_order(1_500, "o")], [an_order(0, "o", visitor="w")])
    assert totals(mesh, DAY, "orders") == (0,)
    assert totals(mesh, DAY + 1, "orders") == (1,)


def test_claim_that_proves_to_be_a_copy_hands_the_order_to_the_other_day() -> None:
    # The log has three hits: hit "x", then a copy of "x" with an order, then the same order on the next day.
    first, copy = a_hit(60, hit_id="x"), an_order(90, "o", hit_id="x")
    mesh = settled([first, copy, an_order(1_500, "o", visitor="w")])
    assert totals(mesh, DAY, "orders", "duplicate_hits") == (0, 1)
    assert totals(mesh, DAY + 1, "orders", "gross_revenue") == (1, 100)


def test_excluded_order_takes_none_from_the_others() -> None:
    mesh = settled([an_order(0, "o", excluded=True, visitor="bot"), an_order(1, "o")])
    assert totals(mesh, DAY, "orders", "excluded_hits") == (1, 1)


def test_hit_sent_three_times_is_one_hit_and_two_copies() -> None:
    hit = a_hit(0)
    mesh = settled([hit, hit], [hit])
    assert totals(mesh, DAY, "hits", "visits", "duplicate_hits") == (1, 1, 2)


def test_copy_over_midnight_is_known_from_both_sides() -> None:
    mesh = settled([a_hit(-60, hit_id="same"), a_hit(30, hit_id="same"), a_hit(91, hit_id="same")])
    assert totals(mesh, DAY - 1, "hits", "duplicate_hits") == (1, 0)
    assert totals(mesh, DAY, "hits", "duplicate_hits") == (0, 2)


def test_original_from_a_partition_that_was_behind_makes_a_hit_of_a_settled_day_a_copy() -> None:
    later = MIDNIGHT + 5 * 86_400_000
    mesh = SmallMesh(later, sites=[SITE])
    mesh.heartbeat()
    mesh.send([a_hit(30, hit_id="same")], partition=1)
    mesh.settle()
    assert totals(mesh, DAY, "hits", "duplicate_hits") == (1, 0)
    # The next record has an early collect time, and therefore an early log time. In log order, this record precedes the
    # hit in the other partition.
    mesh.send([a_hit(-60, hit_id="same")], partition=0, collected_at=later - 60 * MINUTE)
    mesh.settle()
    assert totals(mesh, DAY - 1, "hits", "duplicate_hits") == (1, 0)
    assert totals(mesh, DAY, "hits", "duplicate_hits") == (0, 1)


def test_same_id_with_other_content_is_kept_among_the_refusals_and_refuses_nothing() -> None:
    mesh = settled([a_hit(0, hit_id="x"), a_hit(1, hit_id="x")])
    (kept,) = mesh.stores.rejected.recent(SITE, 10)
    assert (kept.reason, kept.hit_id, kept.hits, kept.position.offset, kept.row) == ("ID_COLLISION", "x", 0, 0, 1)
    assert totals(mesh, DAY, "duplicate_hits", "rejected_hits") == (1, 0)


def test_ledger_has_the_outcome_of_every_accepted_hit() -> None:
    hits = [a_hit(0), a_hit(0), a_hit(1, excluded=True), a_hit(2)]
    ledger = settled(hits).ledgers()[SiteDay(SITE, DAY)]
    hashes = [hash64(hit.hit_id) for hit in hits]
    assert ledger == LedgerEntry(
        accepted=4,
        counted=2,
        duplicate=1,
        excluded=1,
        sum64=sum(hashes) % 2**64,
        xor64=hashes[0] ^ hashes[1] ^ hashes[2] ^ hashes[3],
    )


@pytest.mark.parametrize("excluded", [False, True])
def test_webhook_order_is_an_orphan_under_its_own_dimensions(excluded: bool) -> None:
    order = an_order(1, "o", offline=True, channel="referral", excluded=excluded)
    mesh = settled([a_hit(0, excluded=excluded), order])
    rows = [
        (key[4][2], key[4][8], row["hits"])
        for key, row in mesh.rows().items()
        if key[0] == RowSource.TRAFFIC and key[1] and "hits" in row
    ]
    assert sorted(rows) == [("ORDER", "referral", 1), ("PAGE_VIEW", None, 1)]
