"""Test filters as text: precedence, escapes, the positions of errors, and the conversion back to text."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hitmesh.model.errors import RefusedError
from hitmesh.model.filters import And, Comparison, Filter, Not, Operator, Or
from reporter.question.filter_text import format_filter, parse


def eq(dimension: str, value: str) -> Comparison:
    return Comparison(dimension, Operator.EQ, (value,))


def test_or_binds_tighter_than_and() -> None:
    assert parse("a==1,b==2;c==3") == And((Or((eq("a", "1"), eq("b", "2"))), eq("c", "3")))


def test_every_operator_is_read() -> None:
    assert parse("a==1") == eq("a", "1")
    assert parse("a!=1") == Comparison("a", Operator.NE, ("1",))
    assert parse("a=~^/x") == Comparison("a", Operator.RE2, ("^/x",))
    assert parse("a in(x,y)") == Comparison("a", Operator.IN, ("x", "y"))


@pytest.mark.parametrize("text", ["a in(x,y)", "a in (x, y)", "a=in(x,y)", " a  in( x ,y ) ", "ain(x,y)"])
def test_in_is_read_in_every_spelling(text: str) -> None:
    assert parse(text) == Comparison("a", Operator.IN, ("x", "y"))


def test_blanks_around_operators_and_values_mean_nothing() -> None:
    assert parse(" a == 1 , b != x y ; c =~ z ") == parse("a==1,b!=x y;c=~z")


def test_blank_text_is_no_filter() -> None:
    assert parse("") is None
    assert parse("  ") is None


def test_values_that_are_not_set_need_no_backslash() -> None:
    assert parse("source==(direct);os==(not set)") == And((eq("source", "(direct)"), eq("os", "(not set)")))
    assert parse("source in((direct),google)") == Comparison("source", Operator.IN, ("(direct)", "google"))


def test_a_backslash_takes_the_next_character_as_it_is() -> None:
    assert parse(r"a==x\,y\;z\\") == eq("a", "x,y;z\\")
    assert parse(r"a==\ x\ ") == eq("a", " x ")
    assert parse(r"a in(x\),y)") == Comparison("a", Operator.IN, ("x)", "y"))


def test_a_regexp_keeps_its_own_backslashes() -> None:
    assert parse(r"a=~^/\d{1\,3}\.(html|php)$") == Comparison("a", Operator.RE2, (r"^/\d{1,3}\.(html|php)$",))
    assert parse(r"a=~\\\;b") == Comparison("a", Operator.RE2, (r"\\;b",))


def test_groups_and_negation_nest() -> None:
    assert parse("(a==1;b==2),c==3") == Or((And((eq("a", "1"), eq("b", "2"))), eq("c", "3")))
    assert parse("!(a==1,b==2);c==3") == And((Not(Or((eq("a", "1"), eq("b", "2")))), eq("c", "3")))
    assert parse("(a=~(x|y))") == Comparison("a", Operator.RE2, ("(x|y)",))


@pytest.mark.parametrize(
    ("text", "position", "cure"),
    [
        ("channel", 1, "comparison such as"),
        ("a==1;", 6, "comparison such as"),
        ("a==1,,b==2", 6, "comparison such as"),
        ("a==x,y", 6, "write a backslash"),
        ("a==", 4, "(not set)"),
        ("a==x\\", 5, "write \\\\"),
        ("(a==1", 1, "add )"),
        ("a==1;b in(x,y", 10, "add )"),
        ("a in(x))", 8, "';', ',' or"),
        ("a in(x) y", 9, "';', ',' or"),
        ("a=b", 1, "comparison such as"),
        ("(" * 9 + "a==1" + ")" * 9, 10, "flatter"),
    ],
)
def test_an_error_names_position_and_remedy(text: str, position: int, cure: str) -> None:
    with pytest.raises(RefusedError) as caught:
        parse(text)
    assert caught.value.reason == "INVALID_FILTER"
    assert caught.value.field == "filter"
    assert caught.value.message.startswith(f"filter, position {position}: ")
    assert cure in caught.value.message


def test_a_long_text_is_refused_with_the_limit() -> None:
    with pytest.raises(RefusedError, match=r"20,001 characters; the limit is 20,000"):
        parse("a==" + "x" * 19_998)


@pytest.mark.parametrize(
    "text",
    ["a==1,b==2;c==3", "a in(x,y);b!=(direct)", "!(a=~^/x|y$),b==1", "(a==1;b==2),c==3", r"a==x\;y\\", r"a=~\d{1\,2}"],
)
def test_format_gives_the_text_again(text: str) -> None:
    assert format_filter(parse(text)) == text


_VALUES = st.text(st.sampled_from("ab ,;()\\!=~'\"\n\u200fé"), min_size=1, max_size=12)
_REGEXPS = st.lists(
    st.sampled_from(["a", ",", ";", r"\.", r"\(", r"\\", "(b|c)", "[xy]", r"\d{1,3}"]), min_size=1, max_size=6
).map("".join)
_COMPARISONS = st.one_of(
    st.builds(Comparison, st.sampled_from(["os", "channel", "min"]), st.just(Operator.EQ), st.tuples(_VALUES)),
    st.builds(Comparison, st.just("browser"), st.just(Operator.NE), st.tuples(_VALUES)),
    st.builds(Comparison, st.just("page_path"), st.just(Operator.RE2), st.tuples(_REGEXPS)),
    st.builds(
        Comparison, st.just("source"), st.just(Operator.IN), st.lists(_VALUES, min_size=1, max_size=3).map(tuple)
    ),
)


def _lists(children: st.SearchStrategy[Filter]) -> st.SearchStrategy[Filter]:
    parts = st.lists(children, min_size=2, max_size=3).map(tuple)
    return st.one_of(st.builds(And, parts), st.builds(Or, parts), st.builds(Not, children))


@given(st.recursive(_COMPARISONS, _lists, max_leaves=6))
def test_parse_reads_what_format_writes(tree: Filter) -> None:
    assert parse(format_filter(tree)) == tree


LONG = 2_000_000


@pytest.mark.parametrize(
    "text",
    [
        " " * LONG + "os==x",
        "os" + " " * LONG,
        "os==x," + " " * LONG,
        "!" + " " * LONG,
        "o" * LONG,
        "os==" + "(" * LONG,
        "os==x" + " " * LONG,
        "os=" + " " * LONG + "in",
        "os==" + "\\(" * (LONG // 2),
    ],
)
def test_text_is_read_in_linear_time(text: str) -> None:
    """If parsing took quadratic time, each text would exceed the test's time-out."""
    with contextlib.suppress(RefusedError):
        parse(text, max_text=LONG + 10)
