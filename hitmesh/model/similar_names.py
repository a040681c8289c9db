"""Suggest known names for a name that does not exist, for error messages. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(name: str, known: Iterable[str]) -> str:
    """Return "did you mean …?" with up to three similar names, or "use one of …" with all names if none is similar.

    Example:
        >>> nearest("visit", ["visits", "hits"]), nearest("x", ["visits", "hits"])
        ('did you mean visits?', 'use one of visits, hits')
    """
    names = list(known)
    near = _similar(name, names)
    return f"did you mean {' or '.join(near)}?" if near else f"use one of {', '.join(names)}"


def similar(name: str, known: Iterable[str]) -> str:
    """Return up to three similar names, the nearest first, with ", " between names; empty if no name is similar.

    Example:
        >>> similar("Visit", ["visits", "channel"]), similar("x", ["visits"])
        ('visits', '')
    """
    return ", ".join(_similar(name, list(known)))


def _similar(name: str, names: list[str]) -> list[str]:
    return difflib.get_close_matches(name[:64].lower(), names, n=3, cutoff=0.5)
