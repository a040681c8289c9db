"""Rows of several queries become one table of parts (step 8 of the journey).

Decides how rows of different queries meet: on bucket and dimension values. Money in another currency than the site's
is left out here and named (rule M3). Knows nothing of gaps, order and ratios.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import polars as pl

from hitmesh.model.rows.rollup_rows import OTHER, TEXT_DIMENSIONS, sum_type
from hitmesh.model.rows.stream_columns import MOVED_VISITORS
from reporter.question.asked import Question
from reporter.question.catalogue import PARTS, VISITORS
from reporter.question.plan import CURRENCY, Leg

BUCKET: Final = "bucket"


@dataclass(frozen=True)
class Parts:
    """A table of `bucket` (Int32), d0… (String, null = not set) and one column per part, a row per key that has rows.

    `missing` holds, per part by currency, the currencies that are left out of it. `has_moved_visitors` says that some
    visitor left a sketch that it could not be taken from (rule S8). `of_waiting_visits` are the metrics that rest on
    visits which hits of these days are not in yet (rule S9). `folded` are the parts of which something stands under
    OTHER because its site had too many texts (rule S10).
    """

    table: pl.DataFrame
    missing: dict[str, tuple[str, ...]]
    has_moved_visitors: bool = False
    folded: frozenset[str] = frozenset()
    of_waiting_visits: frozenset[str] = frozenset()

    @property
    def missing_currencies(self) -> tuple[str, ...]:
        """The currencies left out of any part, sorted."""
        return tuple(sorted({code for codes in self.missing.values() for code in codes}))


def dimension_columns(question: Question) -> list[str]:
    """Returns the table's names of the question's dimensions, in their order."""
    return [f"d{index}" for index in range(len(question.dimensions))]


def combine(question: Question, answered: Sequence[tuple[Leg, pl.DataFrame]], currency: str) -> Parts:
    """Returns the parts of a question from what the store answered to each leg.

    Args:
        question: what was asked.
        answered: each leg with the store's rows, in any order.
        currency: the site's.
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
        # One leg has the sketches, so a key has at most one.
        pl.col(name).drop_nulls().first() if name == VISITORS else pl.col(name).sum()
        for name in brought
    )
    return Parts(merged, missing, moved, frozenset(folded))


def with_folded(parts: Parts, counted: Iterable[tuple[Leg, pl.DataFrame]]) -> Parts:
    """Returns parts with what is folded of legs: each leg, and what the store answered to its `folded_leg`."""
    found = {name for leg, rows in counted if _says_something(rows) for name in leg.parts}
    return replace(parts, folded=parts.folded | found)


def _says_something(rows: pl.DataFrame) -> bool:
    return bool(rows.select(pl.any_horizontal((pl.exclude(BUCKET) != 0).any())).item())


def _currencies_left_out(table: pl.DataFrame, parts: Sequence[str], currency: str) -> dict[str, tuple[str, ...]]:
    others = table.filter(pl.col(CURRENCY) != currency)
    found = {part: others.filter(pl.col(part) != 0)[CURRENCY].unique().sort().to_list() for part in parts}
    return {part: tuple(codes) for part, codes in found.items() if codes}


def _empty(keys: Sequence[str], question: Question) -> pl.DataFrame:
    """Gives every column its type, also when no leg has rows."""
    names = tuple(dict.fromkeys(part for metric in question.metrics for part in metric.parts))
    return pl.DataFrame(schema=dict.fromkeys([*keys, *names], pl.Null())).select(*_typed(keys), *_typed_parts(names))


def _typed(keys: Sequence[str]) -> list[pl.Expr]:
    return [pl.col(key).cast(pl.Int32 if key == BUCKET else pl.String) for key in keys]


def _typed_parts(names: Sequence[str]) -> list[pl.Expr]:
    """Sums of amounts are wider than an int64, here as in what stores answer."""
    return [
        pl.col(name).cast(pl.Binary() if name == VISITORS else sum_type(PARTS[name].column))
        for name in names
        if name in PARTS
    ]
