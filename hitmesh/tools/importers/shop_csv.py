"""Reads a shop's event export as CSV: rows become PRODUCT_VIEWs or CART_UPDATEs; purchases are joined into ORDERs.

Purchases with the same session, user and second are one order, even if their rows are far apart. The whole file is
therefore read before the first order is yielded. Orders are sorted by their first rows. Prices are rounded to micros.
Times without an offset are UTC. A view without a product is unparsable, because a view has no other content. Carts and
purchases need no product. The sessions in the export separate orders, but do not define visits. A row may have no
session.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Final

from hitmesh.api.hit.v1 import hit_pb2
from hitmesh.model.limits import MAX_ABS_MICROS
from hitmesh.model.money import MICROS
from hitmesh.tools.importers.csv_rows import read_header, read_rows
from hitmesh.tools.importers.lines import Line, Skipped, Tally, hit_id, read_lines, too_long, unparsable

NEEDED_COLUMNS: Final = ("event_time", "event_type", "product_id", "price", "user_id")
COLUMNS: Final = (*NEEDED_COLUMNS, "user_session", "category_code", "brand")
# The collector's limit of items per order, plus 1, so that the collector warns about an order with too many items.
MAX_ORDER_ITEMS: Final = 1_001
MAX_ORDER_BYTES: Final = 240 << 10
MAX_PRICE_CHARS: Final = 100
# Maximum number of characters of a value in a message about a row.
SHOWN_VALUE: Final = 40

_EXACT: Final = Context(prec=2 * MAX_PRICE_CHARS)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_ZONE: Final = re.compile(r"\s*(?:UTC|GMT|Z)$")
_OFFSET: Final = re.compile(r"\s+(?=[+-]\d)")
# Matches a number with or without an exponent. Programs print some floating-point numbers with an exponent.
_PRICE: Final = re.compile(r"[0-9]{1,40}(?:\.[0-9]+)?(?:[eE][+-][0-9]{1,3})?")
_DECIMAL_COMMA: Final = re.compile(r"([0-9]{1,3}(?:\.[0-9]{3})+|[0-9]{1,40}),([0-9]+)")
_VIEW: Final = "view"
_PURCHASE: Final = "purchase"
_CART_ACTIONS: Final = {"cart": hit_pb2.CART_ACTION_ADD, "remove_from_cart": hit_pb2.CART_ACTION_REMOVE}


@dataclass(frozen=True, slots=True)
class _Row:
    line: Line
    columns: Mapping[str, str]
    time_ms: int
    price_micros: int

    @property
    def user_id(self) -> str:
        return self.columns["user_id"]

    @property
    def order_id(self) -> str:
        return f"{self.columns.get('user_session', '')}:{self.user_id}:{self.time_ms // 1_000}"


@dataclass(slots=True)
class _Orders:
    """Orders, keyed by order id and sorted by their first rows."""

    currency: str
    by_id: dict[str, hit_pb2.Hit] = field(default_factory=dict)
    item_bytes: Counter[str] = field(default_factory=Counter)

    def add(self, row: _Row) -> None:
        """Add the purchase's price to the order's total, and add its item unless the order has too many items.

        Raises:
            Skipped: the total would exceed the maximum amount.
        """
        hit = self.by_id.get(row.order_id)
        if hit is None:
            hit = _hit(row, hit_pb2.HIT_TYPE_ORDER)
            hit.order.order_id = row.order_id
            hit.order.currency = self.currency
            self.by_id[row.order_id] = hit
        if hit.order.total_micros + row.price_micros > MAX_ABS_MICROS:
            raise unparsable(f"price raises the total of the order above {MAX_ABS_MICROS // MICROS:,}")
        hit.order.total_micros += row.price_micros
        hit.order.subtotal_micros = hit.order.total_micros
        item = _item(row)
        self.item_bytes[row.order_id] += item.ByteSize() + 4
        if len(hit.order.items) < MAX_ORDER_ITEMS and self.item_bytes[row.order_id] <= MAX_ORDER_BYTES:
            hit.order.items.append(item)


def read(
    raw_lines: Iterable[bytes], tally: Tally, *, currency: str, names: Mapping[str, str] | None = None
) -> Iterator[hit_pb2.Hit]:
    """Yield the hits for views and carts in line order, then the orders.

    `tally.lines` counts rows, without the header. If a column's name in the file differs from the known name, `names`
    maps the known name to the file's name.

    Raises:
        RefusedError: the first line is not the header of a shop export (INVALID_FILE).
    """
    lines = read_lines(raw_lines)
    header = read_header(lines, COLUMNS, NEEDED_COLUMNS, names or {})
    orders = _Orders(currency)
    for line, columns in read_rows(lines, header):
        tally.lines += 1
        try:
            if line.is_too_long:
                raise too_long()
            if columns is None:
                raise unparsable(f"the row is not CSV with the {header.width} columns of the header")
            if not columns["user_id"]:
                raise unparsable("user_id is empty")
            price = micros(columns["price"], decimal_comma=header.delimiter != ",")
            row = _Row(line, columns, time_ms(columns["event_time"]), price)
            if columns["event_type"] == _PURCHASE:
                orders.add(row)
                continue
            hit = _view_or_cart(row, currency)
        except Skipped as skipped:
            tally.skip(skipped, line.number, line.text)
        else:
            yield hit
    yield from orders.by_id.values()


def micros(text: str, *, decimal_comma: bool = False) -> int:
    """Return a price in micros.

    The price is rounded half-even, because printed floats may have meaningless digits.

    Raises:
        Skipped: the price is negative, not a number, or beyond the maximum amount.
    """
    text = text.strip()
    if decimal_comma and (found := _DECIMAL_COMMA.fullmatch(text)):
        text = f"{found[1].replace('.', '')}.{found[2]}"
    if len(text) > MAX_PRICE_CHARS or _PRICE.fullmatch(text) is None:
        raise unparsable(f"price {text[:SHOWN_VALUE]!r} is not a number of 0 or more, such as 19.90")
    price = Decimal(text)
    if price > MAX_ABS_MICROS // MICROS:
        raise unparsable(f"price {text[:SHOWN_VALUE]!r} is above {MAX_ABS_MICROS // MICROS:,}")
    return int(_EXACT.multiply(price, MICROS).to_integral_value(ROUND_HALF_EVEN))


def time_ms(text: str) -> int:
    """Return the UTC milliseconds for an ISO 8601 time. A time without an offset is in UTC.

    Raises:
        Skipped: the text is not an ISO 8601 time.
    """
    plain = _OFFSET.sub("", _ZONE.sub("", text.strip().upper()))
    try:
        found = datetime.fromisoformat(plain)
        utc = found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise unparsable(f"event_time {text[:SHOWN_VALUE]!r} is not a time such as 2026-11-01 09:30:00 UTC") from error
    return (utc - _EPOCH) // timedelta(milliseconds=1)


def _view_or_cart(row: _Row, currency: str) -> hit_pb2.Hit:
    event_type = row.columns["event_type"]
    if event_type == _VIEW:
        if not row.columns["product_id"].strip():
            raise unparsable("product_id of a view is empty")
        hit = _hit(row, hit_pb2.HIT_TYPE_PRODUCT_VIEW)
        hit.product_view.item.CopyFrom(_item(row))
        hit.product_view.sku = hit.product_view.item.sku
        return hit
    action = _CART_ACTIONS.get(event_type)
    if action is None:
        known = ", ".join([_VIEW, *_CART_ACTIONS])
        raise unparsable(f"event_type {event_type[:SHOWN_VALUE]!r} is not {known} or {_PURCHASE}")
    hit = _hit(row, hit_pb2.HIT_TYPE_CART_UPDATE)
    hit.cart.action = action
    hit.cart.items.append(_item(row))
    hit.cart.value_micros = row.price_micros
    hit.cart.currency = currency
    return hit


def _hit(row: _Row, hit_type: hit_pb2.HitType.ValueType) -> hit_pb2.Hit:
    hit = hit_pb2.Hit(hit_id=hit_id(row.line), type=hit_type, visitor_id=row.user_id)
    hit.true_time.seconds, hit.true_time.nanos = row.time_ms // 1_000, row.time_ms % 1_000 * 1_000_000
    return hit


def _item(row: _Row) -> hit_pb2.Item:
    category = row.columns.get("category_code", "")
    return hit_pb2.Item(
        sku=row.columns["product_id"],
        category=category.split(".") if category else (),
        brand=row.columns.get("brand", ""),
        unit_price_micros=row.price_micros,
        quantity=1,
    )
