"""Test the limit on a question's work.

A question ends when its caller cancels. The message of a refusal shows how the work is computed.
"""

from __future__ import annotations

import pytest

from hitmesh.adapters.shared.answers import answer, needed_columns
from hitmesh.model.errors import Abandoned, RefusedError
from hitmesh.model.queries import MetricQuery
from hitmesh.model.rows.rollup_rows import RowSource
from hitmesh.model.sites import SiteDay
from reporter.answer.formats import Format, to_file
from reporter.answer.parts import combine
from reporter.answer.series import series
from reporter.question.plan import legs
from tests.support.settled_rows import DAY, MIDNIGHT, SITE, RowsStore, a_question, frame, traffic

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


class Patience:
    """A checkpoint that ends the work at its n-th call."""

    def __init__(self, looks: int) -> None:
        self.left = looks

    def __call__(self) -> None:
        self.left -= 1
        if self.left < 0:
            leave()


@pytest.mark.parametrize("form", list(Format))
def test_work_behind_the_store_ends_too(form: Format) -> None:
    store = RowsStore([traffic(page_path=f"/{page}", hits=1) for page in range(3)], [])
    question = a_question("hits,visitors,orders", dimensions="page_path")
    answered = [(leg, store.query(leg.query)) for leg in legs(question, store.generations)]
    parts = combine(question, answered, "USD")
    rows = series(question, parts)
    for work in (
        lambda checkpoint: series(question, parts, checkpoint),
        lambda checkpoint: to_file(form, rows, None, {}, "USD", checkpoint),
    ):
        for looks in range(len(question.metrics)):
            with pytest.raises(Abandoned):
                work(Patience(looks))
        work(Patience(100))


def test_too_many_values_are_refused_with_the_arithmetic() -> None:
    with pytest.raises(
        RefusedError, match=r"4 rows × \(4 columns \+ 0 comparisons\) = 16 values; the limit is 15"
    ) as caught:
        answer(ROWS, QUERY, max_values=15)
    assert caught.value.reason == "QUESTION_TOO_DEAR"


def test_too_many_groups_are_refused_with_the_remedy() -> None:
    with pytest.raises(RefusedError, match=r"4 rows .* at most 3 can be sorted: use a filter") as caught:
        answer(ROWS, QUERY, max_groups=3)
    assert caught.value.reason == "TOO_MANY_ROWS"
