"""Texts that have the same hash64: what anybody finds within a minute, and then sends (rule D0)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

_GOLDEN: Final = Path(__file__).parent / "golden" / "hash64_twins.json"
TWINS: Final[tuple[tuple[str, ...], ...]] = tuple(map(tuple, json.loads(_GOLDEN.read_text())["twins"]))

PATHS: Final = TWINS[0]
"""Two paths of at most 60 characters; ids of hits and orders, names and products too."""
SOURCES: Final = TWINS[1]
"""A source, and a link that stands for it."""
IDS: Final = TWINS[2]
"""Two ids of at most 60 characters."""
