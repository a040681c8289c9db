"""Verdicts on a day's hits once copies are known (settlement, rule D5)."""

from __future__ import annotations

from typing import Final

import numpy as np
import polars as pl

from hitmesh.model.arrays import BoolArray, I64Array, U64Array
from hitmesh.model.generations import LedgerEntry
from hitmesh.model.zones import DAY_MS
from processor.settle.inputs import DayInputs

_NO_HITS: Final[U64Array] = np.empty(0, np.uint64)


def lies_in_day(inputs: DayInputs, times: I64Array) -> BoolArray:
    """Return whether each hit lies in the day itself."""
    day = inputs.owner.day
    found: BoolArray = (times >= day * DAY_MS) & (times < (day + 1) * DAY_MS)
    return found


def erased_in_day(inputs: DayInputs) -> pl.DataFrame:
    """Return the rows of `Window.erased` that lie in the day itself."""
    erased = inputs.window.erased
    return erased.filter(pl.Series(lies_in_day(inputs, erased["event_time"].to_numpy())))


def ledger_of(hashes: U64Array, counted: int, excluded: int, erased: U64Array = _NO_HITS) -> LedgerEntry:
    """Return the ledger entry for accepted hits (rule D5).

    Args:
        hashes: the hash64 of the id of each hit that is not erased, of copies too.
        counted: how many of these hits are no copies.
        excluded: how many of the counted hits are excluded.
        erased: the hash64 of the id of each erased hit.
    """
    every = np.concatenate([hashes, erased]) if len(erased) else hashes
    return LedgerEntry(
        accepted=len(every),
        counted=counted - excluded,
        duplicate=len(hashes) - counted,
        excluded=excluded,
        sum64=int(np.add.reduce(every, dtype=np.uint64)),
        xor64=int(np.bitwise_xor.reduce(every)),
        erased=len(erased),
    )
