"""Limit the cost of a question in a store that adds up rows itself.

The message of a refusal names the numbers and the remedy.
"""

from __future__ import annotations

from typing import Final

from hitmesh.model.errors import RefusedError
from hitmesh.model.reasons import ErrorReason

# The maximum number of values, rows × (columns + comparisons), that a question may read. A core needs a few nanoseconds
# per value, so a question at this limit takes a second or two.
MAX_VALUES: Final = 500_000_000
# The maximum number of rows in an answer, before the rows are sorted and the question's limit is applied. An answer of
# this size takes about 300 MB if each row has a page and ten sums.
MAX_GROUPS: Final = 1_000_000


def refuse_values(rows: int, columns: int, comparisons: int, max_values: int = MAX_VALUES) -> None:
    """Refuse a question that would read more than `max_values` values; must be called before the rows are read.

    Raises:
        RefusedError: QUESTION_TOO_DEAR.
    """
    values = rows * (columns + comparisons)
    if values > max_values:
        raise RefusedError(
            f"the question reads {rows:,} rows × ({columns} columns + {comparisons} comparisons) = {values:,} values; "
            f"the limit is {max_values:,}: ask for a shorter range, fewer metrics or a smaller filter",
            field="time_range",
            reason=ErrorReason.QUESTION_TOO_DEAR,
            rows=rows,
            columns=columns,
            comparisons=comparisons,
            cells=values,
            limit=max_values,
        )


def refuse_groups(groups: int, max_groups: int = MAX_GROUPS) -> None:
    """Refuse an answer with more than `max_groups` rows.

    Raises:
        RefusedError: TOO_MANY_ROWS.
    """
    if groups > max_groups:
        raise RefusedError(
            f"the answer has {groups:,} rows (buckets × values of the dimensions) before the limit is applied; "
            f"at most {max_groups:,} can be sorted: use a filter, a coarser grain or a shorter range",
            field="dimensions",
            reason=ErrorReason.TOO_MANY_ROWS,
            rows=groups,
            limit=max_groups,
        )
