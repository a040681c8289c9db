"""Plain-text charts: columns over time, or a bar per value.

The functions are pure, and their text has no colour codes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from hitmesh.tools.cli.output import visible

HEIGHT: Final = 10
MAX_BARS: Final = 40
MAX_LABEL: Final = 40
_EIGHTHS_UP: Final = " ▁▂▃▄▅▆▇█"
_EIGHTHS_RIGHT: Final = " ▏▎▍▌▋▊▉█"
_ASCII: Final = "    #####"


def columns(
    title: str, labels: Sequence[str], values: Sequence[float], *, width: int, blocks: bool = True
) -> list[str]:
    """Return the lines of a column chart, a column per value from left to right.

    If there are more values than columns, neighbouring values share a column, which shows the maximum of its values.
    """
    top = max([0.0, *values])
    axis = len(_short(top))
    room = max(10, width - axis - 3)
    share = math.ceil(len(values) / room)
    heights = [max(values[at : at + share]) for at in range(0, len(values), share)]
    thickness = max(1, min(6, room // len(heights)))
    marks = _EIGHTHS_UP if blocks else _ASCII
    lines = [title if share == 1 else f"{title} (each column shows the maximum of {share} values)"]
    for level in range(HEIGHT, 0, -1):
        filled = (_mark(marks, _part(height, top) * HEIGHT - (level - 1)) for height in heights)
        edge = _short(top) if level == HEIGHT else "0" if level == 1 else ""
        body = "".join(mark * (thickness - 1) + (mark if thickness == 1 else " ") for mark in filled)
        lines.append(f"{edge:>{axis}} ┤{body}".rstrip())
    first, last = labels[0], labels[-1]
    between = max(1, len(heights) * thickness - len(first) - len(last))
    lines.append(f"{'':>{axis}}  {first}{' ' * between}{last if len(labels) > 1 else ''}".rstrip())
    return lines


def bars(title: str, labels: Sequence[str], values: Sequence[float], *, width: int, blocks: bool = True) -> list[str]:
    """Return the lines of a bar chart, a bar per value, at most 40 bars."""
    shown = [_cut(visible(label)) for label in labels[:MAX_BARS]]
    top = max([0.0, *values[:MAX_BARS]])
    numbers = [_short(value) for value in values[:MAX_BARS]]
    label_width = max(map(len, shown))
    room = max(10, width - label_width - max(map(len, numbers)) - 3)
    marks = _EIGHTHS_RIGHT if blocks else _ASCII
    lines = [title]
    for label, value, number in zip(shown, values, numbers, strict=False):
        length = _part(value, top) * room
        bar = marks[-1] * int(length) + _mark(marks, length - int(length)).strip()
        lines.append(f"{label:>{label_width}} {bar} {number}")
    if len(labels) > MAX_BARS:
        lines.append(f"… and {len(labels) - MAX_BARS:,} more")
    return lines


def _part(value: float, top: float) -> float:
    return max(0.0, value) / top if top > 0 else 0.0


def _mark(marks: str, filled: float) -> str:
    return marks[round(min(1.0, max(0.0, filled)) * (len(marks) - 1))]


def _short(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) or abs(value) >= 1_000 else f"{value:,.4g}"


def _cut(label: str) -> str:
    return label if len(label) <= MAX_LABEL else label[: MAX_LABEL - 1] + "…"
