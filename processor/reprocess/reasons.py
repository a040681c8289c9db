"""Find out why the numbers of a recomputed site-day differ from the current generation's. Pure.

The current generation's hits are known: they are the hits of the new scan that lie below the offsets through which the
current generation was read. The visits of these hits are built again under the current generation's logic, and both
sides are compared hit by hit. The result counts only if the visits and the ledger that are built again equal the stored
numbers; otherwise a store lost numbers or raw hits, or hits were erased, and hits and visits do not explain the
difference.

Everything that is compared belongs to one visitor. A window may therefore be compared in ranges of visitors: `Part`
adds up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl

from hitmesh.model.arrays import BoolArray, U64Array
from hitmesh.model.change_reasons import ChangeReasons
from hitmesh.model.generations import LedgerEntry
from hitmesh.model.positions import PartitionId
from hitmesh.model.reprocessings import GenerationVersion
from processor.reprocess.hit_sides import COUNTED, DUPLICATE, EXCLUDED, Side, change_reasons, side_of
from processor.settle.attempt import Attempt, Worked
from processor.settle.inputs import DayInputs
from processor.settle.verdicts import erased_in_day, ledger_of, lies_in_day
from processor.settle.window import Window

_NO_HITS: Final[U64Array] = np.empty(0, np.uint64)


@dataclass(frozen=True, slots=True)
class Part:
    """The comparison of some visitors' hits.

    Attributes:
        reasons: why the numbers differ.
        ledger: the ledger entry of the old side, built again.
        visits: the old side's visits of the day, built again, without excluded hits.
    """

    reasons: ChangeReasons
    ledger: LedgerEntry
    visits: int

    def plus(self, other: Part) -> Part:
        """Return the comparison of both visitors' hits."""
        return Part(self.reasons.plus(other.reasons), self.ledger.plus(other.ledger), self.visits + other.visits)


def reasons_of(
    attempt: Attempt, worked: Worked, current: GenerationVersion, visits: int | None, max_hits: int
) -> ChangeReasons | None:
    """Return why the attempt's numbers differ from the current generation's; None if the reasons are not known.

    Args:
        attempt: the attempt that settled the site-day.
        worked: its settlement.
        current: the current generation.
        visits: the current generation's visits; None if its series is no longer stored.
        max_hits: the maximum number of hits in the window, because the comparison builds their visits again.
    """
    old, new = attempt.inputs_before(worked.inputs), worked.inputs
    if old is None or new.window.rows.height > max_hits:
        return None
    rows, erased = new.window.rows, erased_in_day(new)
    read, read_erased = (_read_by(current, new.window, hits) for hits in (rows, erased))
    if int(read_erased.sum()) != current.ledger.erased:
        return None  # the old side has visits of hits that are erased since
    before = _with_rules_before(new.window)
    if read.all() and read_erased.all() and settle_alike(old, new) and before["excluded"].equals(rows["excluded"]):
        return None  # both sides are equal
    whole = part_of(old, new, before, rows, read)
    of_erased = ledger_of(_NO_HITS, 0, 0, erased["hit_hash"].to_numpy()[read_erased])
    is_known = whole.ledger.plus(of_erased) == current.ledger and visits in (None, whole.visits)
    joined = ChangeReasons(joined_hits=int((~read_erased).sum()))
    return whole.reasons.plus(joined) if is_known else None


def part_of(old: DayInputs, new: DayInputs, before: pl.DataFrame, after: pl.DataFrame, read: BoolArray) -> Part:
    """Compare hits; all hits of their visitors must be among them.

    Args:
        old: the inputs of the old side; its window is not used.
        new: the inputs of the new side; its window is not used.
        before: the window's columns (n,), excluded as the old side decides.
        after: the same hits (n,), excluded as the new side decides.
        read: (n,) which of the hits the old side has read.
    """
    new_side = side_of(new, after, np.ones(after.height, np.bool_))
    is_copy = new_side.outcome == DUPLICATE if read.all() else None
    old_side = side_of(old, before, read, is_copy, new_side.followed)
    return Part(
        change_reasons(after, lies_in_day(new, after["event_time"].to_numpy()), new_side.end, old_side, new_side),
        _ledger(old, before, old_side, read),
        old_side.begun,
    )


def settle_alike(inputs: DayInputs, others: DayInputs) -> bool:
    """Return whether both inputs give the same visits for the same hits."""
    if (inputs.policy, inputs.carried_policy) != (others.policy, others.carried_policy):
        return False
    if inputs.carry is None or others.carry is None:
        return inputs.carry is others.carry
    return inputs.carry.hands_on_the_same(others.carry)


def _with_rules_before(window: Window) -> pl.DataFrame:
    """Return the window's hits, excluded under the exclusion rules of the current generations."""
    excluded = window.excluded_before
    return window.rows if excluded is None else window.rows.with_columns(excluded)


def _read_by(current: GenerationVersion, window: Window, hits: pl.DataFrame) -> BoolArray:
    """Return (n,) which of the window's hits or erased hits the current generation has read."""
    through = current.read_through
    of_record = [offset < through.get(PartitionId(log, partition), 0) for log, partition, offset in window.positions]
    read: BoolArray = np.array(of_record, np.bool_)[hits["record"].to_numpy()]
    return read


def _ledger(inputs: DayInputs, hits: pl.DataFrame, side: Side, read: BoolArray) -> LedgerEntry:
    of_day = read & lies_in_day(inputs, hits["event_time"].to_numpy())
    outcome = side.outcome[of_day]
    excluded = int((outcome == EXCLUDED).sum())
    counted = int((outcome == COUNTED).sum())
    assert len(outcome) == excluded + counted + int((outcome == DUPLICATE).sum())
    return ledger_of(hits["hit_hash"].to_numpy()[of_day], counted + excluded, excluded)
