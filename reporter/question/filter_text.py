r"""The text form of a filter (journey step 7).

This module defines the grammar; check_filter checks that the dimensions exist.

    filter     = group *( ";" group )                 ";" is and
    group      = term *( "," term )                   "," is or and binds tighter
    term       = comparison | "(" filter ")" | "!(" filter ")"
    comparison = dimension ( "==" | "!=" | "=~" ) value
               | dimension "in(" value *( "," value ) ")"

For example, `channel==social,channel==email;page_path=~^/blog` selects hits from social or email with a path that
begins with /blog. A space or "=" may precede `in`. Blanks around operators and values are ignored. A backslash makes
the next character literal. In a regexp, only `\,` and `\;` are unescaped; every other backslash belongs to the regexp.
Balanced parentheses in a value need no backslash: `source==(direct)`. Within a filter in parentheses, a regexp must
write an unbalanced parenthesis as `\x28` or `\x29`.
"""

from __future__ import annotations

import re
from typing import Final

from hitmesh.model.errors import RefusedError, Variable
from hitmesh.model.filters import And, Comparison, Filter, Not, Operator, Or
from hitmesh.model.reasons import ErrorReason

MAX_TEXT: Final = 20_000
_MAX_NESTING: Final = 8
# Blanks match without backtracking, so that parsing takes linear time.
_COMPARISON: Final = re.compile(r"\s*+([A-Za-z_][A-Za-z0-9_:.]*)\s*+(==|!=|=~|=?\s*+in\s*+\()\s*+")
_TO_ESCAPE: Final = re.compile(r"[\\;,]|^\s|\s\Z")
_PARENTHESIS: Final = re.compile(r"[()]")
_REGEXP_TO_ESCAPE: Final = re.compile(r"(\\.)|([;,]|^\s|\s\Z)", re.DOTALL)
_OPENING: Final = re.compile(r"\s*+(!?)\s*+\(\s*+")


def parse(text: str, max_text: int = MAX_TEXT) -> Filter | None:
    """Return the filter, or None for a blank text, in time linear in the text's length.

    Raises:
        RefusedError: the text is not a filter (INVALID_FILTER); the message names the position, counted from 1, and the
            remedy.
    """
    if len(text) > max_text:
        raise RefusedError(
            f"filter is {len(text):,} characters; the limit is {max_text:,}: use in(…) or a regexp",
            field="filter",
            reason=ErrorReason.INVALID_FILTER,
            count=len(text),
            limit=max_text,
        )
    if not text.strip():
        return None
    parser = _Parser(text)
    found = parser.filter(0)
    if parser.at < len(text):
        raise parser.error("expected ';', ',' or the end of the filter")
    return found


def format_filter(tree: Filter | None) -> str:
    """Return the text from which `parse` makes the tree, or an empty text if the tree is None."""
    match tree:
        case None:
            return ""
        case And(parts) if len(parts) > 1:
            return ";".join(_grouped(part, And) for part in parts)
        case Or(parts) if len(parts) > 1:
            return ",".join(_grouped(part, And, Or) for part in parts)
        case And((part,)) | Or((part,)):
            return format_filter(part)
        case Not(part):
            return f"!({format_filter(part)})"
        case Comparison(dimension, Operator.IN, values):
            return f"{dimension} in({','.join(map(_escaped, values))})"
        case Comparison(dimension, Operator.RE2, (value,)):
            return f"{dimension}=~{_REGEXP_TO_ESCAPE.sub(_escaped_in_regexp, value)}"
        case Comparison(dimension, operator, (value,)):
            return f"{dimension}{operator.value}{_escaped(value)}"
    raise ValueError(f"no filter: {tree!r}")


def _grouped(part: Filter, *kinds: type[And] | type[Or]) -> str:
    text = format_filter(part)
    return f"({text})" if isinstance(part, kinds) and len(part.parts) > 1 else text


def _escaped(value: str) -> str:
    text = _TO_ESCAPE.sub(_with_backslash, value)
    return text if _is_balanced(value) else _PARENTHESIS.sub(_with_backslash, text)


