"""A settlement in ranges of visitors and pieces of time equals the settlement at once, whatever the limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hitmesh.model.logic import LOGICS, Logic
from hitmesh.model.rows.row_digest import RowDigest
from processor.settle.drift import drift_of
from processor.settle.inputs import DayInputs
from processor.settle.memory import SettleMemory
from processor.settle.ranges import settle
from processor.settle.rows import Portions
from processor.settle.series import settled_series
from processor.settle.settlement import Settled
from processor.settle.spill import Spill
from processor.settle.window import SpilledWindow, Window, visitor_groups
from tests.generate.strategies import MIDNIGHT_MS, policies, ref_hits
from tests.reference.hits import RefHit
from tests.reference.visits import RefPolicy
from tests.support.examples import examples
from tests.support.small_mesh import PARTITIONS, SmallMesh

SITE = "merchants/demo/sites/alpha"
NOW = MIDNIGHT_MS + 86_400_000
SEEDS = st.integers(0, 2**16)
ANY_LOGIC = st.sampled_from(LOGICS)
MEMORIES = st.builds(SettleMemory, range_hits=st.integers(1, 12), groups_log2=st.integers(0, 3))
FEW = examples(8)


def on_disk(window: Window, memory: SettleMemory) -> SpilledWindow:
    """Return the window as `read_window` returns a window beyond the limit."""
    spill = Spill(memory.scratch, buffered_rows=3)
    for begin in range(0, window.rows.height, 2):
        rows = window.rows[begin : begin + 2]
        spill.add(rows, visitor_groups(rows, memory.groups_log2))
    return SpilledWindow(spill, window.positions, window.claiming, window.start, window.end)


def in_order(portions: Portions) -> pl.DataFrame:
    rows = pl.concat(portions)
    return rows.sort(rows.columns)


def assert_same(ranged: Settled, whole: Settled) -> None:
    for source in ("traffic", "visits"):
        found = list(getattr(ranged.rows, source))
        if found:
            cells = [cell for portion in found for cell in (portion["cell"].min(), portion["cell"].max())]
            assert cells == sorted(cells)
            assert in_order(found).equals(in_order(getattr(whole.rows, source)))
        else:
            assert getattr(whole.rows, source).height == 0
    assert ranged.rows.height == whole.rows.height
    assert ranged.carry.open_visits.equals(whole.carry.open_visits)
    assert ranged.carry.followed == whole.carry.followed
    nothing = {"rows": None, "carry": None}
    assert replace(ranged, **nothing) == replace(whole, **nothing)  # type: ignore[arg-type]  # compared above
    digest = RowDigest(b"secret")
    series = settled_series(whole.rows, digest)
    assert settled_series(ranged.rows, digest).equals(series)
    assert drift_of(ranged.rows, series, digest) == drift_of(whole.rows, series, digest)


def check_every_settlement(
    monkeypatch: pytest.MonkeyPatch,
    hits: Sequence[RefHit],
    policy: RefPolicy,
    dice: Random,
    logic: Logic,
    memory: SettleMemory,
) -> None:
    """Settle the hits in two rounds; compare each settlement, with and without a carry, under each logic."""
    compared, failures = 0, []

    def both(inputs: DayInputs) -> Settled:
        nonlocal compared
        assert isinstance(inputs.window, Window)
        whole = settle(inputs)
        ranged = settle(replace(inputs, window=on_disk(inputs.window, memory), memory=memory))
        compared += 1
        try:
            assert_same(ranged, whole)
        except AssertionError as failure:
            failures.append(failure)  # the settler would put the site-day off
        return whole

    with monkeypatch.context() as patched:
        patched.setattr("processor.settle.attempt.settle", both)
        mesh = SmallMesh(NOW, policy, {hit.site for hit in hits}, logic)
        for part in (hits[::2], hits[1::2]):
            start = 0
            while start < len(part):
                end = start + dice.randint(1, 20)
                mesh.send(part[start:end], dice.randrange(PARTITIONS), collected_at=NOW - dice.choice((0, 86_400_000)))
                start = end
            mesh.settle()
            mesh.change_logic(dice.choice(LOGICS))
            for failure in failures:
                raise failure
    assert compared or not hits


@pytest.mark.timeout(120)
@FEW
@given(hits=ref_hits(), policy=policies(), seed=SEEDS, logic=ANY_LOGIC, memory=MEMORIES)
def test_ranges_of_visitors_settle_as_all_hits_at_once(
    hits: list[RefHit], policy: RefPolicy, seed: int, logic: Logic, memory: SettleMemory
) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        check_every_settlement(monkeypatch, hits, policy, Random(seed), logic, memory)


@pytest.mark.timeout(120)
@FEW
@given(hits=ref_hits(max_hits=120), policy=policies(), seed=SEEDS, logic=ANY_LOGIC, memory=MEMORIES)
def test_pieces_of_one_visitor_settle_as_all_hits_at_once(
    hits: list[RefHit], policy: RefPolicy, seed: int, logic: Logic, memory: SettleMemory
) -> None:
    one = [replace(hit, visitor="one", site=SITE) for hit in hits]
    with pytest.MonkeyPatch.context() as monkeypatch:
        check_every_settlement(monkeypatch, one, policy, Random(seed), logic, memory)
