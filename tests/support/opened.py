"""Stores that contract tests open, as another process would, and the time at which they do."""

from __future__ import annotations

from collections.abc import Callable

from hitmesh.adapters.factory import Stores

NOON = 1_750_000_000_000
Opener = Callable[[], Stores]
