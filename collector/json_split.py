"""Splits a JSON batch into its fields, its hits and each hit's text.

This module checks only whether the batch is JSON. The length of each hit's text is recorded, so that the size of a hit
is known even if the hit is refused.
"""

from __future__ import annotations

import json
import re
import sys
from typing import Any, Final, NamedTuple

_SPACE: Final = re.compile(r"[ \t\n\r]*")
_DECODER: Final = json.JSONDecoder()


class SentJson(NamedTuple):
    """A JSON batch as sent, with the start and end of the text of each hit, up to the maximum number of hits."""

    text: str
    spans: list[tuple[int, int]]

    def hit(self, index: int) -> bytes:
        """Return a hit's text as bytes."""
        start, end = self.spans[index]
        return self.text[start:end].encode("utf-8", "surrogatepass")


class SplitBatch(NamedTuple):
    """A parsed batch: its hits, its other fields, and the start and end of the text of each hit, up to the maximum."""

    text: str
    fields: dict[str, Any]
    hits: list[Any]
    spans: list[tuple[int, int]]

    @property
    def sent(self) -> SentJson:
        """The batch as sent, without the parsed values."""
        return SentJson(self.text, self.spans)

    def sizes(self) -> list[int]:
        """Return the size in bytes of the text of each hit that has a span."""
        if self.text.isascii():
            return [end - start for start, end in self.spans]
        return [len(self.sent.hit(index)) for index in range(len(self.spans))]


def split_batch(body: bytes, max_hits: int = sys.maxsize) -> SplitBatch | None:
    """Return the parts of a batch, or None if the JSON is not an object or `hits` is not a list.

    Args:
        body: JSON.
        max_hits: the maximum number of hits in a batch. If a batch has more hits, only the first `max_hits` hits have a
            span, and the further hits are read in one call of the parser.

    Raises:
        ValueError: the body is not JSON.
        RecursionError: the JSON is nested too deep.
    """
    text = body.decode(json.detect_encoding(body), "surrogatepass")
    at = _after_space(text, 0)
    if text[at : at + 1] != "{":
        json.loads(text)
        return None
    fields: dict[str, Any] = {}
    hits: list[Any] | None = []
    spans: list[tuple[int, int]] = []
    at = _after_space(text, at + 1)
    is_open = text[at : at + 1] != "}"
    at += not is_open
    while is_open:
        name, at = _name(text, at)
        if name != "hits":
            fields[name], at = _DECODER.raw_decode(text, at)
        elif text[at : at + 1] == "[":
            hits, spans, at = _elements(text, at, max_hits)
        else:
            hits, (_, at) = None, _DECODER.raw_decode(text, at)
        at, is_open = _next(text, at, "}")
    end = _after_space(text, at)
    if end != len(text):
        raise json.JSONDecodeError("Extra data", text, end)
    return None if hits is None else SplitBatch(text, fields, hits, spans)


def _elements(text: str, at: int, max_hits: int) -> tuple[list[Any], list[tuple[int, int]], int]:
    """Return the elements of the list at `at`, each element's start and end, and the position after the list.

    Only the first `max_hits` elements have a start and an end.
    """
    elements: list[Any] = []
    spans: list[tuple[int, int]] = []
    at = _after_space(text, at + 1)
    if text[at : at + 1] == "]":
        return elements, spans, at + 1
    is_open = True
    while is_open and len(elements) < max_hits:
        element, end = _DECODER.raw_decode(text, at)
        elements.append(element)
        spans.append((at, end))
        at, is_open = _next(text, end, "]")
    if is_open:
        rest, at = _rest(text, at)
        elements += rest
    return elements, spans, at


def _rest(text: str, at: int) -> tuple[list[Any], int]:
    """Return the elements from `at` to the end of their list, and the position after the list.

    A single call of the parser costs a tenth of a call for each element.
    """
    if text[at : at + 1] == "]":
        raise json.JSONDecodeError("Expecting value", text, at)
    try:
        rest, length = _DECODER.raw_decode("[" + text[at:])
    except json.JSONDecodeError as error:
        raise json.JSONDecodeError(error.msg, text, at + error.pos - 1) from None
    return rest, at + length - 1


def _name(text: str, at: int) -> tuple[str, int]:
    """Return the name of the member that begins at `at`, and the position where the member's value begins."""
    if text[at : at + 1] != '"':
        raise json.JSONDecodeError("Expecting property name enclosed in double quotes", text, at)
    name, at = _DECODER.raw_decode(text, at)
    at = _after_space(text, at)
    if text[at : at + 1] != ":":
        raise json.JSONDecodeError("Expecting ':' delimiter", text, at)
    return name, _after_space(text, at + 1)


def _next(text: str, at: int, end: str) -> tuple[int, bool]:
    """If another member or element follows, return (its start, True).

    If no member or element follows, return (position after the closing bracket, False).
    """
    at = _after_space(text, at)
    if text[at : at + 1] == end:
        return at + 1, False
    if text[at : at + 1] != ",":
        raise json.JSONDecodeError("Expecting ',' delimiter", text, at)
    return _after_space(text, at + 1), True


def _after_space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    assert found is not None, "the pattern also matches an empty text"
    return found.end()
