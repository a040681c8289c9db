"""Test the generated shop.

The shop depends only on seed and time, and has the documented size. Its hits conform to the public API's contract.
"""

from __future__ import annotations

from collections import Counter

import pytest

from hitmesh.api.hit.v1 import hit_pb2
from hitmesh.model.zones import DAY_MS
from hitmesh.tools.dev.demo_shop import demo_hits

NOW_MS = 1_784_000_000_000  # 2026-07-14T03:33:20Z


@pytest.fixture(scope="module")
def hits() -> list[hit_pb2.Hit]:
    return demo_hits(NOW_MS)


def test_equal_seed_and_time_give_equal_hits_and_another_seed_others() -> None:
    assert demo_hits(NOW_MS, days=2) == demo_hits(NOW_MS, days=2)
    assert demo_hits(NOW_MS, days=2) != demo_hits(NOW_MS, days=2, seed=8)


def test_shop_has_20_to_40_thousand_hits_of_thirty_days_that_end_now(hits: list[hit_pb2.Hit]) -> None:
    times = [hit.true_time.ToMilliseconds() for hit in hits]
    assert 20_000 <= len(hits) <= 40_000
    assert times == sorted(times)
    assert times[-1] <= NOW_MS
    assert NOW_MS - times[-1] < DAY_MS // 24
    assert len({time // DAY_MS for time in times}) == 30


def test_ids_of_hits_and_orders_are_unique_and_short(hits: list[hit_pb2.Hit]) -> None:
    assert len({hit.hit_id for hit in hits}) == len(hits)
    orders = [hit.order.order_id for hit in hits if hit.type == hit_pb2.HIT_TYPE_ORDER]
    assert len(set(orders)) == len(orders) > 100
    assert max(len(order_id) for order_id in orders) <= 62


def test_every_payload_is_the_one_its_type_names(hits: list[hit_pb2.Hit]) -> None:
    payloads = {
        hit_pb2.HIT_TYPE_PAGE_VIEW: "page_view",
        hit_pb2.HIT_TYPE_PRODUCT_VIEW: "product_view",
        hit_pb2.HIT_TYPE_CART_UPDATE: "cart",
        hit_pb2.HIT_TYPE_CHECKOUT_STEP: "checkout",
        hit_pb2.HIT_TYPE_ORDER: "order",
        hit_pb2.HIT_TYPE_REFUND: "refund",
        hit_pb2.HIT_TYPE_SITE_SEARCH: "search",
    }
    assert {(hit.type, hit.WhichOneof("payload")) for hit in hits} == set(payloads.items())


def test_money_adds_up(hits: list[hit_pb2.Hit]) -> None:
    for hit in hits:
        if hit.type == hit_pb2.HIT_TYPE_ORDER:
            order = hit.order
            assert order.subtotal_micros == sum(item.unit_price_micros * item.quantity for item in order.items)
            assert order.total_micros == (
                order.subtotal_micros + order.shipping_micros + order.tax_micros - order.discount_micros
            )
        if hit.type == hit_pb2.HIT_TYPE_REFUND:
            assert hit.offline
            assert hit.refund.amount_micros > 0


def test_there_are_campaigns_bots_and_visitors_who_come_back(hits: list[hit_pb2.Hit]) -> None:
    campaigns = Counter(hit.context.campaign.medium for hit in hits if hit.context.HasField("campaign"))
    assert set(campaigns) == {"email", "cpc"}
    agents: dict[str, set[str]] = {}
    for hit in hits:
        agents.setdefault(hit.visitor_id, set()).add(hit.context.device.user_agent)
    assert all(len(of_visitor) == 1 for of_visitor in agents.values())
    assert 0 < sum("Googlebot" in hit.context.device.user_agent for hit in hits) < len(hits) // 10
    days = {(hit.visitor_id, hit.true_time.ToMilliseconds() // DAY_MS) for hit in hits}
    assert len(days) > 1.2 * len(agents)
