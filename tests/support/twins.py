"""Texts with equal hash64. A sender can find such texts within a minute (rule D0)."""

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
"""Two paths of at most 60 characters, also used as hit ids, order ids, names and products."""
SOURCES: Final = TWINS[1]
"""A source, and a link with the same hash64."""
IDS: Final = TWINS[2]
"""Two ids of at most 60 characters."""
TEXTS: Final = ("page_path", "hostname", "source", "referrer_host", "event_name", "product")
"""Fields with client-chosen text, except ids."""


def with_twins(hit: RefHit, dice: Random, names: Sequence[str] = TEXTS) -> RefHit:
    """Return the hit with each present field replaced by a text that shares a hash64 with those in other such hits."""
    fields = {name: dice.choice(dice.choice(TWINS)) for name in names if getattr(hit, name) is not None}
    return replace(hit, **fields)  # type: ignore[arg-type]  # fields of RefHit
