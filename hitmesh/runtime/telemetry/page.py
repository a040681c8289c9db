"""Generates the table of metrics in docs/telemetry.md from the registry.

`python -m hitmesh.runtime.telemetry.page FILE` writes the table into FILE. The table lists the name, kind, unit, labels
and meaning of each metric.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final

from hitmesh.runtime.telemetry.kinds import Metric
from hitmesh.runtime.telemetry.registry import REGISTRY

BEGIN: Final = "<!-- the registry's table begins: python -m hitmesh.runtime.telemetry.page docs/telemetry.md -->"
END: Final = "<!-- the registry's table ends -->"


def table() -> str:
    """Return the Markdown table: a header, then a row per metric, in the order of the registry."""
    head = "| name | kind | unit | labels | meaning |\n|---|---|---|---|---|\n"
    return head + "".join(_row(metric) for metric in REGISTRY)


def with_table(page: str) -> str:
    """Return the page, with the current table between its BEGIN and END comments."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table()}{END}{after}"


def _row(metric: Metric[Any]) -> str:
    labels = ", ".join(f"{name}: {_named(values)}" for name, values in metric.label_values().items()) or "–"
    return f"| `{metric.name}` | {metric.kind} | {metric.unit} | {labels} | {metric.meaning} |\n"


def _named(values: tuple[str, ...] | str) -> str:
    return values if isinstance(values, str) else " ".join(f"`{value}`" for value in values)


if __name__ == "__main__":
    file = Path(sys.argv[1])
    file.write_text(with_table(file.read_text(encoding="utf-8")), encoding="utf-8")
