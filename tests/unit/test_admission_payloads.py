"""Payloads of every type: what must be there, and what is stored."""

from __future__ import annotations

from typing import Any

import pytest

from hitmesh.hit.v1 import hit_pb2
from hitmesh.hit_types import NON_INTERACTIVE, CartAction, HitType
from hitmesh.money import MAX_ABS_MICROS
from tests.unit.admitting import SITE, a_batch, a_hit, admitted, stored, verdict

LAMP = hit_pb2.Item(sku="lamp", category=["home", "light"], brand="Lux", unit_price_micros=19_990_000, quantity=2)
SOFA = hit_pb2.Item(sku="sofa", unit_price_micros=5_000_000)


def an_order(**fields: Any) -> hit_pb2.Hit:
    return a_hit(type=8, order=hit_pb2.Order(**({"order_id": "o1"} | fields)))


def a_refund(**fields: Any) -> hit_pb2.Hit:
    return a_hit(type=9, refund=hit_pb2.Refund(**{"order_id": "o1", "amount_micros": 1, **fields}))


def a_cart(**fields: Any) -> hit_pb2.Hit:
    return a_hit(type=6, cart=hit_pb2.CartUpdate(**({"action": 1} | fields)))


ONE_OF_EACH = {
    HitType.PAGE_VIEW: a_hit(),
    HitType.SCREEN_VIEW: a_hit(type=2, screen_view=hit_pb2.ScreenView(screen_name="home")),
    HitType.EVENT: a_hit(type=3, event=hit_pb2.CustomEvent(name="video.play_1")),
    HitType.ENGAGEMENT: a_hit(type=4, engagement=hit_pb2.Engagement(foreground_ms=3_600_000)),
    HitType.PERFORMANCE: a_hit(type=5, performance=hit_pb2.Performance(ttfb_ms=600_000)),
    HitType.CART_UPDATE: a_cart(items=[LAMP, SOFA]),
    HitType.CHECKOUT_STEP: a_hit(type=7, checkout=hit_pb2.CheckoutStep(step=10)),
    HitType.ORDER: an_order(items=[LAMP, SOFA], total_micros=44_980_000),
    HitType.REFUND: a_refund(),
    HitType.SITE_SEARCH: a_hit(type=10, search=hit_pb2.SiteSearch(term="lamp")),
    HitType.EXCEPTION: a_hit(type=11, exception=hit_pb2.ExceptionInfo(name="E")),
    HitType.IDENTIFY: a_hit(type=12, identify=hit_pb2.Identify(traits={"plan": hit_pb2.PropertyValue(int_value=1)})),
    HitType.PRODUCT_VIEW: a_hit(type=13, product_view=hit_pb2.ProductView(item=LAMP)),
}


@pytest.mark.parametrize("kind", list(HitType))
def test_each_type_is_taken_with_its_payload_as_sent(kind: HitType) -> None:
    hit = ONE_OF_EACH[kind]
    row = stored(hit)
    assert row["hit_type"] == kind
    assert row["interactive"] == (kind not in NON_INTERACTIVE)
    payload = hit.WhichOneof("payload")
    assert payload is not None
    sent = None if kind is HitType.PAGE_VIEW else getattr(hit, payload).SerializeToString()
    assert row["payload"] == sent


@pytest.mark.parametrize("kind", list(HitType))
def test_each_type_needs_its_own_payload(kind: HitType) -> None:
    field = ONE_OF_EACH[kind].WhichOneof("payload")
    assert field is not None
    assert verdict(a_hit(type=kind.value)) == ("REJECTED", "MISSING_FIELD", field)
    other = HitType.ORDER if kind is HitType.PAGE_VIEW else HitType.PAGE_VIEW
    wrong = hit_pb2.Hit(hit_id="h", visitor_id="v", type=kind.value)  # type: ignore[arg-type]  # a number of the enum
    payload = ONE_OF_EACH[other].WhichOneof("payload")
    assert payload is not None
    getattr(wrong, payload).CopyFrom(getattr(ONE_OF_EACH[other], payload))
    assert verdict(wrong) == ("REJECTED", "MISSING_FIELD", field)


def test_all_types_in_one_batch_keep_their_columns_apart() -> None:
    together = admitted(a_batch(*ONE_OF_EACH.values())).hits.sort("batch_index")
    alone = [stored(hit) for hit in ONE_OF_EACH.values()]
    for row, expected in zip(together.drop("partition").iter_rows(named=True), alone, strict=True):
        del expected["partition"]
        assert row | {"batch_index": 0} == expected


