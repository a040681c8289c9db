"""Test a filter's patterns.

Matching all patterns together gives the same result as matching each pattern alone. The work per filter is bounded.
"""

from __future__ import annotations

import pytest
import re2
from hypothesis import given
from hypothesis import strategies as st

from hitmesh.model.errors import Abandoned, RefusedError
from hitmesh.model.patterns import matching_values, program_of, refuse_program

PATTERNS = [
    "",
    "a",
    "^a",
    "a$",
    r"\bb",
    r"\w+",
    "(?i)B",
    "[^a]",
    "(a|b){2}",
    r"\d{3,9}z",
    "ß",
    r"^\s",
    r"\x00",
    "(?s).b",
]


@given(st.lists(st.sampled_from(PATTERNS)), st.lists(st.text("abB1ß \n\0z", max_size=8)))
def test_patterns_match_together_what_each_matches_alone(patterns: list[str], values: list[str]) -> None:
    alone = {pattern: [value for value in values if re2.compile(pattern).search(value)] for pattern in patterns}
    assert matching_values(patterns, values, block=3) == alone


def test_many_large_patterns_match_what_each_matches_alone() -> None:
    patterns = ["|".join(f"{other}[0-9a-f]{{3,9}}z{number}" for other in range(9)) for number in range(12)]
    assert sum(map(program_of, patterns)) > 2_000  # one automaton cannot hold all these patterns
    values = [f"{number % 9}abcdz{number % 13}" for number in range(100)]
    alone = {pattern: [value for value in values if re2.compile(pattern).search(value)] for pattern in patterns}
    assert matching_values(patterns, values) == alone


def test_patterns_that_are_too_large_together_are_refused() -> None:
    with pytest.raises(RefusedError, match=r"instructions; the limit is 40: use in\(…\)") as caught:
        refuse_program([f"^/{letter}{{9}}$" for letter in "abcd"], max_program=40)
    assert (caught.value.field, caught.value.reason) == ("filter", "FILTER_TOO_DEAR")


def test_patterns_and_values_that_are_too_many_together_are_refused_with_the_arithmetic() -> None:
    size = program_of("a+b")
    values = ["aaaaa"] * 10
    assert matching_values(["a+b"], values, max_steps=size * 50)
    with pytest.raises(
        RefusedError, match=rf"{size} instructions on 10 values of 50 characters need {size * 50} steps"
    ):
        matching_values(["a+b"], values, max_steps=size * 50 - 1)


def test_matching_ends_when_its_caller_leaves() -> None:
    calls: list[int] = []

    def leave_at_the_third() -> None:
        calls.append(len(calls))
        if len(calls) == 3:
            raise Abandoned("the caller left")

    with pytest.raises(Abandoned):
        matching_values(["x"], ["x"] * 100, leave_at_the_third, block=10)
    assert len(calls) == 3
