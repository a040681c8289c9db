"""The frozen filter tree of a question: what the reporter checks and metric stores apply.

Decides the shape only. Comparisons are on dimension values as strings; a dimension that is not set compares as the
text "(not set)" (or "(direct)" for `source`), so that a filter can name it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never


class Operator(StrEnum):
    """How a comparison compares."""

    EQ = "=="
    NE = "!="
    IN = "in"
    RE2 = "=~"


@dataclass(frozen=True, slots=True)
class Comparison:
    """A dimension compared with values: one for EQ, NE and RE2 (matches somewhere), one or more for IN."""

    dimension: str
    operator: Operator
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class And:
    """All must hold."""

    parts: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """One must hold."""

    parts: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """Must not hold."""

    part: Filter


Filter = And | Or | Not | Comparison


def comparisons_in(tree: Filter | None) -> list[Comparison]:
    """Return every comparison of a filter, from the left."""
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
# What a null of a dimension is called in answers and filters (rules §9).
NULL_NAMES = {"source": DIRECT}


def null_name(dimension: str) -> str:
    """Returns what a null of the dimension is called."""
    return NULL_NAMES.get(dimension, NOT_SET)
