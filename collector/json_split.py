"""Takes the JSON of a batch apart: its fields, its hits, and each hit's own text.

Decides only what is JSON. A hit's text says how much was sent for it, whatever becomes of what it holds.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final, NamedTuple

_SPACE: Final = re.compile(r"[ \t\n\r]*")
_DECODER: Final = json.JSONDecoder()


class SplitBatch(NamedTuple):
    """The fields of a batch without its hits, its hits, and where the text of each begins and ends."""

    text: str
    fields: dict[str, Any]
    hits: list[Any]
    spans: list[tuple[int, int]]

    def sent(self, index: int) -> bytes:
        """Return a hit as it was sent."""
        start, end = self.spans[index]
        return self.text[start:end].encode("utf-8", "surrogatepass")

    def sizes(self) -> list[int]:
        """Return how many bytes were sent for each hit."""
        if self.text.isascii():
            return [end - start for start, end in self.spans]
        return [len(self.sent(index)) for index in range(len(self.spans))]


def split_batch(body: bytes) -> SplitBatch | None:
    """Return the parts of a batch; None where the JSON is no object or its hits are no list.

    Raises:
        ValueError: it is no JSON.
        RecursionError: it is nested too deep.
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
            hits, spans, at = _elements(text, at)
        else:
            hits, (_, at) = None, _DECODER.raw_decode(text, at)
        at, is_open = _next(text, at, "}")
    end = _after_space(text, at)
    if end != len(text):
        raise json.JSONDecodeError("Extra data", text, end)
    return None if hits is None else SplitBatch(text, fields, hits, spans)


def _elements(text: str, at: int) -> tuple[list[Any], list[tuple[int, int]], int]:
    """Return the elements of the list that begins here, where each stands, and where the list ends."""
    elements: list[Any] = []
    spans: list[tuple[int, int]] = []
    at = _after_space(text, at + 1)
    if text[at : at + 1] == "]":
        return elements, spans, at + 1
    is_open = True
    while is_open:
        element, end = _DECODER.raw_decode(text, at)
        elements.append(element)
        spans.append((at, end))
        at, is_open = _next(text, end, "]")
    return elements, spans, at


def _name(text: str, at: int) -> tuple[str, int]:
    """Return a name, and where its value begins."""
    if text[at : at + 1] != '"':
        raise json.JSONDecodeError("Expecting property name enclosed in double quotes", text, at)
    name, at = _DECODER.raw_decode(text, at)
    at = _after_space(text, at)
    if text[at : at + 1] != ":":
        raise json.JSONDecodeError("Expecting ':' delimiter", text, at)
    return name, _after_space(text, at + 1)


def _next(text: str, at: int, end: str) -> tuple[int, bool]:
    """Return where the next part begins, True; or, after the last one, where its surroundings end, False."""
    at = _after_space(text, at)
    if text[at : at + 1] == end:
        return at + 1, False
    if text[at : at + 1] != ",":
        raise json.JSONDecodeError("Expecting ',' delimiter", text, at)
    return _after_space(text, at + 1), True


def _after_space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    assert found is not None, "it matches nothing, too"
    return found.end()
