"""Reads a CSV file with named columns. Detects the delimiter, reads the header, and joins lines at quoted line breaks.

This module decides where a row ends, and finds the name of each column. If a row's quote is not closed, the next lines
are read as separate rows, so that only the row with the quote is malformed.
"""

from __future__ import annotations

import csv
import re
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from hitmesh.model.errors import RefusedError
from hitmesh.model.reasons import LocalReason
from hitmesh.tools.importers.lines import MAX_LINE_BYTES, Line

MAX_ROW_LINES: Final = 1_000
_DELIMITERS: Final = (",", ";", "\t", "|")
_LINES: Final = re.compile(r"[^\n]*\n|[^\n]+")
_SEPARATOR: Final = "sep="  # spreadsheets may write a first line that consists of this text and the delimiter


class Header(NamedTuple):
    """The parsed header line: delimiter, number of columns, and the index of each known column that was found."""

    delimiter: str
    width: int
    places: Mapping[str, int]


class Row(NamedTuple):
    """A row: its text, the number of its first line, and its columns. The columns are None if the row is malformed."""

    line: Line
    columns: Mapping[str, str] | None


def parse_map(texts: Iterable[str], known: Collection[str]) -> dict[str, str]:
    """Parse texts `column=name` or `name=column`, and return the name in the file for each known column.

    Raises:
        RefusedError: one side of a text is empty, or neither side is a known column (INVALID_MAP).
    """
    found = {}
    for text in texts:
        left, equals, right = (part.strip() for part in text.partition("="))
        if equals and left not in known and right in known:
            left, right = right, left
        if not right or left not in known:
            raise RefusedError(
                f"--map {text[:80]!r} names no column: write COLUMN=NAME, where COLUMN is one of "
                f"{', '.join(known)} and NAME is its name in the file",
                field="map",
                reason=LocalReason.INVALID_MAP,
            )
        found[left] = right
    return found


def read_header(lines: Iterator[Line], known: Sequence[str], needed: Sequence[str], names: Mapping[str, str]) -> Header:
    """Read the header; the delimiter is the candidate with which most needed columns are found.

    Args:
        lines: the file's lines, from the first.
        known: the columns that are read if they are present.
        needed: the columns that must be present.
        names: the columns that have a different name in the file; maps the known name to the name in the file.

    Raises:
        RefusedError: a needed or renamed column is missing (INVALID_FILE).
    """
    line = next(lines, None)
    delimiters: Sequence[str] = _DELIMITERS
    if line is not None and line.text.lower().startswith(_SEPARATOR) and len(line.text) == len(_SEPARATOR) + 1:
        delimiters, line = (line.text[-1],), next(lines, None)
    found = [_header(line, delimiter, known, names) for delimiter in delimiters]
    best = min(found, key=lambda header: len(_missing(header, needed)))
    missing = _missing(best, needed)
    if missing or len(best.places) < len({*best.places, *names}):
        wanted = [names.get(name, name) for name in missing or names.keys() - best.places.keys()]
        raise RefusedError(
            f"the first line is not the header of a shop export: it lacks {', '.join(sorted(wanted))}; "
            f"needed are {', '.join(needed)}; if the file uses other names, give them with --map COLUMN=NAME",
            field="file",
            reason=LocalReason.INVALID_FILE,
        )
    return best


def read_rows(lines: Iterator[Line], header: Header, *, most_lines: int = MAX_ROW_LINES) -> Iterator[Row]:
    """Yield the rows after the header.

    A row with quoted line breaks is joined from its lines, up to `most_lines` lines.
    """
    ahead: deque[Line] = deque()
    while (line := ahead.popleft() if ahead else next(lines, None)) is not None:
        columns = _columns(line, header)
        if columns is None and not line.is_too_long and line.text.count('"') % 2:
            joined = _joined(line, lines, ahead, most_lines)
            columns = None if joined is None else _columns(joined, header)
            if joined is not None and columns is not None:
                for _ in range(joined.text.count("\n")):
                    ahead.popleft()
                line = joined
        yield Row(line, columns)


def _joined(first: Line, lines: Iterator[Line], ahead: deque[Line], most_lines: int) -> Line | None:
    """Join `first` with the lines up to the closing quote.

    Each additional line that was read is appended to `ahead`.
    """
    parts, size = [first.text], len(first.text)
    for number in range(most_lines - 1):
        if number == len(ahead):
            following = next(lines, None)
            if following is None:
                return None
            ahead.append(following)
        text, is_too_long = ahead[number].text, ahead[number].is_too_long
        parts.append(text)
        size += len(text) + 1
        if is_too_long or size > MAX_LINE_BYTES:
            return None
        if text.count('"') % 2:
            return Line(first.number, "\n".join(parts))
    return None


def _columns(line: Line, header: Header) -> dict[str, str] | None:
    if line.is_too_long:
        return None
    values = _values(line.text, header.delimiter)
    if len(values) != header.width:
        return None
    return {name: values[place] for name, place in header.places.items()}


def _header(line: Line | None, delimiter: str, known: Sequence[str], names: Mapping[str, str]) -> Header:
    found = [] if line is None or line.is_too_long else [value.strip() for value in _values(line.text, delimiter)]
    places = {name: found.index(names.get(name, name)) for name in known if names.get(name, name) in found}
    return Header(delimiter, len(found), places)


def _missing(header: Header, needed: Sequence[str]) -> list[str]:
    return [name for name in needed if name not in header.places]


def _values(text: str, delimiter: str) -> list[str]:
    """Return the values of a row; an empty list if the text is not CSV."""
    try:
        rows = list(csv.reader(_LINES.findall(text) if "\n" in text else [text], delimiter=delimiter, strict=True))
    except csv.Error:
        return []
    return rows[0] if len(rows) == 1 else []
