"""Texts that have the same hash64: what anybody finds within a minute, and then sends (rule D0)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Final

from tests.reference.hits import RefHit

_GOLDEN: Final = Path(__file__).parents[1] / "golden" / "hash64_twins.json"
TWINS: Final[tuple[tuple[str, ...], ...]] = tuple(map(tuple, json.loads(_GOLDEN.read_text())["twins"]))

PATHS: Final = TWINS[0]
"""Two paths of at most 60 characters; ids of hits and orders, names and products too."""
SOURCES: Final = TWINS[1]
"""A source, and a link that stands for it."""
IDS: Final = TWINS[2]
"""Two ids of at most 60 characters."""
TEXTS: Final = ("page_path", "hostname", "source", "referrer_host", "event_name", "product")
"""Fields whose text a client chooses, but for ids."""


def with_twins(hit: RefHit, dice: Random, names: Sequence[str] = TEXTS) -> RefHit:
    """Return a hit whose fields, where it has them, share a hash64 with those of other such hits."""
    fields = {name: dice.choice(dice.choice(TWINS)) for name in names if getattr(hit, name) is not None}
    return replace(hit, **fields)  # type: ignore[arg-type]  # fields of RefHit
