"""Prints a reporter's answer as a table, with a caption about range, freshness and exclusions."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

from hitmesh.model.plurals import counted
from hitmesh.tools.cli.output import echo, note, print_table
from hitmesh.tools.cli.plot import bars, columns
from hitmesh.tools.cli.report_notes import CUT

MAX_DECIMALS: Final = 4
EMPTY: Final = "–"
CUT_MARK: Final = "*"
PIPED_WIDTH: Final = 100
_NOT_SETTLED: Final = ("LIVE", "PROVISIONAL")


def print_report(answer: Mapping[str, Any], keys: Sequence[str], metrics: Sequence[str], *, plot: bool) -> None:
    """Print the rows of a JSON answer as a table, then optionally a plot of the first metric.

    Args:
        answer: the answer as JSON: `rows`, which have a field per column, and `meta`.
        keys: text columns in order: time and dimensions.
        metrics: number columns in order.
        plot: whether to draw the plot.
    """
    rows: list[dict[str, Any]] = answer["rows"]
    shown = {metric: number_texts([row.get(metric) for row in rows]) for metric in metrics}
    print_table(
        (*keys, *metrics),
        (
            (*(_key_text(row, key) for key in keys), *(shown[metric][index] for metric in metrics))
            for index, row in enumerate(rows)
        ),
        right_from=len(keys),
        caption=caption(answer.get("meta", {}), has_cut=any(row.get("partial") for row in rows)),
    )
    if plot:
        _plot(rows, keys, metrics[0])


def number_texts(numbers: Sequence[Any]) -> list[str]:
    """Return a column's numbers with thousands separators and the same number of decimals, at most four."""
    decimals = max((_decimals(number) for number in numbers if number is not None), default=0)
    return [EMPTY if number is None else f"{number:,.{decimals}f}" for number in numbers]


def caption(meta: Mapping[str, Any], *, has_cut: bool = False) -> str:
    """Return a line that shows a JSON answer's range, zone, freshness and exclusions, and explains `*`."""
    start, through = meta.get("start"), meta.get("complete_through")
    state = str(meta.get("state", "")).lower()
    excluded = 0 if meta.get("include_excluded") else int(meta.get("excluded_hits", 0))
    missing = ", ".join(meta.get("missing_currencies", ()))
    parts = [
        f"{start} to {meta.get('end')}" if start else "",
        meta.get("time_zone", ""),
        f"complete through {through} ({state})" if through else "",
        f"provisional from {meta.get('provisional_from')}" if meta.get("cell_state") in _NOT_SETTLED else "",
        f"filter {meta['filter']}" if meta.get("filter") else "",
        f"{counted(excluded, 'hit')} left out (bots, referrer spam, exclusion rules)" if excluded else "",
        f"money in {missing} left out" if missing else "",
        *meta.get("warnings", ()),
        f"{CUT_MARK} {CUT} this bucket" if has_cut else "",
    ]
    return " · ".join(part for part in parts if part)


def _key_text(row: Mapping[str, Any], key: str) -> str:
    return f"{row[key]}{CUT_MARK if key == 'time' and row.get('partial') else ''}"


def _decimals(number: float) -> int:
    text = f"{number:.{MAX_DECIMALS}f}".rstrip("0")
    return len(text.partition(".")[2])


def _plot(rows: Sequence[Mapping[str, Any]], keys: Sequence[str], metric: str) -> None:
    labels = [" ".join(str(row[key]) for key in keys) for row in rows]
    values = [float(row.get(metric) or 0) for row in rows]
    if not keys or not rows:
        note("--plot needs rows to compare: add --grain or --dimensions")
        return
    draw = columns if list(keys) == ["time"] else bars
    echo()
    echo("\n".join(draw(metric, labels, values, width=plot_width(), blocks=has_blocks())))


def plot_width() -> int:
    """Return the number of characters in a plot's line."""
    return shutil.get_terminal_size((PIPED_WIDTH, 24)).columns if sys.stdout.isatty() else PIPED_WIDTH


def has_blocks() -> bool:
    """Return whether standard output can show block characters."""
    return (sys.stdout.encoding or "").lower().replace("-", "") == "utf8" and os.environ.get("TERM") != "dumb"