@pytest.mark.parametrize("kind", [0, 14, 2**31 - 1])
def test_an_unknown_type_is_refused(kind: int) -> None:
    hit = hit_pb2.Hit(hit_id="h", visitor_id="v", type=kind)  # type: ignore[arg-type]  # an open enum
    assert verdict(hit) == ("REJECTED", "UNSUPPORTED_TYPE", "type")


@pytest.mark.parametrize(
    ("hit", "reason", "field"),
    [
        (a_hit(type=2, screen_view=hit_pb2.ScreenView()), "MISSING_FIELD", "screen_view.screen_name"),
        (a_hit(type=3, event=hit_pb2.CustomEvent()), "MISSING_FIELD", "event.name"),
        (a_hit(type=3, event=hit_pb2.CustomEvent(name="Play")), "INVALID_FIELD", "event.name"),
        (a_hit(type=3, event=hit_pb2.CustomEvent(name="play\n")), "INVALID_FIELD", "event.name"),
        (a_hit(type=3, event=hit_pb2.CustomEvent(name="x" * 65)), "INVALID_FIELD", "event.name"),
        (a_hit(type=3, event=hit_pb2.CustomEvent(name="x", value=float("nan"))), "INVALID_FIELD", "event.value"),
        (a_hit(type=4, engagement=hit_pb2.Engagement(foreground_ms=-1)), "INVALID_FIELD", "engagement.foreground_ms"),
        (
            a_hit(type=4, engagement=hit_pb2.Engagement(foreground_ms=3_600_001)),
            "INVALID_FIELD",
            "engagement.foreground_ms",
        ),
        (
            a_hit(type=4, engagement=hit_pb2.Engagement(scroll_percent=101)),
            "INVALID_FIELD",
            "engagement.scroll_percent",
        ),
        (a_hit(type=5, performance=hit_pb2.Performance(lcp_ms=600_001)), "INVALID_FIELD", "performance.lcp_ms"),
        (a_hit(type=7, checkout=hit_pb2.CheckoutStep()), "MISSING_FIELD", "checkout.step"),
        (a_hit(type=7, checkout=hit_pb2.CheckoutStep(step=11)), "INVALID_FIELD", "checkout.step"),
        (a_hit(type=13, product_view=hit_pb2.ProductView()), "MISSING_FIELD", "product_view.sku"),
        (
            a_hit(type=13, product_view=hit_pb2.ProductView(item=hit_pb2.Item(brand="b"))),
            "MISSING_FIELD",
            "product_view.sku",
        ),
        (a_cart(action=0), "MISSING_FIELD", "cart.action"),
        (a_cart(action=3), "INVALID_FIELD", "cart.action"),
        (a_cart(currency="XXY"), "UNKNOWN_CURRENCY", "cart.currency"),
        (a_cart(value_micros=MAX_ABS_MICROS + 1), "INVALID_FIELD", "cart.value_micros"),
        (an_order(order_id=""), "MISSING_FIELD", "order.order_id"),
        (an_order(order_id="x" * 65), "INVALID_FIELD", "order.order_id"),
        (an_order(currency="usd"), "UNKNOWN_CURRENCY", "order.currency"),
        (an_order(currency="XXY"), "UNKNOWN_CURRENCY", "order.currency"),
        (an_order(total_micros=MAX_ABS_MICROS + 1), "INVALID_FIELD", "order.total_micros"),
        (an_order(total_micros=-(1 << 63)), "INVALID_FIELD", "order.total_micros"),
        (an_order(discount_micros=-1), "INVALID_FIELD", "order.discount_micros"),
        (an_order(items=[LAMP] * 101), "INVALID_FIELD", "order.items"),
        (an_order(items=[hit_pb2.Item(quantity=-1)]), "INVALID_FIELD", "order.items.quantity"),
        (an_order(items=[hit_pb2.Item(quantity=1_000_001)]), "INVALID_FIELD", "order.items.quantity"),
        (
            an_order(items=[hit_pb2.Item(unit_price_micros=MAX_ABS_MICROS, quantity=2)]),
            "INVALID_FIELD",
            "order.items.unit_price_micros",
        ),
        (
            an_order(items=[hit_pb2.Item(unit_price_micros=-(1 << 63))]),
            "INVALID_FIELD",
            "order.items.unit_price_micros",
        ),
        (a_refund(order_id=""), "MISSING_FIELD", "refund.order_id"),
        (a_refund(amount_micros=0), "INVALID_FIELD", "refund.amount_micros"),
        (a_refund(amount_micros=-1), "INVALID_FIELD", "refund.amount_micros"),
        (a_refund(currency="EURO"), "UNKNOWN_CURRENCY", "refund.currency"),
    ],
)
def test_a_payload_out_of_bounds_is_refused(hit: hit_pb2.Hit, reason: str, field: str) -> None:
    found = admitted(a_batch(a_hit("before"), hit, a_hit("after")))
    assert [(issue.index, issue.outcome, issue.reason, issue.field) for issue in found.issues] == [
        (1, "REJECTED", reason, field)
    ]
    assert found.hits.sort("batch_index")["hit_id"].to_list() == ["before", "after"]


