"""Verdicts on a day's hits once copies are known (settlement, rule D5)."""

from __future__ import annotations

import numpy as np

from hitmesh.model.arrays import BoolArray, I64Array, U64Array
from hitmesh.model.generations import LedgerEntry
from hitmesh.model.zones import DAY_MS
from processor.settle.inputs import DayInputs


def lies_in_day(inputs: DayInputs, times: I64Array) -> BoolArray:
    """Return whether each hit lies in the day itself."""
    day = inputs.owner.day
    found: BoolArray = (times >= day * DAY_MS) & (times < (day + 1) * DAY_MS)
    return found


def ledger_of(hashes: U64Array, counted: int, excluded: int) -> LedgerEntry:
    """Return the ledger entry for accepted hits (rule D5).

    Args:
        hashes: the hash64 of each id, of copies too.
        counted: how many of the hits are no copies.
        excluded: how many of these are excluded.
    """
    return LedgerEntry(
        accepted=len(hashes),
        counted=counted - excluded,
        duplicate=len(hashes) - counted,
        excluded=excluded,
        sum64=int(np.add.reduce(hashes, dtype=np.uint64)),
        xor64=int(np.bitwise_xor.reduce(hashes)),
    )
