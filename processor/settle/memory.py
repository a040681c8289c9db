"""The limits that bound a settlement's memory, and the rests between its portions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hitmesh.model.checkpoints import Checkpoint, unwatched


@dataclass(frozen=True, slots=True)
class SettleMemory:
    """The limits that bound a settlement's memory. No number in a settlement depends on them.

    Attributes:
        range_hits: a site-day with more hits is settled in ranges of visitors with at most this many hits each. A hit
            takes 2 to 3 KB while its range is settled.
        groups_log2: binary logarithm of the number of groups into which visitors are divided while the hits are read.
        scratch: directory on a local disk for the hits and rows of such a site-day; None = the system's directory for
            temporary files. No file outlives the process.
        rest: called between portions of the work; may pause the thread (processor.settle.rests).
    """

    range_hits: int = 250_000
    groups_log2: int = 6
    scratch: Path | None = None
    rest: Checkpoint = unwatched


DEFAULT_MEMORY = SettleMemory()
