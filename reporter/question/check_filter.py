"""Filters: from a message to a frozen tree and back (journey step 7).

This module checks a filter's size, its dimensions and its regexps. The catalogue defines the column that a dimension
selects for a metric. filter_text handles a filter's text form.
"""

from __future__ import annotations

from typing import Final

from hitmesh.api.reporter.v1 import reporter_pb2 as pb
from hitmesh.model.errors import RefusedError, Variable
from hitmesh.model.filters import And, Comparison, Filter, Not, Operator, Or, comparisons_in
from hitmesh.model.patterns import program_of, refuse_program
from hitmesh.model.reasons import ErrorReason
from hitmesh.model.similar_names import nearest, similar
from reporter.question.catalogue import DIMENSIONS

MAX_DEPTH: Final = 8
MAX_LIST: Final = 50
MAX_COMPARISONS: Final = 100
MAX_VALUES: Final = 100
MAX_VALUE_BYTES: Final = 2_000
MAX_REGEXP_CHARS: Final = 500
# Maximum memory in bytes that matching a regexp may need. The compilation refuses a regexp that needs more memory than
# this maximum.
MAX_REGEXP_MEMORY: Final = 1 << 20

_OPERATORS: Final = {
    pb.FILTER_OPERATOR_EQ: Operator.EQ,
    pb.FILTER_OPERATOR_NE: Operator.NE,
    pb.FILTER_OPERATOR_IN: Operator.IN,
    pb.FILTER_OPERATOR_RE2: Operator.RE2,
}
_NUMBERS: Final = {operator: number for number, operator in _OPERATORS.items()}


def checked_filter(message: pb.Filter) -> Filter:
    """Return a filter as a tree.

    Raises:
        RefusedError: the filter, a dimension or a regexp is invalid (INVALID_FILTER, UNKNOWN_DIMENSION,
            INVALID_REGEXP); the error has the field's path.
    """
    # A request can contain tens of thousands of comparisons, so check their number before parsing or compiling any.
    comparisons = _count(message, 1)
    if comparisons > MAX_COMPARISONS:
        raise _refused(
            "filter",
            f"the filter has {comparisons} comparisons; the limit is {MAX_COMPARISONS}: use operator IN for lists",
            count=comparisons,
            limit=MAX_COMPARISONS,
        )
    tree = _tree(message, "filter", 1)
    refuse_program(comparison.values[0] for comparison in comparisons_in(tree) if comparison.operator is Operator.RE2)
    return tree


def dimensions_in(tree: Filter | None) -> frozenset[str]:
    """Return the dimensions that a filter compares."""
    return frozenset(comparison.dimension for comparison in comparisons_in(tree))


def message_of(tree: Filter) -> pb.Filter:
    """Return a filter's tree as a message."""
    match tree:
        case And(parts):
            return pb.Filter(and_list=pb.FilterList(filters=map(message_of, parts)))
        case Or(parts):
            return pb.Filter(or_list=pb.FilterList(filters=map(message_of, parts)))
        case Not(part):
            return pb.Filter(not_filter=message_of(part))
        case Comparison(dimension, operator, values):
            compared = pb.DimensionFilter(dimension=dimension, operator=_NUMBERS[operator], values=values)
            return pb.Filter(dimension_filter=compared)


def _tree(message: pb.Filter, path: str, depth: int) -> Filter:
    if depth > MAX_DEPTH:
        raise _refused(
            path, f"the filter is nested deeper than {MAX_DEPTH} levels: write a flatter filter", limit=MAX_DEPTH
        )
    match message.WhichOneof("kind"):
        case "and_list":
            return And(_parts(message.and_list, f"{path}.and_list", depth))
        case "or_list":
            return Or(_parts(message.or_list, f"{path}.or_list", depth))
        case "not_filter":
            return Not(_tree(message.not_filter, f"{path}.not_filter", depth + 1))
        case "dimension_filter":
            return _comparison(message.dimension_filter, f"{path}.dimension_filter")
        case _:
            raise _refused(path, "this filter is empty: set a list, not_filter or dimension_filter")


