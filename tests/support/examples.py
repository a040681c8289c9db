"""How many examples a property tries: as many as its test names, times the variable EXAMPLES.

`make test` tries what shows a break soon; `make test-long` sets EXAMPLES and tries many times as many.
"""

from __future__ import annotations

import os

from hypothesis import settings

TIMES = float(os.environ.get("EXAMPLES") or 1)
FEWEST = 2
"""Hypothesis begins with the simplest example, which shows little."""


def examples(count: int) -> settings:
    """Settings of a property that tries so many examples in `make test`."""
    return settings(max_examples=max(FEWEST, round(count * TIMES)))
