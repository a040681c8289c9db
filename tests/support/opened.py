"""The time at which the contract tests take place.

This module also defines the type of functions that open a store like another process.
"""

from __future__ import annotations

from collections.abc import Callable

from hitmesh.adapters.factory import Stores

NOON = 1_750_000_000_000
Opener = Callable[[], Stores]
