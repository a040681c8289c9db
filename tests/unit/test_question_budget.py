"""A question has a budget: it ends when its caller leaves, and work beyond a limit is refused with the arithmetic."""

from __future__ import annotations

import pytest

from hitmesh.adapters.answers import answer, needed_columns
from hitmesh.errors import Abandoned, RefusedError
from hitmesh.ports import MetricQuery, SiteDay
from hitmesh.rollup_rows import RowSource
from tests.settled_rows import DAY, MIDNIGHT, SITE, frame, traffic

QUERY = MetricQuery(
    RowSource.TRAFFIC,
    {SiteDay(SITE, MIDNIGHT // DAY): 1},
    MIDNIGHT,
    MIDNIGHT + DAY,
    (MIDNIGHT,),
    dimensions=("page_path",),
    measures=("hits",),
)
ROWS = frame(RowSource.TRAFFIC, [traffic(page_path=f"/{page}", hits=1) for page in range(4)]).select(
    needed_columns(QUERY, QUERY.dimensions)
)


def leave() -> None:
    raise Abandoned("the caller left")


def test_a_question_ends_when_its_caller_leaves() -> None:
    assert len(answer(ROWS, QUERY)) == 4
    with pytest.raises(Abandoned):
        answer(ROWS, QUERY, leave)


def test_too_many_cells_are_refused_with_the_arithmetic() -> None:
    with pytest.raises(
        RefusedError, match=r"4 rows × \(4 columns \+ 0 comparisons\) = 16 cells; the limit is 15"
    ) as caught:
        answer(ROWS, QUERY, max_cells=15)
    assert caught.value.reason == "QUESTION_TOO_DEAR"


def test_too_many_groups_are_refused_with_the_cure() -> None:
    with pytest.raises(RefusedError, match=r"4 rows .* at most 3 can be put in order: use a filter") as caught:
        answer(ROWS, QUERY, max_groups=3)
    assert caught.value.reason == "TOO_MANY_ROWS"
