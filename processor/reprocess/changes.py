"""Compares two generations by their measures' sums. All functions are pure."""

from __future__ import annotations

from typing import Final

import numpy as np
import polars as pl

from hitmesh.model.amounts import total
from hitmesh.model.reprocessings import Change
from hitmesh.model.rows.rollup_rows import TRAFFIC_MEASURES, TRAFFIC_SKETCHES, VISITS_MEASURES
from hitmesh.model.sketches.unions import merge_by_group

MEASURES: Final = (*TRAFFIC_MEASURES, *VISITS_MEASURES, *TRAFFIC_SKETCHES)


def changes_of(old: pl.DataFrame, new: pl.DataFrame) -> dict[str, Change]:
    """Return each measure's sums in the old and the new generation, over the rows that are not excluded.

    Args:
        old: the old generation's series (SERIES_COLUMNS).
        new: the new generation's series.

    Returns:
        Each measure's sums. The sums are exact, except that `visitors` is the rounded distinct count. Measures
        that are 0 in both generations are left out.
    """
    of_old, of_new = _sums(old), _sums(new)
    both = {name: Change(of_old[name], of_new[name]) for name in MEASURES}
    return {name: change for name, change in both.items() if change.old or change.new}


def _sums(series: pl.DataFrame) -> dict[str, int]:
    counted = series.filter(~pl.col("excluded"))
    sums = {name: total(counted[name]) for name in (*TRAFFIC_MEASURES, *VISITS_MEASURES)}
    return sums | {name: _distinct(counted[name]) for name in TRAFFIC_SKETCHES}


def _distinct(sketches: pl.Series) -> int:
    """Return the distinct count in the sketches' union."""
    united = merge_by_group(sketches, np.zeros(len(sketches), np.int64), 1)
    return round(float(united.estimates[0]))
