"""Placeholders for statements that write rows directly to a store's tables."""

from __future__ import annotations


def places(columns: str) -> str:
    """Return a placeholder for each column in a list such as `a, b`, and one more for a column after the list."""
    return ", ".join("?" * (columns.count(",") + 2))
