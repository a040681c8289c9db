"""Adds up the results from a large site-day's visitor ranges."""

from __future__ import annotations

import numpy as np
import polars as pl

from hitmesh.model.arrays import BoolArray, U64Array
from hitmesh.model.rows.rollup_rows import HIT_DIMENSIONS, RowSource
from processor.rules.carry import Carry, no_open_visits
from processor.rules.rollups import DIMS, copy_contributions, hit_contributions, refusal_contributions, with_texts
from processor.rules.visits import TIMELINE
from processor.settle.built import Built, counted, full_refunds, is_complete
from processor.settle.inputs import DayInputs
from processor.settle.rows import Contributions, SettledRows
from processor.settle.verdicts import NO_HITS, erased_in_day, ledger_of, lies_in_day
from processor.settle.window import chosen


class RangeSums:
    """The sums over all ranges in a site-day, and the ranges' contributions to rows.

    Args:
        inputs: the settlement's inputs.

    Attributes:
        ledger: the ledger entry for all erased hits, and for the hits that were added so far.
        followed: a digest over the day's hits in carried-in visits.
        full_refunds: the sum (micros) that refunds took from their orders.
        complete: whether all visits end before `DayInputs.known_until`.
    """

    def __init__(self, inputs: DayInputs) -> None:
        self.ledger = ledger_of(NO_HITS, 0, 0, erased_in_day(inputs)["hit_hash"].to_numpy())
        self.followed = 0
        self.full_refunds = 0
        self.complete = True
        self._inputs = inputs
        self._follows = 0
        self._open_visits = [no_open_visits()]
        self._traffic = Contributions(RowSource.TRAFFIC, inputs.owner, inputs.memory, inputs.lg_k)
        self._visits = Contributions(RowSource.VISITS, inputs.owner, inputs.memory, inputs.lg_k)
        if inputs.rejected:
            self._traffic.add(refusal_contributions(inputs.rejected))

    def accept(self, hits: pl.DataFrame, is_copy: BoolArray) -> None:
        """Add the day's accepted hits to the ledger, and the copies among these hits to the rows."""
        of_day = lies_in_day(self._inputs, hits["event_time"].to_numpy())
        hashes: U64Array = hits["hit_hash"].to_numpy()[of_day]
        copies = chosen(hits, of_day & is_copy)
        excluded = int((of_day & ~is_copy & hits["excluded"].to_numpy()).sum())
        self.ledger = self.ledger.plus(ledger_of(hashes, len(hashes) - copies.height, excluded))
        if copies.height:
            self._traffic.add(copy_contributions(copies, HIT_DIMENSIONS))

    def add(self, built: Built) -> None:
        """Add visits and these visits' hits."""
        inputs = self._inputs
        day = counted(built)
        for part in hit_contributions(day.hits, (*HIT_DIMENSIONS, DIMS)):
            self._traffic.add(with_texts(part, day.texts))
        self._visits.add(with_texts(day.visits, day.texts))
        self._open_visits.append(built.open_visits)
        self._follows = (self._follows + built.follows) % 2**64
        self.followed = (self.followed + built.followed) % 2**64
        self.full_refunds += full_refunds(built)
        self.complete &= is_complete(built, inputs)

    def carry(self) -> Carry:
        """Return the carry for the next day."""
        return Carry(pl.concat(self._open_visits).sort(TIMELINE), self._follows)

    def rows(self) -> SettledRows:
        """Fold all contributions into rows, after all hits and visits have been added."""
        return SettledRows(self._traffic.folded(), self._visits.folded())


def carried_by(carry: Carry, visitors: U64Array) -> pl.DataFrame:
    """Return the carry's visits that belong to the given visitors (visitor_lo)."""
    return carry.open_visits.filter(pl.Series(np.isin(carry.open_visits["visitor_lo"].to_numpy(), visitors)))
