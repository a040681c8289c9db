"""Different texts that have the same hash64.

A sender can find two texts with the same hash64 within a minute (rule D0).
"""

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
"""Two paths with the same hash64, of at most 60 characters.

Tests also use the two texts as hit ids, order ids, names and products.
"""
SOURCES: Final = TWINS[1]
"""A source, and a link that has the same hash64."""
IDS: Final = TWINS[2]
"""Two ids of at most 60 characters that have the same hash64."""
TEXTS: Final = ("page_path", "hostname", "source", "referrer_host", "event_name", "product")
"""Fields of a hit whose text the client chooses, except ids."""


def with_twins(hit: RefHit, dice: Random, names: Sequence[str] = TEXTS) -> RefHit:
    """Return a copy of the hit. In each named field that the hit has, a random text of TWINS replaces the value."""
    fields = {name: dice.choice(dice.choice(TWINS)) for name in names if getattr(hit, name) is not None}
    return replace(hit, **fields)  # type: ignore[arg-type]  # fields of RefHit
