"""Encodes hits and frames as protobuf bytes. Parts are encoded once and then joined.

A protobuf message is the concatenation of its fields in any order. To encode a hit, this module therefore joins the
bytes of the payload, the visitor, the time and the id. Joining encoded parts takes 1 µs per hit; encoding a whole hit
would take 10 µs.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Final, NamedTuple

from hitmesh.api.hit.v1 import hit_pb2
from hitmesh.client.batches import SDK
from hitmesh.tools.load.scenery import CURRENCY, ORIGIN, Product

# Protobuf tags of length-delimited fields (wire type 2): field number << 3 | 2.
_HIT_ID: Final = b"\x0a"
_VISITOR_ID: Final = b"\x2a"
_TRUE_TIME: Final = b"\x22"
_ORDER: Final = b"\xda\x01"
_ORDER_ID: Final = b"\x0a"
_BATCH_ID: Final = b"\x0a"
_BATCH_HITS: Final = b"\x32"
_STREAM_BATCH: Final = b"\x12"
_SEQUENCED_NUMBER: Final = b"\x08"
_SEQUENCED_BATCH: Final = b"\x12"
_NANOS_PER_MS: Final = 1_000_000


def varint(number: int) -> bytes:
    """Return a non-negative number as a base-128 varint."""
    groups = bytearray()
    while number > 0x7F:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    groups.append(number)
    return bytes(groups)


_SMALL: Final = tuple(varint(number) for number in range(4_096))
# The encoded field `nanos` of a Timestamp, for each number of milliseconds. For 0 ms, the field is omitted.
_NANOS: Final = (b"", *(b"\x10" + varint(ms * _NANOS_PER_MS) for ms in range(1, 1_000)))


def framed(content: bytes) -> bytes:
    """Return the bytes, preceded by their length as a varint."""
    size = len(content)
    return (_SMALL[size] if size < len(_SMALL) else varint(size)) + content


def page_view(path: str, query: str, referrer: str) -> bytes:
    """Return the encoded type and payload of a page view."""
    url = f"{ORIGIN}{path}{'?' if query else ''}{query}"
    view = hit_pb2.PageView(url=url, title=f"A page about {path}"[:64], referrer=referrer, http_status=200)
    return hit_pb2.Hit(type=hit_pb2.HIT_TYPE_PAGE_VIEW, page_view=view).SerializeToString()


def event(name: str) -> bytes:
    """Return the encoded type and payload of an interactive event."""
    return hit_pb2.Hit(type=hit_pb2.HIT_TYPE_EVENT, event=hit_pb2.CustomEvent(name=name)).SerializeToString()


class Worth(NamedTuple):
    """The totals of an order; amounts are in micros."""

    total: int
    tax: int
    shipping: int
    item_revenue: int
    items_sold: int


def order_content(lines: Iterable[tuple[Product, int]]) -> tuple[bytes, Worth]:
    """Return two values: an encoded Order without an id, and the order's totals.

    `lines` are pairs of product and quantity.
    """
    items = [
        hit_pb2.Item(
            sku=product.sku,
            category=product.category,
            brand=product.brand,
            unit_price_micros=product.price_micros,
            quantity=quantity,
        )
        for product, quantity in lines
    ]
    subtotal = sum(item.unit_price_micros * item.quantity for item in items)
    shipping, tax = 4_900_000, subtotal // 5
    order = hit_pb2.Order(
        currency=CURRENCY,
        items=items,
        subtotal_micros=subtotal,
        shipping_micros=shipping,
        tax_micros=tax,
        total_micros=subtotal + shipping + tax,
    )
    items_sold = sum(item.quantity for item in items)
    return order.SerializeToString(), Worth(order.total_micros, tax, shipping, subtotal, items_sold)


_ORDER_TYPE: Final = hit_pb2.Hit(type=hit_pb2.HIT_TYPE_ORDER).SerializeToString()


def order(content: bytes, order_id: bytes) -> bytes:
    """Return the encoded type and payload of an order."""
    return _ORDER_TYPE + _ORDER + framed(content + _ORDER_ID + framed(order_id))


@cache
def visitor_context(user_agent: str, language: str) -> bytes:
    """Return the encoded context for all of a visitor's hits.

    The results are cached, because there are few user agents and languages.
    """
    context = hit_pb2.Context(device=hit_pb2.Device(user_agent=user_agent), locale=hit_pb2.Locale(language=language))
    return hit_pb2.Hit(context=context).SerializeToString()


def visitor(visitor_id: bytes, context: bytes) -> bytes:
    """Return the encoded fields that all of a visitor's hits share."""
    return context + _VISITOR_ID + framed(visitor_id)


def hit(happened: bytes, of_visitor: bytes, hit_id: bytes, event_ms: int) -> bytes:
    """Return an encoded hit, as a field of a HitBatch.

    `event_ms` becomes `true_time`, whose year must be between 1979 and 3057.
    """
    seconds, ms = divmod(event_ms, 1_000)
    time = bytes(
        (
            0x08,
            seconds & 0x7F | 0x80,
            seconds >> 7 & 0x7F | 0x80,
            seconds >> 14 & 0x7F | 0x80,
            seconds >> 21 & 0x7F | 0x80,
            seconds >> 28,
        )
    )
    return _BATCH_HITS + framed(
        happened + of_visitor + _HIT_ID + framed(hit_id) + _TRUE_TIME + framed(time + _NANOS[ms])
    )


def batch_head(ingest_key: str) -> bytes:
    """Return the encoded fields that all batches for a site share."""
    return hit_pb2.HitBatch(ingest_key=ingest_key, sdk=SDK).SerializeToString()


def batch(head: bytes, batch_id: bytes, hits: Iterable[bytes]) -> bytes:
    """Return an encoded HitBatch whose hits were encoded by the function `hit`."""
    return b"".join((head, _BATCH_ID, framed(batch_id), *hits))


def sequenced_size(batch_seq: int, content_bytes: int) -> int:
    """Return the length of the result of `sequenced`, without computing the result."""
    inner_bytes = 2 + _varint_bytes(batch_seq) + _varint_bytes(content_bytes) + content_bytes
    return 1 + _varint_bytes(inner_bytes) + inner_bytes


def _varint_bytes(number: int) -> int:
    return max(1, (number.bit_length() + 6) // 7)


def sequenced(batch_seq: int, content: bytes) -> bytes:
    """Return an encoded StreamHitsRequest with an encoded batch.

    This function encodes only the request's head. The batch was encoded when the frame was generated.
    """
    inner_head = _SEQUENCED_NUMBER + varint(batch_seq) + _SEQUENCED_BATCH + varint(len(content))
    return b"".join((_STREAM_BATCH, varint(len(inner_head) + len(content)), inner_head, content))
