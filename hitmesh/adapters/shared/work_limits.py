"""Limits on a question's cost in a store that adds up rows itself; refusals name the numbers and the remedy."""

from __future__ import annotations

from typing import Final

from hitmesh.model.errors import RefusedError
from hitmesh.model.reasons import ErrorReason

# Values (rows × (columns + comparisons)) that a question may read: one core needs a second or two, at a few nanoseconds
# per value.
MAX_VALUES: Final = 500_000_000
# Rows in an answer before sorting and before the question's limit applies: about 300 MB if each row has a page and ten
# sums.
MAX_GROUPS: Final = 1_000_000


def refuse_values(rows: int, columns: int, comparisons: int, max_values: int = MAX_VALUES) -> None:
    """Refuse a question that would read more than `max_values` values, before any read.

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
