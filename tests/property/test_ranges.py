"""If a day is settled in ranges of visitors and pieces of time, with any limits, the result is as in a single pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from random import Random
from typing import Final

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hitmesh.adapters.memory.raw import MemoryRawStore
from hitmesh.model.claims import ClaimKind, OrderClaim
from hitmesh.model.keys import hash64
from hitmesh.model.limits import CELL_MS, DERIVED_FROM_MS, FOLLOWED_MS
from hitmesh.model.logic import LOGICS
from hitmesh.model.positions import PartitionId, Position
from hitmesh.model.reasons import HitFlag
from hitmesh.model.rows.row_digest import RowDigest
from hitmesh.model.zones import DAY_MS
from hitmesh.ports import RawStore
from processor.rules.carry import Carry
from processor.rules.day_rules import DayRules, with_excluded
from processor.rules.rollups import RowOwner
from processor.settle.claims_excluded import decided_claims
from processor.settle.drift import drift_of
from processor.settle.inputs import DayInputs
from processor.settle.memory import SettleMemory
from processor.settle.ranges import settle
from processor.settle.record_positions import RecordPositions
from processor.settle.rows import Portions
from processor.settle.series import settled_series
from processor.settle.settlement import Settled
from processor.settle.site_window import SpilledWindow, Window, visitor_groups, with_excluded_before
from processor.settle.spill import Spill
from processor.settle.window import WINDOW_COLUMNS
from tests.generate.strategies import MIDNIGHT_MS, policies, ref_hits
from tests.reference.hits import RefHit
from tests.reference.visits import RefPolicy
from tests.support.examples import examples
from tests.support.small_mesh import hit_rows, visit_policy

SITE: Final = "merchants/demo/sites/alpha"
SEEDS = st.integers(0, 2**16)
MEMORIES = st.builds(SettleMemory, range_hits=st.integers(1, 8), groups_log2=st.integers(0, 2))
FEW = examples(6)
_FIRST_DAY: Final = MIDNIGHT_MS // DAY_MS - 1


def a_window(hits: Sequence[RefHit], dice: Random) -> Window:
    """Return the hits as a window that was read from records of up to four hits in several partitions."""
    positions = RecordPositions()
    records: list[int] = []
    rows: list[int] = []
    while len(records) < len(hits):
        for row in range(min(dice.randint(1, 4), len(hits) - len(records))):
            records.append(len(positions))
            rows.append(row)
        positions.add(Position("log", dice.randrange(3), len(positions)))
    columns = (
        hit_rows(hits)
        .rename({"utm_campaign": "campaign"})
        .with_columns(
            pl.Series("excluded", [hit.excluded for hit in hits], pl.Boolean),
            (pl.col("event_time") + DAY_MS).alias("log_time"),
            pl.Series("record", records, pl.Int64),
            pl.Series("row", rows, pl.Int64),
        )
    )
    return Window(columns.select(*WINDOW_COLUMNS), positions, 0, 2**62)


def ruled(window: Window, dice: Random) -> Window:
    """Return the window with random exclusions. Current rules cause some exclusions, and earlier rules cause others."""
    by_rule = [dice.random() < 0.3 for _ in range(window.rows.height)]
    flags = pl.when(pl.Series(by_rule, dtype=pl.Boolean)).then(int(HitFlag.RULE_PAGE)).otherwise(0)
    flags = pl.when(pl.col("excluded")).then(int(HitFlag.BOT_UA)).otherwise(flags)
    rows = window.rows.with_columns(flags.cast(pl.UInt32).alias("flags")).pipe(with_excluded)
    before = [dice.random() < 0.3 for _ in range(rows.height)]
    excluded_before = pl.Series("excluded", before, pl.Boolean) | window.rows["excluded"]
    return replace(window, rows=rows, excluded_before=excluded_before, not_applicable=dice.randrange(5))


def under_rules(inputs: DayInputs, raw: RawStore) -> DayInputs:
    """Return the inputs of a settlement after the exclusion rules changed from version 1 to version 2.

    The change affects two inputs: the claims on orders and refunds, and the hits that version 1 excluded.
    """
    before, after = (DayRules(versions={inputs.owner.day: version}) for version in (1, 2))
    claims, excluded_before = decided_claims(inputs.claims, inputs.window, inputs.owner.day, before, after, raw)
    return replace(inputs, claims=claims, excluded_before=excluded_before)


def claims_of(window: Window) -> list[OrderClaim]:
    """Return the claims on orders and refunds that the stream stores for the window's hits."""
    claims = []
    for hit in window.rows.iter_rows(named=True):
        kind, claimed = ClaimKind.ORDER, hit["order_id"]
        if hit["refund_id"]:
            kind, claimed = ClaimKind.REFUND, hit["refund_id"]
        if claimed and (kind is ClaimKind.REFUND or hit["total"] is not None):
            claims.append(
                OrderClaim(
                    SITE, claimed, hit["log_time"], window.positions[hit["record"]], hit["row"], hit["visitor_hi"],
                    hit["visitor_lo"], hit["hit_id"], hit["event_time"] // DAY_MS, hit["excluded"], kind=kind,
                    total=hit["total"], currency=hit["currency"] or "",
                )
            )  # fmt: skip
    return claims


