"""Store openers for contract tests (each call acts like another process), and the tests' time."""

from __future__ import annotations

from collections.abc import Callable

from hitmesh.adapters.factory import Stores

NOON = 1_750_000_000_000
Opener = Callable[[], Stores]