def _with_backslash(found: re.Match[str]) -> str:
    return "\\" + found[0]


def _is_balanced(value: str) -> bool:
    depth = 0
    for parenthesis in _PARENTHESIS.findall(value):
        depth += 1 if parenthesis == "(" else -1
        if depth < 0:
            return False
    return depth == 0


def _escaped_in_regexp(found: re.Match[str]) -> str:
    return found[1] or "\\" + found[2]


class _Parser:
    """A recursive-descent parser; `at` is the index of the next character."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.open_groups = 0

    def error(self, complaint: str, at: int | None = None, **variables: Variable) -> RefusedError:
        position = (self.at if at is None else at) + 1
        return RefusedError(
            f"filter, position {position}: {complaint}",
            field="filter",
            reason=ErrorReason.INVALID_FILTER,
            position=position,
            **variables,
        )

    def filter(self, depth: int) -> Filter:
        if depth > _MAX_NESTING:
            raise self.error(
                f"parentheses are nested deeper than {_MAX_NESTING} levels: write a flatter filter", limit=_MAX_NESTING
            )
        groups = [self.group(depth)]
        while self.take(";"):
            groups.append(self.group(depth))
        return groups[0] if len(groups) == 1 else And(tuple(groups))

    def group(self, depth: int) -> Filter:
        terms = [self.term(depth)]
        while self.take(","):
            terms.append(self.term(depth))
        return terms[0] if len(terms) == 1 else Or(tuple(terms))

    def term(self, depth: int) -> Filter:
        opening = _OPENING.match(self.text, self.at)
        if not opening:
            return self.comparison()
        start = self.at
        self.at = opening.end()
        self.open_groups += 1
        inside = self.filter(depth + 1)
        self.open_groups -= 1
        if not self.take(")"):
            raise self.error("this parenthesis is never closed: add )", start)
        self.blanks()
        return Not(inside) if opening[1] else inside

    def comparison(self) -> Comparison:
        found = _COMPARISON.match(self.text, self.at)
        if not found:
            raise self.error(
                "expected a comparison such as channel==social, page_path=~^/blog or os in(iOS,Android); "
                "write a backslash before a comma or semicolon within a value"
            )
        self.at = found.end()
        if found[2].endswith("("):
            return Comparison(found[1], Operator.IN, self.values())
        operator = Operator(found[2])
        return Comparison(found[1], operator, (self.value(found[2], bool(self.open_groups)),))

    def values(self) -> tuple[str, ...]:
        opened = self.at
        values = [self.value("in(", True)]
        while self.take(","):
            values.append(self.value(",", True))
        if not self.take(")"):
            raise self.error("the list of in(…) is never closed: add )", opened - 1)
        self.blanks()
        return tuple(values)

    def value(self, after: str, stops_at_parenthesis: bool) -> str:
        """Read a value up to a separator; balanced parentheses belong to the value."""
        self.blanks()
        start, kept, open_here, solid = self.at, "", 0, 0
        while self.at < len(self.text):
            char = self.text[self.at]
            if char in ";," or (char == ")" and stops_at_parenthesis and not open_here):
                break
            if char == "\\":
                kept += self.escape(after == "=~")
                solid = len(kept)
                continue
            open_here += (char == "(") - (char == ")" and open_here > 0)
            kept += char
            self.at += 1
            if not char.isspace():
                solid = len(kept)
        # Trailing blanks belong to the value only if they are escaped.
        kept = kept[:solid]
        if not kept:
            raise self.error(f"no value after {after}: write (not set) for an unset value", start, value=after)
        return kept

    def escape(self, in_regexp: bool) -> str:
        if self.at + 1 == len(self.text):
            raise self.error("nothing follows the backslash: write \\\\ for a backslash")
        pair = self.text[self.at : self.at + 2]
        self.at += 2
        return pair if in_regexp and pair[1] not in ",;" else pair[1]

    def take(self, char: str) -> bool:
        if not self.text.startswith(char, self.at):
            return False
        self.at += 1
        return True

    def blanks(self) -> None:
        while self.at < len(self.text) and self.text[self.at].isspace():
            self.at += 1
