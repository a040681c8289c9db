"""Selects a window's hits that are compared together: all hits, or a visitor range's hits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np
import polars as pl

from hitmesh.model.arrays import I64Array, U64Array
from processor.rules.carry import Carry
from processor.settle.inputs import DayInputs
from processor.settle.range_sums import carried_by
from processor.settle.site_window import EXCLUDED_BEFORE, Window
from processor.settle.visitor_ranges import VisitorRange, visitor_ranges


class Together(Protocol):
    """All hits from a visitor group."""

    @property
    def hits(self) -> int:
        """The hit count."""

    def decided(self) -> tuple[I64Array, pl.Series, pl.Series]:
        """Return each hit's record, and whether the new side and the old side exclude the hit."""

    def rows(self) -> tuple[pl.DataFrame, pl.Series]:
        """Return the hits with the window's columns, and whether the old side excludes each hit.

        A visitor's hits are in log order.
        """


class _InMemory:
    def __init__(self, window: Window) -> None:
        self._window = window

    @property
    def hits(self) -> int:
        return self._window.rows.height

    def decided(self) -> tuple[I64Array, pl.Series, pl.Series]:
        rows, excluded_before = self.rows()
        return rows["record"].to_numpy(), rows["excluded"], excluded_before

    def rows(self) -> tuple[pl.DataFrame, pl.Series]:
        rows, excluded_before = self._window.rows, self._window.excluded_before
        return rows, rows["excluded"] if excluded_before is None else excluded_before


class _OnDisk:
    def __init__(self, visitors: VisitorRange) -> None:
        self._visitors = visitors

    @property
    def hits(self) -> int:
        return self._visitors.hits

    def decided(self) -> tuple[I64Array, pl.Series, pl.Series]:
        hits = pl.concat(self._visitors.read(("record", "excluded", EXCLUDED_BEFORE))).rechunk()
        return hits["record"].to_numpy(), hits["excluded"], hits[EXCLUDED_BEFORE]

    def rows(self) -> tuple[pl.DataFrame, pl.Series]:
        hits = pl.concat(self._visitors.read(None)).rechunk()
        return hits.drop(EXCLUDED_BEFORE), hits[EXCLUDED_BEFORE]


def compared_together(inputs: DayInputs) -> Sequence[Together]:
    """Return the hits in the inputs' window, in portions that callers should read one at a time."""
    window = inputs.window
    if isinstance(window, Window):
        return [_InMemory(window)]
    return [_OnDisk(visitors) for visitors in visitor_ranges(window, inputs.memory)]


def of_visitors(inputs: DayInputs, visitors: U64Array) -> DayInputs:
    """Return the inputs, with a carry that contains only the given visitors' visits (visitor_lo)."""
    if inputs.carry is None:
        return inputs
    return replace(inputs, carry=Carry(carried_by(inputs.carry, np.unique(visitors)), inputs.carry.followed))
