"""Parses the part of PromQL that the project's rules and dashboards use, to check expressions without promtool.

The parser accepts selectors with matchers and ranges, aggregations with `by`, functions, and binary operators with `on`
and `group_left`. Subqueries, offsets and `@` are refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

_TOKEN: Final = re.compile(
    r"\s*(?:(?P<string>\"(?:[^\"\\]|\\.)*\")|(?P<range>\[(?:\d+[smhdw]|\$__rate_interval)\])"
    r"|(?P<number>\d+(?:\.\d+)?(?:e[+-]?\d+)?)|(?P<name>[A-Za-z_:][\w:]*)"
    r"|(?P<sign>=~|!~|!=|==|>=|<=|[-+*/%^(){},=<>]))"
)
AGGREGATIONS: Final = frozenset({"sum", "max", "min", "avg", "count", "topk", "bottomk", "quantile"})
FUNCTIONS: Final = frozenset(
    {"rate", "increase", "histogram_quantile", "absent", "clamp_min", "clamp_max", "time", "vector", "label_replace"}
)
_OPERATORS: Final = (
    frozenset({"or"}),
    frozenset({"and", "unless"}),
    frozenset({"==", "!=", ">", "<", ">=", "<="}),
    frozenset({"+", "-"}),
    frozenset({"*", "/", "%"}),
    frozenset({"^"}),
)
_MATCHERS: Final = frozenset({"=", "!=", "=~", "!~"})


class NotPromql(ValueError):
    """The expression is not in the accepted part of PromQL."""


@dataclass(slots=True)
class Found:
    """The metrics of an expression, and for each metric the labels that the selectors match."""

    metrics: dict[str, set[str]] = field(default_factory=dict)
    grouped: set[str] = field(default_factory=set)


def parsed(expression: str) -> Found:
    """Return the metrics and labels in an expression.

    Raises:
        NotPromql: the expression does not parse.
    """
    reader = _Reader(expression)
    reader.binary(0)
    if reader.kind:
        raise NotPromql(f"{expression!r}: unexpected {reader.text!r}")
    return reader.found


class _Reader:
    def __init__(self, expression: str) -> None:
        self._expression = expression
        self._tokens = _tokens(expression)
        self.found = Found()
        self.kind, self.text = "", ""
        self._next()

    def _next(self) -> str:
        read = self.text
        self.kind, self.text = next(self._tokens, ("", ""))
        return read

    def _expect(self, text: str) -> None:
        if self.text != text:
            raise NotPromql(f"{self._expression!r}: {text!r} expected, not {self.text!r}")
        self._next()

    def binary(self, level: int) -> None:
        """Read operands that are joined by operators of this level or a higher level."""
        if level == len(_OPERATORS):
            self._operand()
            return
        self.binary(level + 1)
        while self.text in _OPERATORS[level]:
            self._next()
            while self.text in ("on", "ignoring", "group_left", "bool"):
                if self._next() != "bool":
                    self._labels()
            self.binary(level + 1)

    def _operand(self) -> None:
        if self.text == "-":
            self._next()
        if self.kind == "number" or self.kind == "string":
            self._next()
        elif self.text == "(":
            self._next()
            self.binary(0)
            self._expect(")")
        elif self.kind == "name":
            self._named(self._next())
        else:
            raise NotPromql(f"{self._expression!r}: an operand expected, not {self.text!r}")

    def _named(self, name: str) -> None:
        if name in AGGREGATIONS:
            if self.text in ("by", "without"):
                self._next()
                self._labels()
            self._arguments()
        elif name in FUNCTIONS:
            self._arguments()
        elif self.text == "(":
            raise NotPromql(f"{self._expression!r}: {name} is no known function")
        else:
            self._selector(name)

    def _arguments(self) -> None:
        self._expect("(")
        while self.text != ")":
            self.binary(0)
            if self.text == ",":
                self._next()
        self._expect(")")

    def _labels(self) -> None:
        self._expect("(")
        while self.kind == "name":
            self.found.grouped.add(self._next())
            if self.text == ",":
                self._next()
        self._expect(")")

    def _selector(self, metric: str) -> None:
        labels = self.found.metrics.setdefault(metric, set())
        if self.text == "{":
            self._next()
            while self.kind == "name":
                labels.add(self._next())
                if self._next() not in _MATCHERS or self.kind != "string":
                    raise NotPromql(f"{self._expression!r}: a matcher of {metric} has no operator or no text")
                self._next()
                if self.text == ",":
                    self._next()
            self._expect("}")
        if self.kind == "range":
            self._next()


def _tokens(expression: str) -> Iterator[tuple[str, str]]:
    position, end = 0, len(expression.rstrip())
    while position < end:
        token = _TOKEN.match(expression, position)
        if token is None or token.lastgroup is None:
            raise NotPromql(f"{expression!r}: unexpected character at {position}")
        yield token.lastgroup, token[token.lastgroup]
        position = token.end()
