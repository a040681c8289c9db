"""Time-outs of tests, which detect hanging and never measure speed.

A test states how long a step takes on a fast idle machine. Every wait and every time-out multiplies the stated time by
`PATIENCE`, so that no test fails because a machine is slow or busy.
"""

from __future__ import annotations

from typing import Final

import pytest

PATIENCE: Final = 8


def patient(seconds: float) -> float:
    """Return the time-out for a step that takes `seconds` on a fast machine."""
    return seconds * PATIENCE


def lengthen_timeouts(items: list[pytest.Item]) -> None:
    """Multiply the time-out of every test by `PATIENCE`."""
    for item in items:
        marker = item.get_closest_marker("timeout")
        seconds = float(marker.args[0] if marker else item.config.getini("timeout"))
        item.add_marker(pytest.mark.timeout(patient(seconds)), append=False)
