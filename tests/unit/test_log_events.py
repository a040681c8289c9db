"""Test that the events in log lines are stable: docs/telemetry.md lists every event, and each event is a literal."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "telemetry.md"
LEVELS = {"debug", "info", "warning", "error", "exception"}
# Calls whose event is an argument of the caller.
PASSED_ON = {"hitmesh/runtime/logs.py"}


def _events() -> Iterator[tuple[str, ast.expr]]:
    for package in ("hitmesh", "collector", "processor", "reporter", "control"):
        for file in sorted((ROOT / package).rglob("*.py")):
            name = str(file.relative_to(ROOT))
            if name in PASSED_ON or name.endswith(("_pb2.py", "_pb2_grpc.py")):
                continue
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and node.args and _is_line(node.func):
                    yield name, node.args[0]


def _is_line(function: ast.expr) -> bool:
    """Return whether a call writes log lines: logger().level(event, …), or Complaints(event, …)."""
    if isinstance(function, ast.Name):
        return function.id == "Complaints"
    called = function.value if isinstance(function, ast.Attribute) and function.attr in LEVELS else None
    return isinstance(called, ast.Call) and isinstance(called.func, ast.Name) and called.func.id == "logger"


def test_every_event_is_a_literal_in_snake_case() -> None:
    for file, event in _events():
        assert isinstance(event, ast.Constant), (file, event.lineno)
        assert re.fullmatch(r"[a-z]+(_[a-z]+)*", str(event.value)), (file, event.value)


def test_page_lists_every_event_and_no_other() -> None:
    _, _, section = PAGE.read_text(encoding="utf-8").partition("<!-- events begin -->")
    listed = re.findall(r"`(\w+)`", section.partition("<!-- events end -->")[0])
    assert listed == sorted({str(event.value) for _, event in _events() if isinstance(event, ast.Constant)})
