"""A report's filter as a frozen tree: the reporter validates the filter and metric stores apply the filter to rows.

This module defines only the form of a filter. Dimension values are compared as strings. A filter can also select null.
A null in `source` is compared as the text "(direct)", and any other null as the text "(not set)".
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never


class Operator(StrEnum):
    """Comparison operators."""

    EQ = "=="
    NE = "!="
    IN = "in"
    RE2 = "=~"


@dataclass(frozen=True, slots=True)
class Comparison:
    """A dimension, and the values with which the dimension is compared.

    EQ, NE and RE2 take exactly one value; IN takes one or more. An RE2 pattern may match any part of the dimension's
    value.
    """

    dimension: str
    operator: Operator
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class And:
    """A filter that is true if all its parts are true."""

    parts: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """A filter that is true if at least one part is true."""

    parts: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """A filter that is true if its part is false."""

    part: Filter


Filter = And | Or | Not | Comparison


def comparisons_in(tree: Filter | None) -> list[Comparison]:
    r"""Return every comparison in a filter, from left to right.

    Example:
        >>> shops = Comparison("hostname", Operator.RE2, (r"^shop\.",))
        >>> ads = Comparison("medium", Operator.EQ, ("cpc",))
        >>> [found.dimension for found in comparisons_in(And((shops, Not(ads))))]
        ['hostname', 'medium']
    """
    match tree:
        case None:
            return []
        case Comparison():
            return [tree]
        case Not(part):
            return comparisons_in(part)
        case And(parts) | Or(parts):
            return [comparison for part in parts for comparison in comparisons_in(part)]
        case _:
            assert_never(tree)


NOT_SET = "(not set)"
DIRECT = "(direct)"
# The texts that stand for a dimension's null in answers and filters (rules §9).
NULL_NAMES = {"source": DIRECT}


def null_name(dimension: str) -> str:
    """Return the text that stands for a null in the dimension.

    Example:
        >>> null_name("source"), null_name("campaign")  # rules §9
        ('(direct)', '(not set)')
    """
    return NULL_NAMES.get(dimension, NOT_SET)
