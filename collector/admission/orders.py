"""The payloads that carry money or products: orders, refunds, carts, product views (rule M1).

Decides which amounts, currencies, quantities and order ids are taken, and which product a hit is about; refuses to know
whether an order is a repeat.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from collector.admission.payloads import Part, text_of
from collector.admission.texts import Texts, byte_lengths
from collector.admission.verdicts import Mask, Reason, Verdicts, shown
from hitmesh.hit_types import CartAction
from hitmesh.money import CURRENCIES, MAX_ABS_MICROS

MAX_ID_BYTES: Final = 64
MAX_ITEMS: Final = 100
MAX_QUANTITY: Final = 1_000_000
MAX_LEVELS: Final = 5
MAX_LEVEL_BYTES: Final = 64
MAX_NAME_BYTES: Final = 128
MAX_CATEGORY_BYTES: Final = MAX_LEVELS * (MAX_LEVEL_BYTES + 1) - 1
_AMOUNTS: Final = ("total", "subtotal", "shipping", "tax", "discount")


@dataclass(frozen=True, slots=True)
class Items:
    """Items of hits: columns per item, and which item is a hit's first."""

    sku: Texts | None
    category: Texts | None
    brand: Texts | None
    unit_price: npt.NDArray[np.int64]
    quantity: npt.NDArray[np.int64]


def check_order(part: Part) -> None:
    """ORDER: id, currency, amounts, items."""
    part.keep_text("order_id", _order_id(part))
    _keep_currency(part)
    part.text("coupon", MAX_ID_BYTES)
    for name in _AMOUNTS:
        amounts = part.numbers(f"{name}_micros")
        part.within(f"{name}_micros", amounts, 0 if name == "discount" else -MAX_ABS_MICROS, MAX_ABS_MICROS)
        part.keep_numbers(name, amounts)
    column = part.payload.column("items")
    _check_count(column, part)
    if len(column.values):
        part.columns.set_series("items", _item_lists(column, _items_of(column, part), part))


def check_refund(part: Part) -> None:
    """REFUND: of which order, how much."""
    part.keep_text("order_id", _order_id(part))
    part.text("refund_id", MAX_ID_BYTES)
    _keep_currency(part)
    amount = part.numbers("amount_micros")
    part.within("amount_micros", amount, 1, MAX_ABS_MICROS)
    part.keep_numbers("refund_amount", amount)


def check_cart(part: Part) -> None:
    """CART_UPDATE: put in or taken out; the first item is the product the hit is about."""
    part.text("cart_id", MAX_ID_BYTES)
    action = part.numbers("action")
    part.need("action", action != 0, "send ADD or REMOVE")
    part.within("action", action, CartAction.ADD, CartAction.REMOVE)
    part.keep_numbers("cart_action", action)
    part.within("value_micros", part.numbers("value_micros"), -MAX_ABS_MICROS, MAX_ABS_MICROS)
    _check_currency(part)
    column = part.payload.column("items")
    _check_count(column, part)
    if len(column.values):
        items = _items_of(column, part)
        starts = column.offsets.to_numpy()
        with_items = np.flatnonzero(np.diff(starts))
        for name, texts in (("product", items.sku), ("category", items.category), ("brand", items.brand)):
            if texts is not None:
                part.columns.set_text(name, texts.rows(starts[with_items]), part.rows[with_items])


def check_product_view(part: Part) -> None:
    """PRODUCT_VIEW: the product; its own sku wins over the item's."""
    sku = part.text("sku", MAX_ID_BYTES)
    column = part.payload.column("item")
    if column.null_count < len(column):
        items = _read_items(column, "product_view.item", part.verdicts)
        if items.sku is not None:
            sku = items.sku if sku is None else sku.or_else(items.sku)
        part.keep_text("category", items.category)
        part.keep_text("brand", items.brand)
    present = np.zeros(len(part.rows), np.bool_) if sku is None else sku.is_set()
    part.need("sku", present, "send the product's sku, there or in its item")
    part.keep_text("product", sku)


def _order_id(part: Part) -> Texts | None:
    """An order's id is never cut: two orders could become one."""
    field = f"{part.field}.order_id"
    texts = text_of(part.payload.column("order_id"), field, 1 << 30, part.verdicts)
    if texts is None:
        part.need("order_id", np.zeros(len(part.rows), np.bool_), f"send 1 to {MAX_ID_BYTES} bytes")
        return None
    part.need("order_id", texts.is_set(), f"send 1 to {MAX_ID_BYTES} bytes")
    sizes = byte_lengths(texts.values)[texts.codes]
    part.verdicts.refuse(
        sizes > MAX_ID_BYTES,
        Reason.INVALID_FIELD,
        field,
        lambda at: f"{field} {shown(texts.value(at))} has {sizes[at]:,} bytes; the limit is {MAX_ID_BYTES}: shorten it",
    )
    return texts


def _keep_currency(part: Part) -> None:
    sent = _check_currency(part)
    part.keep_text("currency", part.currency if sent is None else sent.or_else(part.currency))


