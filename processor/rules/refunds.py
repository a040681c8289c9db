"""Decides which amount a refund subtracts (journey step 5, settlement, rule D3).

A repeated refund subtracts nothing. A refund without an amount subtracts 0 in the stream. In settlement, a refund
without an amount subtracts the order's total if the order is found. There are few refunds, so this module is plain
Python.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from hitmesh.model.arrays import BoolArray, I64Array
from hitmesh.model.claims import ClaimKind, OrderClaim
from hitmesh.model.hit_types import HitType
from hitmesh.ports import RawStore
from processor.rules.orders import OrderVerdicts
from processor.settle.record_positions import RecordPositions
from processor.settle.window import read_rows


@dataclass(frozen=True, slots=True)
class Refunded:
    """Hits, with the refund amounts that count in settlement.

    Attributes:
        hits: the hits. A refund that takes its amount from its order also takes the order's currency.
        completed: (n,) the amounts in micros that refunds took from their orders; 0 for other hits.
    """

    hits: pl.DataFrame
    completed: I64Array


def claims_refund() -> pl.Expr:
    """Return an expression that states whether a hit claims a refund."""
    return (pl.col("hit_type") == HitType.REFUND) & pl.col("refund_id").is_not_null()


def takes_total() -> pl.Expr:
    """Return an expression that is true for a refund without an amount. A missing amount is 0 or null."""
    has_none = pl.col("refund_amount").fill_null(0) == 0
    return (pl.col("hit_type") == HitType.REFUND) & has_none & pl.col("order_id").is_not_null()


def with_wins(rows: pl.DataFrame, wins: BoolArray) -> pl.DataFrame:
    """Return the stream's hits with the column `wins_order`. The amounts of repeated refunds are set to 0.

    Args:
        rows: hits with `refund_id`.
        wins: whether each row's claim on an order or refund wins (n,).
    """
    won = pl.Series("won", wins)
    return rows.with_columns(
        ((pl.col("hit_type") == HitType.ORDER) & won).alias("wins_order"),
        pl.when(claims_refund() & ~won).then(0).otherwise(pl.col("refund_amount")).alias("refund_amount"),
    )


def settled_refunds(hits: pl.DataFrame, positions: RecordPositions, orders: OrderVerdicts) -> Refunded:
    """Return the hits, which must not contain copies, with the refund amounts that count in settlement."""
    completed = np.zeros(hits.height, np.int64)
    rows = np.flatnonzero(hits["hit_type"].to_numpy() == HitType.REFUND)
    if not len(rows):
        return Refunded(hits, completed)
    names = ("record", "row", "refund_id", "order_id", "excluded", "refund_amount", "currency")
    amounts, currencies = [], []
    for number, (record, row, refund_id, order_id, excluded, amount, currency) in zip(
        rows.tolist(), hits.select(names)[rows].iter_rows(), strict=True
    ):
        at = (positions[record], row)
        is_claimed = refund_id is not None and (ClaimKind.REFUND, refund_id, excluded) in orders.winners
        order = orders.winners.get((ClaimKind.ORDER, order_id or "", excluded))
        if is_claimed and not orders.wins(ClaimKind.REFUND, refund_id, at, excluded=excluded):
            amount = 0
        elif not amount and order is not None and order.total is not None:
            amount, currency = order.total, order.currency or currency
            completed[number] = amount
        amounts.append(amount)
        currencies.append(currency)
    return Refunded(
        hits.with_columns(
            hits["refund_amount"].scatter(rows, pl.Series(amounts, dtype=pl.Int64)),
            hits["currency"].scatter(rows, pl.Series(currencies, dtype=pl.String)),
        ),
        completed,
    )


def with_totals(claims: Iterable[OrderClaim], order_ids: Collection[str], raw: RawStore) -> list[OrderClaim]:
    """Return the claims, with a total and a currency in every claim on the given orders.

    If an older version of hitmesh stored a claim, the claim has no total. The claim's total and currency are then read
    from the ORDER hit.

    Raises:
        StoreCorrupt: a record does not decode.
    """
    return [
        _with_total(claim, raw)
        if claim.kind is ClaimKind.ORDER and claim.total is None and claim.order_id in order_ids
        else claim
        for claim in claims
    ]


def _with_total(claim: OrderClaim, raw: RawStore) -> OrderClaim:
    record = raw.get(claim.position)
    if record is None:
        return claim
    total, currency = read_rows(record.value, ("total", "currency")).row(claim.row)
    return replace(claim, total=total or 0, currency=currency or "")
