"""Test that expensive questions have separate slots. A question's shape decides whether the question is expensive."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from hitmesh.model.cells import Grain
from hitmesh.model.errors import Abandoned
from hitmesh.model.filters import Comparison, Filter, Not, Operator
from reporter.answer.lanes import Lanes, is_dear
from reporter.question.catalogue import METRICS
from reporter.question.question import Question
from tests.support.settled_rows import a_question

DEAR = a_question("hits", dimensions="page_path,browser,os")
SMALL = a_question("hits", dimensions="page_path")


@pytest.mark.parametrize(
    ("tree", "dear"),
    [
        (None, False),
        (Comparison("page_path", Operator.IN, ("/a", "/b")), False),
        (Not(Comparison("page_path", Operator.RE2, ("a",))), True),
    ],
)
def test_patterns_are_dear(tree: Filter | None, dear: bool) -> None:
    assert is_dear(a_question("hits", tree=tree)) is dear


@pytest.mark.parametrize(("until", "dear"), [("2015-06-01", False), ("2015-06-02", True)])
def test_many_buckets_of_a_dimension_are_dear(until: str, dear: bool) -> None:
    hours = {"grain": Grain.HOUR, "since": "2015-05-17", "until": until}
    assert is_dear(a_question("hits", dimensions="page_path", **hours)) is dear  # type: ignore[arg-type]
    assert not is_dear(a_question("hits", **hours))  # type: ignore[arg-type]
    assert (is_dear(SMALL), is_dear(DEAR)) == (False, True)


@pytest.mark.parametrize(("until", "dear"), [("2015-06-25", False), ("2015-06-27", True)])
def test_many_cells_are_dear_without_a_dimension(until: str, dear: bool) -> None:
    question = a_question(",".join(list(METRICS)[:20]), grain=Grain.HOUR, since="2015-05-17", until=until)
    assert len(question.metrics) == 20
    assert is_dear(question) is dear


def leave() -> None:
    raise Abandoned("the caller left")


@pytest.mark.parametrize("at_once", [1, 2])
def test_a_small_question_has_its_turn_while_dear_ones_wait(at_once: int) -> None:
    lanes = Lanes(at_once)
    with lanes.turn(DEAR, leave):
        with pytest.raises(Abandoned), lanes.turn(DEAR, leave):
            raise AssertionError("two dear questions at once")
        with lanes.turn(SMALL, leave):
            pass
    with pytest.raises(ZeroDivisionError), lanes.turn(DEAR, leave):
        raise ZeroDivisionError
    with lanes.turn(DEAR, leave):
        pass


@pytest.mark.parametrize(("question", "most"), [(DEAR, 2), (SMALL, 3)])
def test_each_kind_has_half_of_the_turns(question: Question, most: int) -> None:
    lanes = Lanes(5)
    with ExitStack() as turns:
        for _ in range(most):
            turns.enter_context(lanes.turn(question, leave))
        with pytest.raises(Abandoned):
            turns.enter_context(lanes.turn(question, leave))
