"""hitmesh: collects hits, turns them into visits and time series, answers typed questions about them."""

from __future__ import annotations

__version__ = "0.1.0"
