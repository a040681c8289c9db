"""Convert hits from the reference model to client messages."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from google.protobuf.timestamp_pb2 import Timestamp

from hitmesh.api.hit.v1 import hit_pb2
from tests.reference.hits import RefHit, RefItem


def timestamp(ms: int) -> Timestamp:
    """Return a time in UTC ms as a protobuf message."""
    return Timestamp(seconds=ms // 1_000, nanos=ms % 1_000 * 1_000_000)


def page_view(hit_id: str, at_ms: int, path: str = "/", visitor: str = "v-1", agent: str = "") -> hit_pb2.Hit:
    """Return a plain page view at a given time."""
    return hit_pb2.Hit(
        hit_id=hit_id,
        type=hit_pb2.HIT_TYPE_PAGE_VIEW,
        true_time=timestamp(at_ms),
        visitor_id=visitor,
        context=hit_pb2.Context(device=hit_pb2.Device(user_agent=agent)),
        page_view=hit_pb2.PageView(url=f"https://shop.example{path}"),
    )


def message_of(hit: RefHit) -> hit_pb2.Hit:
    """Return the message with which a server sends a hit of the reference model."""
    source, medium, campaign, click_id = hit.campaign
    context = hit_pb2.Context(
        campaign=hit_pb2.Campaign(source=source, medium=medium, campaign=campaign, click_id=click_id),
        device=hit_pb2.Device(user_agent=hit.user_agent),
    )
    message = hit_pb2.Hit(
        hit_id=hit.hit_id,
        type=hit_pb2.HitType.Value(f"HIT_TYPE_{hit.type}"),
        true_time=timestamp(hit.event_time),
        visitor_id=hit.visitor,
        context=context,
        offline=hit.offline,
    )
    _PAYLOADS[hit.type](message, hit)
    return message


def _page_view(message: hit_pb2.Hit, hit: RefHit) -> None:
    message.page_view.CopyFrom(hit_pb2.PageView(url=hit.url or "", referrer=hit.referrer or ""))


def _screen_view(message: hit_pb2.Hit, hit: RefHit) -> None:
    message.screen_view.screen_name = hit.page_path or ""


def _event(message: hit_pb2.Hit, hit: RefHit) -> None:
    message.event.name = hit.event_name or ""
    if not hit.interactive:
        message.event.interactive = False


def _engagement(message: hit_pb2.Hit, hit: RefHit) -> None:
    message.engagement.foreground_ms = 1_000


def _performance(message: hit_pb2.Hit, hit: RefHit) -> None:
    message.performance.ttfb_ms = 120


def _product_view(message: hit_pb2.Hit, hit: RefHit) -> None:
    message.product_view.item.CopyFrom(_item(RefItem(hit.product or "", hit.category, hit.brand)))


def _cart(message: hit_pb2.Hit, hit: RefHit) -> None:
    message.cart.action = hit_pb2.CartAction.Value(f"CART_ACTION_{hit.cart_action}")
    message.cart.items.append(_item(RefItem(hit.product or "", hit.category, hit.brand)))


def _checkout(message: hit_pb2.Hit, hit: RefHit) -> None:
    message.checkout.step = hit.checkout_step or 0


def _order(message: hit_pb2.Hit, hit: RefHit) -> None:
    message.order.CopyFrom(
        hit_pb2.Order(
            order_id=hit.order_id or "",
            currency=hit.currency or "",
            items=[_item(item) for item in hit.items],
            total_micros=hit.total_micros or 0,
            tax_micros=hit.tax_micros or 0,
            shipping_micros=hit.shipping_micros or 0,
            discount_micros=hit.discount_micros or 0,
        )
    )


def _refund(message: hit_pb2.Hit, hit: RefHit) -> None:
    message.refund.CopyFrom(
        hit_pb2.Refund(
            refund_id=hit.refund_id or "",
            kind=hit_pb2.REFUND_KIND_PARTIAL if hit.refund_micros else hit_pb2.REFUND_KIND_FULL,
            order_id=hit.order_id or "",
            amount_micros=hit.refund_micros or 0,
            currency=hit.currency or "",
        )
    )


def _search(message: hit_pb2.Hit, hit: RefHit) -> None:
    message.search.term = hit.search_term or ""


def _exception(message: hit_pb2.Hit, hit: RefHit) -> None:
    message.exception.name = "CheckoutError"


def _identify(message: hit_pb2.Hit, hit: RefHit) -> None:
    message.identify.traits["plan"].string_value = "gold"


def _item(item: RefItem) -> hit_pb2.Item:
    return hit_pb2.Item(
        sku=item.sku,
        category=item.category.split("/") if item.category else [],
        brand=item.brand or "",
        unit_price_micros=item.unit_price_micros,
        quantity=item.quantity,
    )


_PAYLOADS: Mapping[str, Callable[[hit_pb2.Hit, RefHit], None]] = {
    "PAGE_VIEW": _page_view,
    "SCREEN_VIEW": _screen_view,
    "EVENT": _event,
    "ENGAGEMENT": _engagement,
    "PERFORMANCE": _performance,
    "PRODUCT_VIEW": _product_view,
    "CART_UPDATE": _cart,
    "CHECKOUT_STEP": _checkout,
    "ORDER": _order,
    "REFUND": _refund,
    "SITE_SEARCH": _search,
    "EXCEPTION": _exception,
    "IDENTIFY": _identify,
}
