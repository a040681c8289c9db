"""Finds out why a recomputed site-day and the current generation have different numbers. All functions are pure.

The current generation is the old side, and the recomputed generation is the new side. The new scan also contains the
old side's hits, which lie below the offsets up to which the current generation was read. The old side's visits are
built again under the current generation's logic. The old side and the new side are then compared hit by hit. The
rebuilt visits and the rebuilt ledger must equal the stored visits and the stored ledger. If a rebuilt value differs
from the stored value, a store has lost numbers or raw hits, or hits were erased. Reasons are then not returned, because
a comparison of hits and visits cannot explain lost or erased data.

Only the same visitor's hits and visits are compared with each other. A window on disk is therefore compared by visitor
ranges, and the results (`Part`) are added up. A visitor with more hits than fit into memory is not compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from hitmesh.model.arrays import BoolArray
from hitmesh.model.change_reasons import ChangeReasons
from hitmesh.model.generations import LedgerEntry
from hitmesh.model.reprocessings import GenerationVersion
from processor.reprocess.compared_hits import Together, compared_together, of_visitors
from processor.reprocess.hit_sides import COUNTED, DUPLICATE, EXCLUDED, Side, change_reasons, side_of
from processor.settle.attempt import Attempt, Worked
from processor.settle.inputs import DayInputs
from processor.settle.site_window import SpilledWindow
from processor.settle.verdicts import NO_HITS, erased_in_day, ledger_of, lies_in_day


@dataclass(frozen=True, slots=True)
class Part:
    """The result from comparing some visitors' hits.

    Attributes:
        reasons: the reasons why the numbers differ.
        ledger: the old side's ledger entry (the current generation), built again.
        visits: how many of the old side's visits begin on the day, without excluded visits. The visits were built
            again.
    """

    reasons: ChangeReasons
    ledger: LedgerEntry
    visits: int

    def plus(self, other: Part) -> Part:
        """Return this result plus a result for other visitors."""
        return Part(self.reasons.plus(other.reasons), self.ledger.plus(other.ledger), self.visits + other.visits)


def reasons_of(
    attempt: Attempt, worked: Worked, current: GenerationVersion, visits: int | None, max_hits: int
) -> ChangeReasons | None:
    """Return the reasons why the attempt's numbers differ from the current generation's; None if they are not known.

    Args:
        attempt: the attempt that settled the site-day.
        worked: the attempt's settlement, which must not be closed yet.
        current: the current generation.
        visits: how many visits the current generation has; None if its series is no longer stored.
        max_hits: the hits are compared only if the window has at most this many, because a comparison builds their
            visits again.
    """
    old, new = attempt.inputs_before(worked.inputs), worked.inputs
    if old is None:
        return None
    together = compared_together(new)
    if not _fits(together, new, max_hits):
        return None
    is_read = new.window.positions.are_below(current.read_through)
    erased = erased_in_day(new)
    read_erased = is_read[erased["record"].to_numpy()]
    if int(read_erased.sum()) != current.ledger.erased:
        return None  # after the old side's settlement, hits of the old side were erased
    if read_erased.all() and settle_alike(old, new) and all(_are_equal(each, is_read) for each in together):
        return None  # both sides have the same hits and visits
    whole = Part(ChangeReasons(), ledger_of(NO_HITS, 0, 0, erased["hit_hash"].to_numpy()[read_erased]), 0)
    for each in together:
        whole = whole.plus(_compared(old, new, each, is_read))
    is_known = whole.ledger == current.ledger and visits in (None, whole.visits)
    joined = ChangeReasons(joined_hits=int((~read_erased).sum()))
    return whole.reasons.plus(joined) if is_known else None


def _fits(together: Sequence[Together], inputs: DayInputs, max_hits: int) -> bool:
    """Return whether there are few enough hits to compare.

    If the hits are on disk, each hit group that is compared together must also fit into memory.
    """
    if isinstance(inputs.window, SpilledWindow) and any(each.hits > inputs.memory.range_hits for each in together):
        return False
    return sum(each.hits for each in together) <= max_hits


def _are_equal(together: Together, is_read: BoolArray) -> bool:
    """Return whether the old side has read all these hits, and both sides exclude the same hits.

    `is_read` states for each record whether the old side has read the record.
    """
    records, excluded, excluded_before = together.decided()
    return bool(is_read[records].all()) and excluded.equals(excluded_before)


def _compared(old: DayInputs, new: DayInputs, together: Together, is_read: BoolArray) -> Part:
    """Compare all hits from some visitors. `is_read` states for each record whether the old side has read it."""
    after, excluded_before = together.rows()
    before = after.with_columns(excluded_before.alias("excluded"))
    visitors, read = after["visitor_lo"].to_numpy(), is_read[after["record"].to_numpy()]
    return part_of(of_visitors(old, visitors), of_visitors(new, visitors), before, after, read)


def part_of(old: DayInputs, new: DayInputs, before: pl.DataFrame, after: pl.DataFrame, read: BoolArray) -> Part:
    """Compare all hits from some visitors. All these visitors' hits in the window must be given.

    Args:
        old: the old side's inputs; its window is not used.
        new: the new side's inputs; its window is not used.
        before: the hits with the window's columns (n,), excluded as the old side decides.
        after: the same hits (n,), excluded as the new side decides.
        read: (n,) whether the old side has read each hit.
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
    """Return whether both inputs produce the same visits from the same hits."""
    if (inputs.policy, inputs.carried_policy) != (others.policy, others.carried_policy):
        return False
    if inputs.carry is None or others.carry is None:
        return inputs.carry is others.carry
    return inputs.carry.hands_on_the_same(others.carry)


def _ledger(inputs: DayInputs, hits: pl.DataFrame, side: Side, read: BoolArray) -> LedgerEntry:
    of_day = read & lies_in_day(inputs, hits["event_time"].to_numpy())
    outcome = side.outcome[of_day]
    excluded = int((outcome == EXCLUDED).sum())
    counted = int((outcome == COUNTED).sum())
    assert len(outcome) == excluded + counted + int((outcome == DUPLICATE).sum())
    return ledger_of(hits["hit_hash"].to_numpy()[of_day], counted + excluded, excluded)