def some_erased(begin: int, dice: Random) -> pl.DataFrame:
    """Return random erased hits of the day that begins at `begin`, and of the two adjacent days."""
    rows = [(begin + dice.randint(-1, 1) * DAY_MS, dice.getrandbits(64), 0) for _ in range(dice.randrange(4))]
    schema = {name: WINDOW_COLUMNS[name] for name in ("event_time", "hit_hash", "record")}
    return pl.DataFrame(rows, schema=schema, orient="row")


def on_disk(window: Window, memory: SettleMemory) -> SpilledWindow:
    """Return the window on disk, as `read_window` does if a window exceeds the limit."""
    spill = Spill(memory.scratch, buffered_rows=5)
    everything = with_excluded_before(window.rows, window.excluded_before)
    for begin in range(0, window.rows.height, 3):
        rows = everything[begin : begin + 3]
        spill.add(rows, visitor_groups(rows, memory.groups_log2))
    claiming, applicable = window.claiming, window.not_applicable
    return SpilledWindow(spill, window.positions, claiming, window.start, window.end, window.erased, applicable)


def check_days(hits: Sequence[RefHit], policy: RefPolicy, seed: int, memory: SettleMemory) -> None:
    """Check that three days get the same result when settled as a whole and when settled in ranges.

    A day may start with the carry, which is the open visits of the previous day. Logic and rules are random.
    """
    dice = Random(seed)
    window, logic = a_window(hits, dice), dice.choice(LOGICS)
    carry: Carry | None = None
    for day in range(_FIRST_DAY, _FIRST_DAY + 3):
        begin, end = day * DAY_MS, (day + 1) * DAY_MS
        times = pl.col("event_time").is_between(begin - DERIVED_FROM_MS * 2, end + 2 * FOLLOWED_MS)
        before, logic = logic, dice.choice(LOGICS)
        some_rejected: dict[int, int] = {begin: 2, end - CELL_MS: 1}
        inputs = DayInputs(
            owner=RowOwner(SITE, day, 7),
            policy=logic.policy(visit_policy(policy)),
            zone=policy.midnight_zone,
            window=ruled(replace(window, rows=window.rows.filter(times), erased=some_erased(begin, dice)), dice),
            known_until=end + dice.choice((0, FOLLOWED_MS)),
            carry=carry,
            claims=claims_of(window),
            rejected=some_rejected if dice.random() < 0.5 else {},
            read_through={PartitionId("log", number): dice.randrange(5) for number in range(3)},
            lg_k=dice.choice((4, 12)),
            carried_policy=None if before == logic else before.policy(visit_policy(policy)),
            memory=memory,
        )
        assert isinstance(inputs.window, Window)
        ranged = replace(inputs, window=on_disk(inputs.window, memory))
        inputs, ranged = under_rules(inputs, MemoryRawStore()), under_rules(ranged, MemoryRawStore())
        assert (ranged.claims, ranged.excluded_before) == (inputs.claims, inputs.excluded_before)
        whole = settle(inputs)
        assert_same(settle(ranged), whole)
        carry = whole.carry if dice.random() < 0.8 else None


def assert_same(ranged: Settled, whole: Settled) -> None:
    for found, expected in ((ranged.rows.traffic, whole.rows.traffic), (ranged.rows.visits, whole.rows.visits)):
        cells = [portion["cell"] for portion in found]
        assert all(left.max() <= right.min() for left, right in pairwise(cells))  # type: ignore[operator]  # cells are numbers
        assert (found.height, sum(portion.height for portion in found)) == (expected.height, expected.height)
        if cells:
            assert in_order(found).equals(in_order(expected))
    assert ranged.carry.open_visits.equals(whole.carry.open_visits)
    assert ranged.carry.followed == whole.carry.followed
    nothing = {"rows": None, "carry": None}
    assert replace(ranged, **nothing) == replace(whole, **nothing)  # type: ignore[arg-type]  # compared above
    digest = RowDigest(b"secret")
    series = settled_series(whole.rows, digest, lg_k=4)
    assert settled_series(ranged.rows, digest, lg_k=4).equals(series)
    assert drift_of(ranged.rows, series, digest) == drift_of(whole.rows, series, digest)


def in_order(portions: Portions) -> pl.DataFrame:
    rows = pl.concat(portions)
    return rows.sort(rows.columns)


@pytest.mark.timeout(120)
@FEW
@given(hits=ref_hits(max_hits=24), policy=policies(), spread=st.sampled_from((1, 5)), seed=SEEDS, memory=MEMORIES)
def test_ranges_of_visitors_settle_as_all_hits_at_once(
    hits: list[RefHit], policy: RefPolicy, spread: int, seed: int, memory: SettleMemory
) -> None:
    visitors = [f"{hit.visitor}-{hash64(hit.hit_id) % spread}" for hit in hits]
    check_days([replace(hit, visitor=name) for hit, name in zip(hits, visitors, strict=True)], policy, seed, memory)


@pytest.mark.timeout(120)
@FEW
@given(hits=ref_hits(max_hits=24), policy=policies(), seed=SEEDS, memory=MEMORIES)
def test_pieces_of_one_visitor_settle_as_all_hits_at_once(
    hits: list[RefHit], policy: RefPolicy, seed: int, memory: SettleMemory
) -> None:
    check_days([replace(hit, visitor="one") for hit in hits], policy, seed, memory)
