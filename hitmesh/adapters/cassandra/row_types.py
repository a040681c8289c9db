"""Rows of answers as named tuples. Decides their shape only.

The driver's own factory makes a new type for each answer, which costs more than most answers; here a type is made once
per list of columns.
"""

from __future__ import annotations

import re
from collections import namedtuple
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any


def rows_of(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> list[Any]:
    """Returns the rows of an answer; `[applied]` becomes `applied`."""
    return list(map(_row_type(tuple(columns))._make, rows))


@lru_cache(maxsize=1_024)
def _row_type(columns: tuple[str, ...]) -> Any:
    return namedtuple("Row", [re.sub(r"\W", "", column) for column in columns], rename=True)
