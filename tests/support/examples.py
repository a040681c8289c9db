"""Number of examples per property: the number in the test, multiplied by the variable EXAMPLES.

`make test` tries few examples for fast feedback; `make test-long` sets EXAMPLES to try many more.
"""

from __future__ import annotations

import os

from hypothesis import settings

TIMES = float(os.environ.get("EXAMPLES") or 1)
FEWEST = 2
"""Hypothesis begins with the simplest example, which shows little."""


def examples(count: int) -> settings:
    """Return settings for a property with `count` examples in `make test`."""
    return settings(max_examples=max(FEWEST, round(count * TIMES)))