def _parts(message: pb.FilterList, path: str, depth: int) -> tuple[Filter, ...]:
    if not 1 <= len(message.filters) <= MAX_LIST:
        raise _refused(
            path,
            f"the list has {len(message.filters)} filters: send 1 to {MAX_LIST}",
            count=len(message.filters),
            limit=MAX_LIST,
        )
    return tuple(_tree(part, f"{path}.filters[{index}]", depth + 1) for index, part in enumerate(message.filters))


def _comparison(message: pb.DimensionFilter, path: str) -> Comparison:
    if message.dimension not in DIMENSIONS:
        raise RefusedError(
            f"unknown dimension {message.dimension[:64]!r} in the filter: {nearest(message.dimension, DIMENSIONS)}",
            field=f"{path}.dimension",
            reason=ErrorReason.UNKNOWN_DIMENSION,
            value=message.dimension,
            similar=similar(message.dimension, DIMENSIONS),
        )
    operator = _OPERATORS.get(message.operator)
    if operator is None:
        cure = "use FILTER_OPERATOR_EQ, FILTER_OPERATOR_NE, FILTER_OPERATOR_IN or FILTER_OPERATOR_RE2"
        if message.operator == pb.FILTER_OPERATOR_UNSPECIFIED:
            raise _refused(f"{path}.operator", f"operator is not set: {cure}")
        raise _refused(f"{path}.operator", f"operator {message.operator} is not known: {cure}", value=message.operator)
    max_values = MAX_VALUES if operator is Operator.IN else 1
    if not 1 <= len(message.values) <= max_values:
        rule = f"1 to {max_values}" if max_values > 1 else "exactly 1"
        raise _refused(
            f"{path}.values",
            f"operator {operator.value} has {len(message.values)} values: send {rule}",
            value=operator.value,
            count=len(message.values),
            limit=max_values,
        )
    for index, value in enumerate(message.values):
        if not value:
            raise _refused(f"{path}.values[{index}]", "the value is empty: write (not set) for an unset value")
        if len(value.encode()) > MAX_VALUE_BYTES:
            raise _refused(
                f"{path}.values[{index}]",
                f"the value is {len(value.encode()):,} bytes; the limit is {MAX_VALUE_BYTES:,}: send a shorter value",
                size=len(value.encode()),
                limit=MAX_VALUE_BYTES,
            )
    if operator is Operator.RE2:
        _refuse_regexp(message.values[0], f"{path}.values[0]")
    return Comparison(message.dimension, operator, tuple(message.values))


def _refuse_regexp(pattern: str, path: str) -> None:
    if len(pattern) > MAX_REGEXP_CHARS:
        raise RefusedError(
            f"the regexp is {len(pattern)} characters; the limit is {MAX_REGEXP_CHARS}: use in(…) or a shorter regexp",
            field=path,
            reason=ErrorReason.INVALID_REGEXP,
            count=len(pattern),
            limit=MAX_REGEXP_CHARS,
        )
    try:
        program_of(pattern, MAX_REGEXP_MEMORY)
    except RefusedError as error:
        error.field = path
        raise


def _count(message: pb.Filter, depth: int) -> int:
    """Return the number of comparisons in a filter.

    A subtree or list that `_tree` refuses as too deep or too long counts as 0.
    """
    if depth > MAX_DEPTH:
        return 0
    match message.WhichOneof("kind"):
        case "and_list" | "or_list" as kind:
            parts = getattr(message, kind).filters
            return sum(_count(part, depth + 1) for part in parts) if len(parts) <= MAX_LIST else 0
        case "not_filter":
            return _count(message.not_filter, depth + 1)
        case kind:
            return int(kind is not None)


def _refused(path: str, message: str, **variables: Variable) -> RefusedError:
    return RefusedError(f"{path}: {message}", field=path, reason=ErrorReason.INVALID_FILTER, **variables)
