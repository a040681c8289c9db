"""Test that Envoy's template and docs/limits.md have every limit, with its value for production."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from string import Template

from hitmesh.tools.dev.door_limits import PRODUCTION
from hitmesh.tools.dev.envoy import template

PAGE = Path(__file__).resolve().parents[2] / "docs/limits.md"


def documented() -> dict[str, str]:
    """Return the value of each limit on the page."""
    return dict(re.findall(r"^\| `(\w+)` \| ([\d.,]+)", PAGE.read_text(encoding="utf-8"), re.MULTILINE))


def test_the_page_has_every_limit_with_its_value() -> None:
    assert documented() == {name: f"{value:,}" for name, value in dataclasses.asdict(PRODUCTION).items()}


def test_the_template_has_every_limit() -> None:
    assert set(PRODUCTION.placeholders()) <= set(Template(template()).get_identifiers())


def test_streams_to_a_service_never_fill_the_window_of_their_connection() -> None:
    window = PRODUCTION.placeholders()["service_connection_window_bytes"]
    assert window >= PRODUCTION.service_streams * PRODUCTION.service_window_bytes


def test_the_heap_is_relieved_in_steps() -> None:
    steps = [PRODUCTION.tight_heap, PRODUCTION.crowded_heap, PRODUCTION.full_heap, PRODUCTION.exhausted_heap]
    assert steps == sorted(set(steps))
    assert steps[-1] < 1
