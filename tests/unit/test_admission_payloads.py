"""Test the payload of each hit type: its required fields and its stored values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from collector.admission.columns import Columns
from collector.admission.orders import check_order
from collector.admission.payloads import PAYLOAD_FIELDS, Part
from collector.admission.texts import Texts
from collector.admission.verdicts import Verdicts
from collector.wire import MessageReader
from hitmesh.api.hit.v1 import hit_pb2
from hitmesh.model.hit_types import NON_INTERACTIVE, CartAction, HitType
from hitmesh.model.limits import MAX_ABS_MICROS
from tests.support.admitting import SITE, a_batch, a_hit, admitted, stored, verdict

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
        (a_hit(type=3, event=hit_pb2.CustomEvent(name="play\u2028")), "INVALID_FIELD", "event.name"),
        (a_hit(type=3, event=hit_pb2.CustomEvent(name="\x1b[2J")), "INVALID_FIELD", "event.name"),
        (a_hit(type=3, event=hit_pb2.CustomEvent(name="play\n")), "INVALID_FIELD", "event.name"),
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
        (an_order(order_id="x" * 256), "INVALID_FIELD", "order.order_id"),
        (an_order(currency="us"), "UNKNOWN_CURRENCY", "order.currency"),
        (an_order(currency="e\u017fp"), "UNKNOWN_CURRENCY", "order.currency"),
        (an_order(currency="XXY"), "UNKNOWN_CURRENCY", "order.currency"),
        (an_order(total_micros=MAX_ABS_MICROS + 1), "INVALID_FIELD", "order.total_micros"),
        (an_order(total_micros=-(1 << 63)), "INVALID_FIELD", "order.total_micros"),
        (an_order(discount_micros=-MAX_ABS_MICROS - 1), "INVALID_FIELD", "order.discount_micros"),
        (an_order(items=[hit_pb2.Item(quantity=-1_000_001)]), "INVALID_FIELD", "order.items.quantity"),
        (an_order(items=[hit_pb2.Item(quantity=1_000_001)]), "INVALID_FIELD", "order.items.quantity"),
        (an_order(items=[hit_pb2.Item(quantity=-(1 << 63))]), "INVALID_FIELD", "order.items.quantity"),
        *(
            (an_order(items=[hit_pb2.Item(quantity_exact=exact)]), "INVALID_FIELD", "order.items.quantity_exact")
            for exact in (1_000_000.5, -1e300, float("nan"), float("-inf"))
        ),
        (
            an_order(items=[hit_pb2.Item(unit_price_micros=-MAX_ABS_MICROS, quantity_exact=1.000_000_1)]),
            "INVALID_FIELD",
            "order.items.unit_price_micros",
        ),
        (
            an_order(items=[hit_pb2.Item(unit_price_micros=-MAX_ABS_MICROS, quantity=-2)]),
            "INVALID_FIELD",
            "order.items.unit_price_micros",
        ),
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
        (a_refund(order_id="x" * 256), "INVALID_FIELD", "refund.order_id"),
        (a_refund(refund_id="x" * 256), "INVALID_FIELD", "refund.refund_id"),
        (a_refund(amount_micros=0), "INVALID_FIELD", "refund.amount_micros"),
        (a_refund(amount_micros=0, kind=hit_pb2.REFUND_KIND_PARTIAL), "INVALID_FIELD", "refund.amount_micros"),
        (a_refund(amount_micros=-1, kind=hit_pb2.REFUND_KIND_FULL), "INVALID_FIELD", "refund.amount_micros"),
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


def items_of(hit: hit_pb2.Hit) -> list[tuple[int, int]]:
    return [(item["unit_price"], item["quantity"]) for item in stored(hit)["items"]]


def test_a_quantity_is_taken_as_sent_and_1_when_it_is_not() -> None:
    quantities = (None, 0, 1, -1, 1_000_000, -1_000_000)
    sent = [hit_pb2.Item(unit_price_micros=-7, quantity=quantity) for quantity in quantities]
    assert items_of(an_order(items=sent)) == [(-7, 1), (-7, 0), (-7, 1), (-7, -1), (-7, 1_000_000), (-7, -1_000_000)]


@pytest.mark.parametrize(
    ("price", "weight", "price_and_quantity"),
    [
        (19_900_000, 1.5, (29_850_000, 1)),
        (10_000_000, 1.1, (11_000_000, 1)),  # 1.1 as a float is slightly above 1.1
        (1_000_000, 0.0000015, (2, 1)),
        (1_000_000, 0.0000025, (2, 1)),  # half-even
        (19_900_000, -1.5, (29_850_000, -1)),
        (-19_900_000, 2.0, (-39_800_000, 1)),
        (19_900_000, 0.0, (19_900_000, 0)),
        (MAX_ABS_MICROS, 0.3, (3 * MAX_ABS_MICROS // 10, 1)),
    ],
)
def test_goods_by_weight_are_one_item_of_price_times_quantity(
    price: int, weight: float, price_and_quantity: tuple[int, int]
) -> None:
    item = hit_pb2.Item(unit_price_micros=price, quantity=9, quantity_exact=weight)
    assert items_of(an_order(items=[SOFA, item, LAMP]))[1] == price_and_quantity


@pytest.mark.parametrize("most", [1, 2])
def test_items_beyond_the_limit_are_left_out_of_the_order_with_a_warning(most: int) -> None:
    field = PAYLOAD_FIELDS[HitType.ORDER]
    orders = [[SOFA], [], [LAMP, SOFA, LAMP], [SOFA, LAMP]]
    hits = [an_order(items=items, total_micros=7).order for items in orders]
    rows, columns, verdicts = np.arange(len(hits)), Columns(len(hits)), Verdicts(len(hits))
    payload = MessageReader(hit_pb2.Order.DESCRIPTOR).read([hit.SerializeToString() for hit in hits])
    currency = Texts.constant(["EUR"], np.zeros(len(hits), np.int32))
    check_order(Part(field, rows, payload, verdicts, columns, currency), most_items=most)
    warnings = verdicts.warnings
    assert warnings.rows.tolist() == [row for row, items in enumerate(orders) if len(items) > most]
    assert (warnings.outcomes, warnings.reasons, warnings.fields) == (["WARNED"], ["TRUNCATED"], ["order.items"])
    items = columns.series("items")
    assert items is not None
    assert [found and [item["sku"] for item in found] for found in items.to_list()] == [
        [item.sku for item in sent[:most]] or None for sent in orders
    ]


def test_an_order_of_more_than_1000_items_keeps_its_totals_and_the_first_of_them() -> None:
    hit = an_order(items=[hit_pb2.Item(sku=f"s{number}") for number in range(1_001)], total_micros=7)
    found = admitted(a_batch(hit))
    assert [(issue.outcome, issue.reason, issue.field) for issue in found.issues] == [
        ("WARNED", "TRUNCATED", "order.items")
    ]
    row = found.hits.row(0, named=True)
    assert (row["total"], [item["sku"] for item in row["items"]]) == (7, [f"s{number}" for number in range(1_000)])


def test_an_order_may_be_large() -> None:
    item = hit_pb2.Item(sku="s" * 64, name="n" * 128, category=["c" * 60], brand="b" * 20, unit_price_micros=1)
    assert len(stored(an_order(items=[item] * 800))["items"]) == 800


@pytest.mark.parametrize("code", ["usd", "Usd", "USD"])
def test_a_currency_may_be_in_small_letters(code: str) -> None:
    assert stored(an_order(currency=code))["currency"] == "USD"
    assert stored(a_refund(currency=code))["currency"] == "USD"
    assert stored(a_cart(currency=code))["cart_action"] == CartAction.ADD


def test_an_order_may_have_negative_amounts_and_quantities() -> None:
    row = stored(an_order(total_micros=-5, discount_micros=-1, items=[hit_pb2.Item(sku="s", quantity=-1)]))
    assert (row["total"], row["discount"], row["items"][0]["quantity"]) == (-5, -1, -1)


@pytest.mark.parametrize("kind", [hit_pb2.REFUND_KIND_FULL, hit_pb2.REFUND_KIND_CANCEL])
def test_a_refund_of_a_whole_order_needs_no_amount(kind: hit_pb2.RefundKind.ValueType) -> None:
    hit = a_refund(kind=kind, amount_micros=0, refund_id="r")
    found = admitted(a_batch(hit))
    (issue,) = found.issues
    assert (issue.outcome, issue.reason, issue.field) == ("WARNED", "MISSING_FIELD", "refund.amount_micros")
    row = found.hits.row(0, named=True)
    assert (row["refund_id"], row["refund_amount"], row["order_id"]) == ("r", 0, "o1")
    assert stored(a_refund(kind=kind, amount_micros=5))["refund_amount"] == 5


@pytest.mark.parametrize("size", [64, 65, 255])
def test_ids_of_orders_and_refunds_have_up_to_255_bytes(size: int) -> None:
    assert stored(an_order(order_id="x" * size))["order_id"] == "x" * size
    row = stored(a_refund(order_id="x" * size, refund_id="y" * size))
    assert (row["order_id"], row["refund_id"]) == ("x" * size, "y" * size)


@pytest.mark.parametrize("name", ["Play", "Purchase completed", "add-to-cart", "größe 👩\u200d💻", "x" * 128, "$view"])
def test_an_event_s_name_is_any_printable_text(name: str) -> None:
    assert stored(a_hit(type=3, event=hit_pb2.CustomEvent(name=name)))["event_name"] == name


def test_a_name_beyond_128_bytes_is_cut_with_a_warning() -> None:
    hit = a_hit(type=3, event=hit_pb2.CustomEvent(name="x" * 129))
    assert verdict(hit) == ("WARNED", "TRUNCATED", "event.name")
    assert admitted(a_batch(hit)).hits["event_name"].to_list() == ["x" * 128]


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
