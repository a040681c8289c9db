"""Checks payloads with money or products (rule M1): orders, refunds, carts and product views.

Decides which amounts, currencies and order ids are accepted, and which product belongs to a hit. A hit with an invalid
amount, currency or id is refused. If a text is too long, the text is cut, and the hit gets a warning. If a hit has too
many items, the excess items are left out, and the hit gets a warning. The module `items` reads the items.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import pyarrow as pa

from collector.admission.items import MAX_TEXT_BYTES, Items, item_lists, read_items
from collector.admission.payloads import Part, text_of
from collector.admission.texts import Texts, byte_lengths
from collector.admission.verdicts import shown
from hitmesh.api.hit.v1 import hit_pb2
from hitmesh.model.arrays import BoolArray
from hitmesh.model.hit_types import CartAction
from hitmesh.model.limits import MAX_ABS_MICROS
from hitmesh.model.money import CURRENCIES
from hitmesh.model.reasons import HitReason

MAX_ID_BYTES: Final = 255  # payment providers use ids of up to this length
MAX_ITEMS: Final = 1_000
_AMOUNTS: Final = ("total", "subtotal", "shipping", "tax", "discount")


# The kinds of refund that cover the whole order.
_WHOLE_REFUNDS: Final = (hit_pb2.REFUND_KIND_FULL, hit_pb2.REFUND_KIND_CANCEL)


def check_order(part: Part, *, most_items: int = MAX_ITEMS) -> None:
    """Check ORDER; store id, currency, amounts and items."""
    part.keep_text("order_id", _order_id(part))
    _keep_currency(part)
    part.text("coupon", MAX_TEXT_BYTES)
    for name in _AMOUNTS:
        amounts = part.numbers(f"{name}_micros")
        part.within(f"{name}_micros", amounts, -MAX_ABS_MICROS, MAX_ABS_MICROS)
        part.keep_numbers(name, amounts)
    column = _first_items(part, most_items)
    if len(column.values):
        part.columns.set_series("items", item_lists(column, _items_of(column, part), part.rows, part.columns.height))


def check_refund(part: Part) -> None:
    """Check REFUND; store order id, refund id, currency and amount. A refund of the whole order may omit the amount."""
    part.keep_text("order_id", _order_id(part))
    part.keep_text("refund_id", _whole_id(part, "refund_id"))
    _keep_currency(part)
    amount = part.numbers("amount_micros")
    of_order = (amount == 0) & np.isin(part.numbers("kind"), _WHOLE_REFUNDS)
    field = f"{part.field}.amount_micros"
    part.verdicts.warn(
        of_order,
        HitReason.MISSING_FIELD,
        field,
        f"{field} is not set: the refund counts as 0 until settlement, then as the order's total; send the amount",
    )
    part.within("amount_micros", np.where(of_order, 1, amount), 1, MAX_ABS_MICROS)
    part.keep_numbers("refund_amount", amount)


def check_cart(part: Part, *, most_items: int = MAX_ITEMS) -> None:
    """Check CART_UPDATE (add or remove); the first item becomes the hit's product."""
    part.text("cart_id", MAX_TEXT_BYTES)
    action = part.numbers("action")
    part.need("action", action != 0, "send CART_ACTION_ADD or CART_ACTION_REMOVE")
    part.within("action", action, CartAction.ADD, CartAction.REMOVE)
    part.keep_numbers("cart_action", action)
    part.within("value_micros", part.numbers("value_micros"), -MAX_ABS_MICROS, MAX_ABS_MICROS)
    _check_currency(part)
    column = _first_items(part, most_items)
    if len(column.values):
        items = _items_of(column, part)
        starts = column.offsets.to_numpy()
        with_items = np.flatnonzero(np.diff(starts))
        for name, texts in (("product", items.sku), ("category", items.category), ("brand", items.brand)):
            if texts is not None:
                part.columns.set_text(name, texts.rows(starts[with_items]), part.rows[with_items])


def check_product_view(part: Part) -> None:
    """Check PRODUCT_VIEW. If the payload has an sku of its own, this sku counts instead of the item's sku."""
    sku = part.text("sku", MAX_TEXT_BYTES)
    column = part.payload.column("item")
    if column.null_count < len(column):
        items = read_items(column, "product_view.item", part.verdicts)
        if items.sku is not None:
            sku = items.sku if sku is None else sku.or_else(items.sku)
        part.keep_text("category", items.category)
        part.keep_text("brand", items.brand)
    present = np.zeros(len(part.rows), np.bool_) if sku is None else sku.is_set()
    part.need("sku", present, "send the sku in product_view.sku or product_view.item.sku")
    part.keep_text("product", sku)


def _order_id(part: Part) -> Texts | None:
    texts = _whole_id(part, "order_id")
    present = np.zeros(len(part.rows), np.bool_) if texts is None else texts.is_set()
    part.need("order_id", present, f"send 1 to {MAX_ID_BYTES} bytes")
    return texts


def _whole_id(part: Part, name: str) -> Texts | None:
    """Return order or refund ids. Refuse ids that are too long, because cutting could make two ids equal."""
    field = f"{part.field}.{name}"
    texts = text_of(part.payload.column(name), field, 1 << 30, part.verdicts)
    if texts is None:
        return None
    sizes = byte_lengths(texts.values)[texts.codes]
    part.verdicts.refuse(
        sizes > MAX_ID_BYTES,
        HitReason.INVALID_FIELD,
        field,
        lambda at: f"{field} {shown(texts.value(at))} has {sizes[at]:,} bytes; the limit is {MAX_ID_BYTES}: shorten it",
    )
    return texts


def _keep_currency(part: Part) -> None:
    sent = _check_currency(part)
    part.keep_text("currency", part.currency if sent is None else sent.or_else(part.currency))


def _check_currency(part: Part) -> Texts | None:
    """Return the sent currency codes in capitals; refuse unknown codes (rule M1)."""
    sent = Texts.of(part.payload.column("currency"))
    if sent is None:
        return None
    part.verdicts.refuse(
        ~sent.among(lambda code: not code or (code.isascii() and code.upper() in CURRENCIES)),
        HitReason.UNKNOWN_CURRENCY,
        f"{part.field}.currency",
        lambda at: (
            f"{part.field}.currency {shown(sent.value(at))} is not a code of ISO 4217: use three letters such as EUR"
        ),
    )
    return Texts.constant([code.upper() for code in sent.values.to_pylist()], sent.codes)


def _first_items(part: Part, most: int) -> pa.ListArray:
    """Return at most `most` items per hit; leave out the rest with a warning."""
    column = part.payload.column("items")
    offsets = column.offsets.to_numpy()
    counts = np.diff(offsets)
    too_many: BoolArray = counts > most
    if not too_many.any():
        return column
    field = f"{part.field}.items"
    part.verdicts.warn(
        too_many,
        HitReason.TRUNCATED,
        field,
        lambda at: (
            f"{field} has {counts[at]:,} items; the limit is {most:,}: further items were left out; totals are as sent"
        ),
    )
    kept = np.minimum(counts, most)
    ends = np.cumsum(kept)
    places = np.repeat(offsets[:-1] - (ends - kept), kept) + np.arange(ends[-1])
    starts = np.concatenate(([0], ends)).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(starts), column.values.take(pa.array(places)))


def _items_of(column: pa.ListArray, part: Part) -> Items:
    hit_of = np.repeat(np.arange(len(column)), np.diff(column.offsets.to_numpy()))
    return read_items(column.values, f"{part.field}.items", part.verdicts.among(hit_of))
