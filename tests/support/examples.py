"""The number of examples of a property is the number in the test times the environment variable EXAMPLES.

`make test` tries few examples, to be fast. `make test-long` sets EXAMPLES, so that properties try many more examples.
"""

from __future__ import annotations

import os

from hypothesis import settings

TIMES = float(os.environ.get("EXAMPLES") or 1)
FEWEST = 2
"""Minimum number of examples of a property.

Hypothesis tries the simplest example first, and the simplest example rarely finds a fault.
"""


def examples(count: int) -> settings:
    """Return the Hypothesis settings for a property that tries `count` examples in `make test`."""
    return settings(max_examples=max(FEWEST, round(count * TIMES)))
