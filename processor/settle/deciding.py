"""Decides which of a site's hits are erased and which are excluded, while the hits are read.

Whether a hit is erased or excluded depends only on the hit itself. The decisions can therefore be made for one part of
the window after the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

import polars as pl

from hitmesh.model.arrays import BoolArray
from hitmesh.model.rows.erased_rows import is_erased
from processor.rules.day_rules import COLLECTED, DayRules, with_excluded
from processor.settle.window import READ_COLUMNS, WINDOW_COLUMNS

ERASED_COLUMNS: Final = ("event_time", "hit_hash", "record")


class Erased(Protocol):
    """Recognises erased visitors' hits (processor.erase.visitors:ErasedVisitors)."""

    def __bool__(self) -> bool: ...

    def hits(self, rows: pl.DataFrame) -> BoolArray:
        """Return a boolean array (n,): True for each row that is an erased visitor's hit."""


class Decided(NamedTuple):
    """Some hits in a window, with the decisions about these hits.

    Attributes:
        rows: the hits that are not erased, with `WINDOW_COLUMNS`.
        erased: the erased hits, with `ERASED_COLUMNS`.
        excluded_before: for each hit in `rows`, whether the rules `Deciding.before` exclude it; None if the column
            `excluded` of `rows` has the same values.
        not_applicable: how many hits in `rows` have no stored network; 0 if no rule of `Deciding.day` compares
            networks.
    """

    rows: pl.DataFrame
    erased: pl.DataFrame
    excluded_before: pl.Series | None
    not_applicable: int


@dataclass(frozen=True, slots=True)
class Deciding:
    """Decides which hits in a window are erased and which are excluded.

    Attributes:
        rules: the exclusion rules for the site's days.
        before: the exclusion rules for `Window.excluded_before`; None means the same as `rules`.
        erased: recognises erased hits that are not blank yet.
        day: the day for `Window.not_applicable`.
    """

    rules: DayRules = COLLECTED
    before: DayRules | None = None
    erased: Erased | None = None
    day: int = -1

    @property
    def columns(self) -> tuple[str, ...]:
        """The hit columns that the rules compare, in addition to READ_COLUMNS."""
        looked_at = (*self.rules.columns, *(self.before.columns if self.before else ()))
        return tuple(name for name in dict.fromkeys(looked_at) if name not in READ_COLUMNS)

    def decide(self, rows: pl.DataFrame) -> Decided:
        """Separate erased hits from other hits, and decide which hits that are not erased are excluded.

        Args:
            rows: the hits, with `site`, the columns `columns`, and all `WINDOW_COLUMNS` except `excluded`.
        """
        rows, gone = _without_erased(rows, self.erased)
        return Decided(
            with_excluded(self.rules.decided(rows))[list(WINDOW_COLUMNS)],
            gone[list(ERASED_COLUMNS)],
            with_excluded(self.before.decided(rows))["excluded"] if self.before else None,
            self.rules.not_applicable(rows, self.day),
        )


AS_STORED: Final = Deciding()
"""Treats only blank rows as erased, and keeps the collector's decisions about exclusion."""


def _without_erased(rows: pl.DataFrame, erased: Erased | None) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return two frames: the rows that are not erased, and the erased rows."""
    gone = rows.select(is_erased()).to_series().to_numpy()
    if erased:
        gone = gone | erased.hits(rows)
    return (rows, rows.clear()) if not gone.any() else (rows.filter(pl.Series(~gone)), rows.filter(pl.Series(gone)))