def _check_currency(part: Part) -> Texts | None:
    """Returns the currencies that were sent; refuses codes that do not exist (rule M1)."""
    sent = Texts.of(part.payload.column("currency"))
    if sent is not None:
        part.verdicts.refuse(
            ~sent.among(lambda code: not code or code in CURRENCIES),
            Reason.UNKNOWN_CURRENCY,
            f"{part.field}.currency",
            lambda at: (
                f"{part.field}.currency {shown(sent.value(at))} is not a code of ISO 4217: "
                "use three capitals such as EUR"
            ),
        )
    return sent


def _check_count(column: pa.ListArray, part: Part) -> None:
    counts = np.diff(column.offsets.to_numpy())
    field = f"{part.field}.items"
    part.verdicts.refuse(
        counts > MAX_ITEMS,
        Reason.INVALID_FIELD,
        field,
        lambda at: f"{field} has {counts[at]:,} items; the limit is {MAX_ITEMS}: put the rest into another hit",
    )


def _items_of(column: pa.ListArray, part: Part) -> Items:
    hit_of = np.repeat(np.arange(len(column)), np.diff(column.offsets.to_numpy()))
    return _read_items(column.values, f"{part.field}.items", part.verdicts.among(hit_of))


def _read_items(items: pa.StructArray, field: str, verdicts: Verdicts) -> Items:
    """Returns the columns of items; a quantity of 0 is 1."""
    for name in ("name", "variant"):
        text_of(items.field(name), f"{field}.{name}", MAX_NAME_BYTES if name == "name" else MAX_ID_BYTES, verdicts)
    price = items.field("unit_price_micros").to_numpy()
    quantity = items.field("quantity").to_numpy()
    quantity = np.where(quantity == 0, 1, quantity)
    _check_numbers(price, quantity, field, verdicts)
    return Items(
        text_of(items.field("sku"), f"{field}.sku", MAX_ID_BYTES, verdicts),
        _categories(items.field("category"), f"{field}.category", verdicts),
        text_of(items.field("brand"), f"{field}.brand", MAX_ID_BYTES, verdicts),
        price,
        quantity,
    )


def _check_numbers(
    price: npt.NDArray[np.int64], quantity: npt.NDArray[np.int64], field: str, verdicts: Verdicts
) -> None:
    verdicts.refuse(
        (quantity < 1) | (quantity > MAX_QUANTITY),
        Reason.INVALID_FIELD,
        f"{field}.quantity",
        lambda at: f"{field}.quantity is {quantity[at]:,}; it must be 1 to {MAX_QUANTITY:,}",
    )
    # Price × quantity must be an amount too; dividing the bound does not overflow.
    most = MAX_ABS_MICROS // np.clip(quantity, 1, MAX_QUANTITY)
    beyond: Mask = (price > most) | (price < -most)
    verdicts.refuse(
        beyond,
        Reason.INVALID_FIELD,
        f"{field}.unit_price_micros",
        lambda at: (
            f"{field}.unit_price_micros {price[at]:,} × quantity {quantity[at]:,} is beyond ±{MAX_ABS_MICROS:,} "
            "micros: check its unit"
        ),
    )


def _categories(levels: pa.ListArray, field: str, verdicts: Verdicts) -> Texts | None:
    """Returns the levels joined by "/"; cuts levels that are too long and drops those beyond the fifth."""
    if not len(levels.values):
        return None
    counts = np.diff(levels.offsets.to_numpy())
    item_of = np.repeat(np.arange(len(levels)), counts)
    each = text_of(levels.values, field, MAX_LEVEL_BYTES, verdicts.among(item_of))
    if each is None:
        return None
    verdicts.warn(
        counts > MAX_LEVELS,
        Reason.TRUNCATED,
        field,
        lambda at: f"{field} has {counts[at]} levels; the limit is {MAX_LEVELS}: the rest was dropped",
    )
    lists = pa.ListArray.from_arrays(levels.offsets, each.values.take(pa.array(each.codes)))
    joined = pl.Series("category", lists).list.head(MAX_LEVELS).list.join("/")
    return Texts.of(joined.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(pa.string()))


def _item_lists(column: pa.ListArray, items: Items, part: Part) -> pl.Series:
    """Returns the items of each row of the micro-batch, null where there are none."""
    every = np.arange(len(items.quantity))
    texts = {"sku": items.sku, "category": items.category, "brand": items.brand}
    fields = [
        pl.Series(name, [None], dtype=pl.String()).new_from_index(0, len(every))
        if each is None
        else each.column(name, every)
        for name, each in texts.items()
    ]
    fields += [pl.Series("unit_price", items.unit_price), pl.Series("quantity", items.quantity)]
    structs = pl.DataFrame(fields).to_struct("item").to_arrow(compat_level=pl.CompatLevel.oldest())
    counts = np.zeros(part.columns.height, dtype=np.int32)
    counts[part.rows] = np.diff(column.offsets.to_numpy())
    offsets = np.concatenate(([0], np.cumsum(counts))).astype(np.int32)
    return pl.Series("items", pa.ListArray.from_arrays(pa.array(offsets), structs, mask=pa.array(counts == 0)))
