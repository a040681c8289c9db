"""Event exports of a shop as CSV: a row becomes a PRODUCT_VIEW or CART_UPDATE, purchases of one moment an ORDER.

Decides which rows belong to one order, and reads prices exactly. Rows are grouped over the whole file, so orders come
last, in the order of their first rows. Times are UTC, as the format writes them. A view without a product is
unparsable, since that hit is about nothing else; carts and purchases count without one. Knows nothing of visits: the
export's sessions only tell orders apart.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from hitmesh.errors import RefusedError
from hitmesh.hit.v1 import hit_pb2
from hitmesh.importers.lines import (
    MAX_LINE_BYTES,
    Line,
    Skipped,
    Tally,
    epoch_s,
    hit_id,
    read_lines,
    unparsable,
)

NEEDED_COLUMNS: Final = ("event_time", "event_type", "product_id", "price", "user_id", "user_session")
PRICE_DIGITS: Final = 6
MAX_AMOUNT_MICROS: Final = 10**15
# An order with more than 100 items is refused by the collector; this only bounds the message that says so.
MAX_ORDER_ITEMS: Final = 5_000

_TIME: Final = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2}) ([0-9]{2}):([0-9]{2}):([0-9]{2}) UTC")
_PRICE: Final = re.compile(r"([0-9]{1,16})(?:\.([0-9]+))?")
_VIEW: Final = "view"
_PURCHASE: Final = "purchase"
_CART_ACTIONS: Final = {"cart": hit_pb2.CART_ACTION_ADD, "remove_from_cart": hit_pb2.CART_ACTION_REMOVE}


@dataclass(frozen=True, slots=True)
class _Row:
    line: Line
    columns: Mapping[str, str]
    time_s: int
    price_micros: int


@dataclass(slots=True)
class _Orders:
    """Orders by id, in the order of their first rows."""

    currency: str
    by_id: dict[str, hit_pb2.Hit] = field(default_factory=dict)

    def add(self, row: _Row) -> None:
        order_id = f"{row.columns['user_session']}:{row.columns['user_id']}:{row.time_s}"
        hit = self.by_id.get(order_id)
        if hit is None:
            hit = _hit(row, hit_pb2.HIT_TYPE_ORDER)
            hit.order.order_id = order_id
            hit.order.currency = self.currency
            self.by_id[order_id] = hit
        if len(hit.order.items) < MAX_ORDER_ITEMS:
            hit.order.items.append(_item(row))
            hit.order.total_micros += row.price_micros
            hit.order.subtotal_micros = hit.order.total_micros


def read(raw_lines: Iterable[bytes], tally: Tally, *, currency: str) -> Iterator[hit_pb2.Hit]:
    """Yields the hits of views and carts in the order of their lines, then the orders.

    `tally.lines` counts rows; the header is none.

    Raises:
        RefusedError: the first line is not the header of a shop export (INVALID_FILE).
    """
    lines = read_lines(raw_lines)
    names = _header(next(lines, None))
    orders = _Orders(currency)
    for line in lines:
        tally.lines += 1
        try:
            row = _row(line, names)
            if row.columns["event_type"] == _PURCHASE:
                orders.add(row)
                continue
            hit = _view_or_cart(row, currency)
        except Skipped as skipped:
            tally.skipped[skipped.reason] += 1
        else:
            yield hit
    yield from orders.by_id.values()


def micros(text: str) -> int:
    """Returns a price in micros, exactly.

    Raises:
        Skipped: it is no price: negative, not a number, more than six decimals, or beyond 10^15 micros.
    """
    found = _PRICE.fullmatch(text)
    if found is None:
        raise unparsable()
    fraction = (found[2] or "").rstrip("0")
    if len(fraction) > PRICE_DIGITS:
        raise unparsable()
    amount = int(found[1]) * 10**PRICE_DIGITS + int(fraction.ljust(PRICE_DIGITS, "0"))
    if amount > MAX_AMOUNT_MICROS:
        raise unparsable()
    return amount


def _header(line: Line | None) -> list[str]:
    try:
        names = _fields(line) if line is not None else []
    except Skipped:
        names = []
    missing = [name for name in NEEDED_COLUMNS if name not in names]
    if missing:
        raise RefusedError(
            f"the first line is not the header of a shop export: it lacks {', '.join(missing)}; "
            f"needed are {', '.join(NEEDED_COLUMNS)}",
            field="file",
            reason="INVALID_FILE",
        )
    return names


def _fields(line: Line) -> list[str]:
    try:
        return next(csv.reader([line.text], strict=True), [])
    except csv.Error as error:
        raise unparsable() from error


def _row(line: Line, names: list[str]) -> _Row:
    values = _fields(line) if len(line.text) <= MAX_LINE_BYTES else []
    if len(values) != len(names):
        raise unparsable()
    columns = dict(zip(names, values, strict=True))
    found = _TIME.fullmatch(columns["event_time"])
    if found is None or not columns["user_session"] or not columns["user_id"]:
        raise unparsable()
    year, month, day, hour, minute, second = (int(part) for part in found.groups())
    return _Row(line, columns, epoch_s(year, month, day, hour, minute, second), micros(columns["price"]))


def _view_or_cart(row: _Row, currency: str) -> hit_pb2.Hit:
    event_type = row.columns["event_type"]
    if event_type == _VIEW:
        if not row.columns["product_id"].strip():
            raise unparsable()
        hit = _hit(row, hit_pb2.HIT_TYPE_PRODUCT_VIEW)
        hit.product_view.item.CopyFrom(_item(row))
        hit.product_view.sku = hit.product_view.item.sku
        return hit
    action = _CART_ACTIONS.get(event_type)
    if action is None:
        raise unparsable()
    hit = _hit(row, hit_pb2.HIT_TYPE_CART_UPDATE)
    hit.cart.action = action
    hit.cart.items.append(_item(row))
    hit.cart.value_micros = row.price_micros
    hit.cart.currency = currency
    return hit


def _hit(row: _Row, hit_type: hit_pb2.HitType.ValueType) -> hit_pb2.Hit:
    hit = hit_pb2.Hit(hit_id=hit_id(row.line), type=hit_type, visitor_id=row.columns["user_id"])
    hit.true_time.seconds = row.time_s
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
