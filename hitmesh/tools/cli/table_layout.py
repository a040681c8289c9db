"""Widths of a table's columns on a terminal. Pure.

Texts wrap between words. Ids and dates contain no spaces, and numbers never wrap. A user can therefore always copy an
id, a date or a number into the next command.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.cells import cell_len


def column_widths(
    headers: Sequence[str], rows: Sequence[Sequence[str]], *, right_from: int, room: int
) -> list[int] | None:
    """Return the column widths in terminal cells, or None if the table does not fit.

    The sum of the widths is at most `room`.

    Columns from index `right_from` on are numbers. A number's cell does not wrap; a header may wrap in every column.

    Example:
        >>> column_widths(["id", "why"], [["20261130-abc", "a long reason"]], right_from=2, room=20)
        [12, 8]
        >>> column_widths(["id", "why"], [["20261130-abc", "a long reason"]], right_from=2, room=17) is None
        True
    """
    columns = [[row[index] for row in rows] for index in range(len(headers))]
    widths, mins = [], []
    for index, (header, cells) in enumerate(zip(headers, columns, strict=True)):
        natural = _longest(cells)
        widths.append(max(natural, cell_len(header)))
        whole = natural if index >= right_from else _longest(word for cell in cells for word in cell.split())
        mins.append(max(whole, _longest(header.split())))
    if sum(mins) > room:
        return None
    while sum(widths) > room:
        shrinking = max(
            (index for index in range(len(widths)) if widths[index] > mins[index]), key=lambda index: widths[index]
        )
        widths[shrinking] -= 1
    return widths


def as_records(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Format a table that is too wide as lines: a line for each cell, and an empty line between rows.

    Example:
        >>> as_records(["id", "hits"], [["r1", "7"], ["r2", "8"]])
        ['id    r1', 'hits  7', '', 'id    r2', 'hits  8']
    """
    name_width = _longest(headers)
    lines: list[str] = []
    for row in rows:
        lines += [""] if lines else []
        for header, cell in zip(headers, row, strict=True):
            lines.append(f"{header}{' ' * (name_width - cell_len(header))}  {cell}".rstrip())
    return lines


def _longest(texts: Iterable[str]) -> int:
    return max(map(cell_len, texts), default=0)
