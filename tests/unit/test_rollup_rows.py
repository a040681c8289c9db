"""Test reserved words: a value from a client never equals a report's word for a missing value (rules §9)."""

from __future__ import annotations

import polars as pl
import pytest

from hitmesh.model.rows.rollup_rows import with_escaped_names


@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        (None, None),
        ("acme", "acme"),
        ("(not set)", r"\(not set)"),
        ("(direct)", r"\(direct)"),
        ("(other)", r"\(other)"),
        (r"\(not set)", r"\\(not set)"),
        ("(not set) ", "(not set) "),
        ("(nothing)", "(nothing)"),
        ("ends\\", "ends\\"),
    ],
)
def test_a_reserved_word_gets_a_backslash_and_nothing_else_does(sent: str | None, stored: str | None) -> None:
    texts = {"brand": pl.String(), "source": pl.String()}
    rows = pl.DataFrame({"brand": [sent, "other"], "source": [None, sent], "hits": [1, 2]}, schema_overrides=texts)
    escaped = with_escaped_names(rows)
    assert escaped["brand"].to_list() == [stored, "other"]
    assert escaped["source"].to_list() == [None, stored]


def test_the_site_is_a_name_and_not_a_value() -> None:
    rows = pl.DataFrame({"site": ["(other)"], "brand": ["x"]})
    assert with_escaped_names(rows).equals(rows)


def test_escaping_is_reversible() -> None:
    words = ["(not set)", r"\(not set)", r"\\(not set)", "(other)"]
    escaped = with_escaped_names(pl.DataFrame({"brand": words}))["brand"].to_list()
    assert [word[1:] for word in escaped] == words
