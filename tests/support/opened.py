"""The present time in contract tests, and the type of functions that open a store.

A function of type `Opener` opens the same store again, as another process would.
"""

from __future__ import annotations

from collections.abc import Callable

from hitmesh.adapters.factory import Stores

NOON = 1_750_000_000_000
Opener = Callable[[], Stores]
