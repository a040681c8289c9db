"""Reads the items of orders and carts, and the product of a product view. The columns have a row per item (rule M1).

Decides which prices and quantities are accepted. Goods that are sold by weight count as a single item, whose price is
the sent price × the weight. This module reads only items, not the hits that contain them.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from collector.admission.payloads import text_of
from collector.admission.texts import Texts
from collector.admission.verdicts import Verdicts
from hitmesh.model.arrays import BoolArray, I64Array
from hitmesh.model.limits import MAX_ABS_MICROS
from hitmesh.model.reasons import HitReason

MAX_TEXT_BYTES: Final = 64
MAX_QUANTITY: Final = 1_000_000
MAX_LEVELS: Final = 5
MAX_LEVEL_BYTES: Final = 64
MAX_NAME_BYTES: Final = 128


@dataclass(frozen=True, slots=True)
class Items:
    """The columns of items, with one row per item."""

    sku: Texts | None
    category: Texts | None
    brand: Texts | None
    unit_price: I64Array
    quantity: I64Array


def read_items(items: pa.StructArray, field: str, verdicts: Verdicts) -> Items:
    """Return the item columns. Position i in `verdicts` stands for the hit that contains item i."""
    for name in ("name", "variant"):
        text_of(items.field(name), f"{field}.{name}", MAX_NAME_BYTES if name == "name" else MAX_TEXT_BYTES, verdicts)
    price, quantity = _numbers(items, field, verdicts)
    return Items(
        text_of(items.field("sku"), f"{field}.sku", MAX_TEXT_BYTES, verdicts),
        _categories(items.field("category"), f"{field}.category", verdicts),
        text_of(items.field("brand"), f"{field}.brand", MAX_TEXT_BYTES, verdicts),
        price,
        quantity,
    )


def item_lists(column: pa.ListArray, items: Items, rows: I64Array, height: int) -> pl.Series:
    """Return `height` lists, one per row: the row's items, or null if the row has none.

    List i of `column` belongs to row rows[i].
    """
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
    counts = np.zeros(height, dtype=np.int32)
    counts[rows] = np.diff(column.offsets.to_numpy())
    offsets = np.concatenate(([0], np.cumsum(counts))).astype(np.int32)
    return pl.Series("items", pa.ListArray.from_arrays(pa.array(offsets), structs, mask=pa.array(counts == 0)))


def _numbers(items: pa.StructArray, field: str, verdicts: Verdicts) -> tuple[I64Array, I64Array]:
    """Return each item's price and quantity.

    A missing quantity counts as 1. If an item has a weight, its price is multiplied by the weight.
    """
    price = items.field("unit_price_micros").to_numpy()
    sent = items.field("quantity")
    quantity = (sent.fill_null(1) if sent.null_count else sent).to_numpy()
    exact = items.field("quantity_exact")
    if exact.null_count < len(exact):
        price, quantity = _by_weight(price, quantity, exact, field, verdicts)
    _check_range(quantity, f"{field}.quantity", verdicts)
    # Price × quantity must not exceed the limit for amounts. To avoid overflow, the price is compared with limit /
    # quantity.
    most = MAX_ABS_MICROS // np.clip(np.abs(quantity), 1, MAX_QUANTITY)
    _refuse_price((price > most) | (price < -most), price, quantity, field, verdicts)
    return price, quantity


def _by_weight(
    price: I64Array, quantity: I64Array, exact: pa.DoubleArray, field: str, verdicts: Verdicts
) -> tuple[I64Array, I64Array]:
    """Return prices and quantities.

    Goods that are sold by weight get price × |weight| and quantity 1. If goods sold by weight are returned, the
    quantity is -1.
    """
    weights = exact.fill_null(1.0).to_numpy()
    _check_range(weights, f"{field}.quantity_exact", verdicts)
    by_weight: BoolArray = np.asarray(exact.is_valid()) & (np.abs(weights) <= MAX_QUANTITY)
    price, quantity = price.copy(), quantity.copy()
    quantity[by_weight] = np.sign(weights[by_weight]).astype(np.int64)
    beyond = np.zeros(len(price), np.bool_)
    for at in np.flatnonzero(by_weight & (weights != 0)).tolist():
        amount = _rounded(int(price[at]), abs(float(weights[at])))
        if abs(amount) <= MAX_ABS_MICROS:
            price[at] = amount
        else:
            beyond[at] = True
    _refuse_price(beyond, price, weights, field, verdicts)
    return price, quantity


def _rounded(price: int, weight: float) -> int:
    """Return price × weight in micros, rounded half-even.

    The weight is converted to the shortest decimal that parses to the same float.
    """
    return int((Decimal(price) * Decimal(repr(weight))).to_integral_value(ROUND_HALF_EVEN))


def _check_range(values: I64Array | npt.NDArray[np.float64], field: str, verdicts: Verdicts) -> None:
    verdicts.refuse(
        ~((values >= -MAX_QUANTITY) & (values <= MAX_QUANTITY)),  # a NaN fails both comparisons and is refused
        HitReason.INVALID_FIELD,
        field,
        lambda at: f"{field} is {values[at]:,}; it must be from {-MAX_QUANTITY:,} to {MAX_QUANTITY:,}",
    )


def _refuse_price(
    beyond: BoolArray,
    price: I64Array,
    quantity: I64Array | npt.NDArray[np.float64],
    field: str,
    verdicts: Verdicts,
) -> None:
    verdicts.refuse(
        beyond,
        HitReason.INVALID_FIELD,
        f"{field}.unit_price_micros",
        lambda at: (
            f"{field}.unit_price_micros {price[at]:,} × quantity {quantity[at]:,} is beyond ±{MAX_ABS_MICROS:,} "
            "micros: send 1,000,000 micros for each unit of the currency"
        ),
    )


def _categories(levels: pa.ListArray, field: str, verdicts: Verdicts) -> Texts | None:
    """Return each item's category levels, joined by "/".

    Long levels are cut, and levels beyond the fifth are dropped.
    """
    if not len(levels.values):
        return None
    counts = np.diff(levels.offsets.to_numpy())
    item_of = np.repeat(np.arange(len(levels)), counts)
    each = text_of(levels.values, field, MAX_LEVEL_BYTES, verdicts.among(item_of))
    if each is None:
        return None
    verdicts.warn(
        counts > MAX_LEVELS,
        HitReason.TRUNCATED,
        field,
        lambda at: f"{field} has {counts[at]} levels; the limit is {MAX_LEVELS}: further levels were dropped",
    )
    lists = pa.ListArray.from_arrays(levels.offsets, each.values.take(pa.array(each.codes)))
    joined = pl.Series("category", lists).list.head(MAX_LEVELS).list.join("/")
    return Texts.of(joined.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(pa.string()))
