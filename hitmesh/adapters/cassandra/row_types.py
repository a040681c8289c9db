"""Return query results as rows that are named tuples.

The driver's own factory makes a new type for each result, which takes longer than reading most results. This module
makes a type once per list of columns.
"""

from __future__ import annotations

import re
from collections import namedtuple
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any


def rows_of(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> list[Any]:
    """Return a result's rows as named tuples; the column `[applied]` becomes the field `applied`."""
    return list(map(_row_type(tuple(columns))._make, rows))


@lru_cache(maxsize=1_024)
def _row_type(columns: tuple[str, ...]) -> Any:
    return namedtuple("Row", [re.sub(r"\W", "", column) for column in columns], rename=True)
