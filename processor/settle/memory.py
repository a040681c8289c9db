"""Limits on a settlement's memory, and the pauses between its portions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hitmesh.model.checkpoints import Checkpoint, unwatched


@dataclass(frozen=True, slots=True)
class SettleMemory:
    """Limits on the memory that a settlement uses. The settlement's numbers do not depend on these limits.

    Attributes:
        range_hits: a site-day with more hits than this is settled in visitor ranges. Each range has at most this many
            hits. While a range is settled, each of its hits takes 2 to 3 KB.
        groups_log2: while hits are read, visitors are divided into 2**groups_log2 groups.
        scratch: a directory on a local disk for hits and rows from a site-day that is settled in ranges; None = the
            system's directory for temporary files. No file outlives the process.
        rest: a function that is called between work portions. The function may pause the thread
            (processor.settle.rests).
    """

    range_hits: int = 250_000
    groups_log2: int = 6
    scratch: Path | None = None
    rest: Checkpoint = unwatched


DEFAULT_MEMORY = SettleMemory()
