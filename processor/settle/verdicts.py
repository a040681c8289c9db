"""Decides orders, disturbed days and the ledger entry after the copies are found (rules D1 to D5, L4)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
import polars as pl

from hitmesh.model.arrays import BoolArray, I64Array, U64Array
from hitmesh.model.generations import LedgerEntry
from hitmesh.model.hit_types import HitType
from hitmesh.model.positions import PartitionId
from hitmesh.model.zones import DAY_MS
from processor.rules.copies import Copies
from processor.rules.orders import HitAt, OrderVerdicts, decide_orders
from processor.rules.refunds import claims_refund
from processor.settle.inputs import DayInputs
from processor.settle.record_positions import RecordPositions

NO_HITS: Final[U64Array] = np.empty(0, np.uint64)


def lies_in_day(inputs: DayInputs, times: I64Array) -> BoolArray:
    """Return a boolean array: True for hits whose event time is on the settled day."""
    day = inputs.owner.day
    found: BoolArray = (times >= day * DAY_MS) & (times < (day + 1) * DAY_MS)
    return found


def decided_orders(inputs: DayInputs, hits: pl.DataFrame, is_copy: BoolArray) -> OrderVerdicts:
    """Decide the orders and refunds in the window.

    `is_copy` is used only for hits from the day's start to `known_until`. Other hits' claims keep their stored
    duplicate flags.

    Args:
        inputs: the settlement's inputs.
        hits: the hits that may have claims, with `CLAIMING_COLUMNS` or `WINDOW_COLUMNS` (n,). Hits that are neither
            orders nor refunds are ignored.
        is_copy: whether each hit is a copy (n,).
    """
    known = pl.col("event_time").is_between(inputs.owner.day * DAY_MS, inputs.known_until, closed="left")
    claiming = (pl.col("hit_type") == HitType.ORDER) | claims_refund()
    rows = hits.with_columns(pl.Series("is_copy", is_copy)).filter(known & claiming)
    duplicates = dict(zip(places(rows, inputs.window.positions), rows["is_copy"].to_list(), strict=True))
    return decide_orders(
        inputs.claims,
        inputs.owner.day,
        duplicates,
        inputs.read_through,
        inputs.refund_days,
        inputs.excluded_before,
    )


def disturbed_days(inputs: DayInputs, hits: pl.DataFrame, copies: Copies) -> frozenset[int]:
    """Return the neighbouring days that have a copy of a hit that is new on the settled day.

    A hit is new if the current generation has not read the hit. Nearly always, a visitor's hits are in one partition
    and are read in log order, so an older hit is never a copy of a new hit. If the log changes, or if the site's hits
    are spread over other partitions than before, a visitor's hits are in two partitions (architecture A4). An older hit
    may then be a copy of a new hit.
    """
    day = inputs.owner.day
    days = hits["event_time"].to_numpy() // DAY_MS
    neighbours = np.flatnonzero(copies.is_copy & (days != day) & (days[copies.original] == day))
    originals = hits["record"].to_numpy()[copies.original[neighbours]]
    disturbed = set()
    for neighbour, record in zip(days[neighbours].tolist(), originals.tolist(), strict=True):
        log, partition, offset = inputs.window.positions[record]
        if offset >= inputs.read_through.get(PartitionId(log, partition), 0):
            disturbed.add(neighbour)
    return frozenset(disturbed)


def erased_in_day(inputs: DayInputs) -> pl.DataFrame:
    """Return the rows in `Window.erased` whose event time is on the settled day."""
    erased = inputs.window.erased
    return erased.filter(pl.Series(lies_in_day(inputs, erased["event_time"].to_numpy())))


def ledger_of(hashes: U64Array, counted: int, excluded: int, erased: U64Array = NO_HITS) -> LedgerEntry:
    """Return the ledger entry for accepted hits (rule D5).

    Args:
        hashes: each hit id's hash64. Copies are included, but erased hits are not included.
        counted: how many of these hits are not copies.
        excluded: how many counted hits are excluded.
        erased: the erased hits' ids as hash64.
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


def places(hits: pl.DataFrame, positions: RecordPositions) -> Iterator[HitAt]:
    """Yield the position of each hit's record, and the hit's row in that record."""
    for record, row in zip(hits["record"].to_list(), hits["row"].to_list(), strict=True):
        yield positions[record], row