def test_amounts_up_to_the_bound_are_taken() -> None:
    row = stored(
        an_order(
            total_micros=MAX_ABS_MICROS,
            tax_micros=-MAX_ABS_MICROS,
            items=[hit_pb2.Item(sku="s", unit_price_micros=MAX_ABS_MICROS)],
        )
    )
    assert (row["total"], row["tax"], row["shipping"]) == (MAX_ABS_MICROS, -MAX_ABS_MICROS, 0)


def test_an_order_has_items_and_the_site_s_currency() -> None:
    row = stored(an_order(items=[LAMP, SOFA], total_micros=7))
    assert (row["order_id"], row["currency"], row["total"], row["product"]) == ("o1", SITE.currency, 7, None)
    assert row["items"] == [
        {"sku": "lamp", "category": "home/light", "brand": "Lux", "unit_price": 19_990_000, "quantity": 2},
        {"sku": "sofa", "category": None, "brand": None, "unit_price": 5_000_000, "quantity": 1},
    ]
    assert stored(an_order())["items"] is None
    assert stored(an_order(currency="JPY"))["currency"] == "JPY"


def test_items_of_several_orders_stay_with_their_order() -> None:
    hits = [
        an_order(items=[SOFA]),
        a_hit("p"),
        an_order(),
        an_order(items=[LAMP, SOFA]),
        an_order(currency="XXY", items=[LAMP]),
    ]
    rows = admitted(a_batch(*hits)).hits.sort("batch_index")
    skus = [items and [item["sku"] for item in items] for items in rows["items"].to_list()]
    assert skus == [["sofa"], None, None, ["lamp", "sofa"]]


def test_a_refund_keeps_its_order_and_amount() -> None:
    row = stored(a_refund(amount_micros=5, currency="USD"))
    assert (row["order_id"], row["refund_amount"], row["currency"], row["total"]) == ("o1", 5, "USD", None)


def test_cart_and_product_view_carry_their_first_item() -> None:
    row = stored(a_cart(items=[LAMP, SOFA]))
    assert (row["product"], row["category"], row["brand"]) == ("lamp", "home/light", "Lux")
    assert (row["cart_action"], row["currency"], row["items"]) == (CartAction.ADD, None, None)
    assert stored(a_cart())["product"] is None
    row = stored(a_hit(type=13, product_view=hit_pb2.ProductView(sku="own", item=LAMP)))
    assert (row["product"], row["category"]) == ("own", "home/light")
    assert stored(ONE_OF_EACH[HitType.PRODUCT_VIEW])["product"] == "lamp"


def test_levels_beyond_the_fifth_are_dropped_with_a_warning() -> None:
    item = hit_pb2.Item(sku="s", category=["1", "2", "3", "4", "5", "6"])
    hit = a_hit(type=13, product_view=hit_pb2.ProductView(item=item))
    assert verdict(hit) == ("WARNED", "TRUNCATED", "product_view.item.category")
    assert admitted(a_batch(hit)).hits["category"].to_list() == ["1/2/3/4/5"]


def test_an_event_may_be_sent_as_not_interactive() -> None:
    def event(**fields: Any) -> hit_pb2.Hit:
        return a_hit(type=3, event=hit_pb2.CustomEvent(name="x", **fields))

    rows = admitted(a_batch(event(), event(interactive=True), event(interactive=False))).hits.sort("batch_index")
    assert rows["interactive"].to_list() == [True, True, False]
    assert rows["event_name"].to_list() == ["x"] * 3


def test_a_screen_s_name_is_its_page_path() -> None:
    rows = admitted(a_batch(ONE_OF_EACH[HitType.SCREEN_VIEW], a_hit("p"))).hits.sort("batch_index")
    assert rows["page_path"].to_list() == ["home", "/"]
