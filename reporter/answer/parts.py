"""Combine the rows of several queries in a table of parts (journey step 8).

Rows from different queries are joined on bucket and dimension values. Money in currencies other than the site's is left
out, and the answer names these currencies (rule M3).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import polars as pl

from hitmesh.model.rows.rollup_rows import OTHER, TEXT_DIMENSIONS, sum_type
from hitmesh.model.rows.stream_columns import MOVED_VISITORS
from reporter.question.catalogue import PARTS, VISITORS
from reporter.question.plan import CURRENCY, Leg
from reporter.question.question import Question

BUCKET: Final = "bucket"


@dataclass(frozen=True)
class Parts:
    """The parts of a question's metrics, in a table.

    The table has a row for each bucket and each tuple of dimension values that occurs in the bucket.

    Attributes:
        table: has the column `bucket` (Int32), a column per dimension, and a column per part. The dimension columns d0,
            d1, … contain strings, and null for a missing value.
        missing: the currencies that are left out, for each part that counts by currency.
        has_moved_visitors: whether a visit's dimension values may have changed while a sketch counts the visitor under
            the old values (rule S8).
        folded: the parts that have rows under OTHER, because a site had too many distinct texts (rule S10).
        of_waiting_visits: the metrics that may change, because some hits have not joined their visits yet (rule S9).
    """

    table: pl.DataFrame
    missing: dict[str, tuple[str, ...]]
    has_moved_visitors: bool = False
    folded: frozenset[str] = frozenset()
    of_waiting_visits: frozenset[str] = frozenset()

    @property
    def missing_currencies(self) -> tuple[str, ...]:
        """The currencies that any part leaves out, sorted."""
        return tuple(sorted({code for codes in self.missing.values() for code in codes}))


def dimension_columns(question: Question) -> list[str]:
    """Return the table's column names for the question's dimensions, in question order."""
    return [f"d{index}" for index in range(len(question.dimensions))]


def combine(question: Question, answered: Sequence[tuple[Leg, pl.DataFrame]], currency: str) -> Parts:
    """Return the parts of a question from the store's rows for each of the question's queries (legs).

    Args:
        question: the question.
        answered: each leg, with the rows that the store returned for the leg, in any order.
        currency: the site's currency.
    """
    keys = [BUCKET, *dimension_columns(question)]
    missing: dict[str, tuple[str, ...]] = {}
    tables = [_empty(keys, question)]
    moved = False
    folded: set[str] = set()
    for leg, rows in answered:
        moved |= MOVED_VISITORS in rows.columns and bool((rows[MOVED_VISITORS] != 0).any())
        if any((rows[name] == OTHER).any() for name in question.dimensions if name in TEXT_DIMENSIONS):
            folded |= {*leg.parts}
        names = dict(zip(question.dimensions, dimension_columns(question), strict=True))
        table = rows.rename(names | {PARTS[part].column: part for part in leg.parts})
        if leg.by_currency:
            missing |= _currencies_left_out(table, leg.parts, currency)
            table = table.filter(pl.col(CURRENCY) == currency)
        tables.append(table.select(*_typed(keys), *_typed_parts(leg.parts)))
    together = pl.concat(tables, how="diagonal")
    brought = [name for name in together.columns if name not in keys]
    merged = together.group_by(keys).agg(
        # All sketches come from the same query (leg), so a key has at most a single sketch.
        pl.col(name).drop_nulls().first() if name == VISITORS else pl.col(name).sum()
        for name in brought
    )
    return Parts(merged, missing, moved, frozenset(folded))


def with_folded(parts: Parts, counted: Iterable[tuple[Leg, pl.DataFrame]]) -> Parts:
    """Return the parts; the field `folded` of the result also contains each part that has rows under OTHER.

    Args:
        parts: the parts.
        counted: pairs of a leg (a query of the question) and the table that the leg's query
            reporter.question.plan:folded_leg returned.
    """
    found = {name for leg, rows in counted if _has_nonzero(rows) for name in leg.parts}
    return replace(parts, folded=parts.folded | found)


def _has_nonzero(rows: pl.DataFrame) -> bool:
    return bool(rows.select(pl.any_horizontal((pl.exclude(BUCKET) != 0).any())).item())


def _currencies_left_out(table: pl.DataFrame, parts: Sequence[str], currency: str) -> dict[str, tuple[str, ...]]:
    others = table.filter(pl.col(CURRENCY) != currency)
    found = {part: others.filter(pl.col(part) != 0)[CURRENCY].unique().sort().to_list() for part in parts}
    return {part: tuple(codes) for part, codes in found.items() if codes}


def _empty(keys: Sequence[str], question: Question) -> pl.DataFrame:
    """Return an empty table with the type of every column; used if no query (leg) returned rows."""
    names = tuple(dict.fromkeys(part for metric in question.metrics for part in metric.parts))
    return pl.DataFrame(schema=dict.fromkeys([*keys, *names], pl.Null())).select(*_typed(keys), *_typed_parts(names))


def _typed(keys: Sequence[str]) -> list[pl.Expr]:
    return [pl.col(key).cast(pl.Int32 if key == BUCKET else pl.String) for key in keys]


def _typed_parts(names: Sequence[str]) -> list[pl.Expr]:
    """Return the parts with their types.

    The type of an amount's sum is wider than int64, as in the rows that a store returns.
    """
    return [
        pl.col(name).cast(pl.Binary() if name == VISITORS else sum_type(PARTS[name].column))
        for name in names
        if name in PARTS
    ]
