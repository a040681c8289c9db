"""The sums of a stream's series by UTC day.

This module loads Polars, so it is imported only when a call compares streams.
"""

from __future__ import annotations

from typing import Final

import polars as pl

from hitmesh.model.amounts import total
from hitmesh.model.rows.rollup_rows import TRAFFIC_MEASURES, VISITS_MEASURES

_MEASURES: Final = tuple(dict.fromkeys((*TRAFFIC_MEASURES, *VISITS_MEASURES)))


def sums_by_day(series: pl.DataFrame) -> dict[int, dict[str, int]]:
    """Return the sums that are not 0, by UTC day."""
    return {
        int(str(day)): {name: value for name in _MEASURES if (value := total(rows[name])) != 0}
        for (day,), rows in series.group_by("day")
    }
