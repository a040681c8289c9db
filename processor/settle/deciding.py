"""Decide which hits of a site are erased, and which hits are excluded, while the hits are read (settlement).

Both decisions depend on the hit alone, so any part of a window's hits is decided as in the whole window.
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
    """Recognises the hits of erased visitors (processor.erase.visitors:ErasedVisitors)."""

    def __bool__(self) -> bool: ...

    def hits(self, rows: pl.DataFrame) -> BoolArray:
        """Return whether each row is a hit of an erased visitor (n,)."""


class Decided(NamedTuple):
    """Some hits of a window, decided.

    Attributes:
        rows: `WINDOW_COLUMNS` of the hits that are not erased.
        erased: `ERASED_COLUMNS` of the erased hits.
        excluded_before: whether each hit in `rows` is excluded under the rules before; None: as in `rows`.
        not_applicable: how many hits in `rows` lack the network that the rules of `Deciding.day` compare.
    """

    rows: pl.DataFrame
    erased: pl.DataFrame
    excluded_before: pl.Series | None
    not_applicable: int


@dataclass(frozen=True, slots=True)
class Deciding:
    """Which hits of a window are erased, and which hits are excluded.

    Attributes:
        rules: the exclusion rules of the site's days.
        before: the exclusion rules for `Window.excluded_before`; None: the same rules.
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
        """Divide hits into erased and other hits, and decide which of the others are excluded.

        Args:
            rows: the hits: `WINDOW_COLUMNS` except `excluded`, `site`, and `columns`.
        """
        rows, gone = _without_erased(rows, self.erased)
        return Decided(
            with_excluded(self.rules.decided(rows)).select(*WINDOW_COLUMNS),
            gone.select(ERASED_COLUMNS),
            with_excluded(self.before.decided(rows))["excluded"] if self.before else None,
            self.rules.not_applicable(rows, self.day),
        )


AS_STORED: Final = Deciding()
"""Hits are excluded as the collector decided, and only blank rows are erased."""


def _without_erased(rows: pl.DataFrame, erased: Erased | None) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the rows that are not erased, and the erased rows."""
    gone = rows.select(is_erased()).to_series().to_numpy()
    if erased:
        gone = gone | erased.hits(rows)
    return (rows, rows.clear()) if not gone.any() else (rows.filter(pl.Series(~gone)), rows.filter(pl.Series(gone)))
