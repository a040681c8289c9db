"""After a crash, the same records are processed again, possibly in other steps.

The second run must overwrite all partials of the first run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hitmesh.model.positions import PartitionId, Position
from hitmesh.model.records import LoggedRecord, Record, RecordKind
from hitmesh.model.rows.columns import pack_record
from hitmesh.model.rows.stream_columns import EPOCH_MS, PARTIAL_SUMS
from processor.stream.intake import take_in, windows
from processor.stream.live.sites import SiteRules
from processor.stream.live.state import LiveState
from processor.stream.live.step import RecordsOf, apply, prepare
from processor.stream.spilled import SpillFiles
from tests.generate.facts import ADVERT, DIRECT, NEWSLETTER, Origin
from tests.generate.scenarios import HOUR, MINUTE, SECOND
from tests.generate.strategies import policies, ref_hits
from tests.reference.hits import RefHit
from tests.reference.visits import RefPolicy
from tests.support.examples import examples
from tests.support.kill_checks import check_counted
from tests.support.live_mesh import LiveMesh
from tests.support.small_mesh import hit_rows, visit_policy

SITE = "merchants/demo/sites/anvil"
NOON = 1_743_854_400_000
PARTITION = PartitionId("log", 0)
DELAYS_MS = (0, 0, 1, SECOND, 5 * MINUTE, 29 * MINUTE, 31 * MINUTE, 50 * MINUTE)

Cell = tuple[str, int, bool]
"""(site, cell, excluded)."""


def a_view(minute: float, origin: Origin = DIRECT) -> RefHit:
    at_ms = NOON + round(minute * MINUTE)
    return RefHit(
        SITE,
        "v",
        f"hit-{minute}",
        at_ms,
        page_path="/",
        campaign=origin.campaign,
        channel=origin.channel,
        source=origin.source,
        medium=origin.medium,
    )


def test_an_end_that_was_written_and_taken_back_before_a_crash_is_overwritten(tmp_path: Path) -> None:
    """The second run has a single step for both records, so the visit never ends and the cell does not change."""
    with LiveMesh("memory:", tmp_path, NOON, [SITE]) as mesh:
        mesh.append([a_view(0), a_view(1)], 0)
        mesh.step()
        mesh.runner.snapshot()
        mesh.advance_to(NOON + 32 * MINUTE)
        mesh.beat()
        mesh.step()
        mesh.runner.flush()
        mesh.append([a_view(25)], 0)
        assert mesh.runner.step(0.0) == 1  # a second step would find no records and flush the partials
        mesh.crash()
        mesh.runner.flush()
        check_counted(mesh.stores, mesh.logged, mesh.clock.now())


def test_a_visitor_who_left_a_row_and_came_back_before_a_crash_is_known_to_have_moved(tmp_path: Path) -> None:
    """Two out-of-order hits move a later hit from the newsletter's visit to the advert's visit and back.

    If all records are processed in a single step, no hit moves.
    """
    with LiveMesh("memory:", tmp_path, NOON, [SITE]) as mesh:
        mesh.advance_to(NOON + 20 * MINUTE)
        mesh.append([a_view(0, NEWSLETTER), a_view(10)], 0)
        mesh.step()
        mesh.runner.snapshot()
        for hit in a_view(5, ADVERT), a_view(6, NEWSLETTER):
            mesh.append([hit], 0)
            assert mesh.runner.step(0.0) == 1
        assert mesh.seen(SITE).provisional
        mesh.crash()
        mesh.runner.flush()
        check_counted(mesh.stores, mesh.logged, mesh.clock.now())


@pytest.mark.timeout(120)
@examples(6)
@given(ref_hits(20), policies(), st.integers(0, 2**16))
def test_every_cell_that_a_record_could_have_left_something_in_is_known_to_any_redo(
    hits: list[RefHit], policy: RefPolicy, seed: int
) -> None:
    dice = Random(seed)
    records = in_the_log([replace(hit, visitor=f"v{len(hit.visitor) % 2}") for hit in hits], dice)
    with TemporaryDirectory() as files:
        one_by_one = list(written_by(records, [1] * len(records), policy, Path(files) / "a"))
        cut = [dice.randint(1, 12) for _ in records]
        redone = list(written_by(records, cut, policy, Path(files) / "b", is_redo=True))
    known: dict[int, set[Cell]] = {}
    for epoch, cells in redone:
        known.setdefault(epoch, set()).update(cell for cell, _ in cells)
    for epoch, cells in one_by_one:
        assert {cell for cell, counts in cells if counts} <= known[epoch]


def in_the_log(hits: Sequence[RefHit], dice: Random) -> list[LoggedRecord]:
    """Return a record for each hit, with heartbeats in between. The hits arrive with random delays."""
    sent = sorted(((hit.event_time + dice.choice(DELAYS_MS), hit) for hit in hits), key=lambda timed: timed[0])
    records: list[LoggedRecord] = []
    for log_time, hit in sent:
        if records and log_time - records[-1].log_time < HOUR:
            between = dice.randint(records[-1].log_time, log_time)
            records.append(LoggedRecord(Position(*PARTITION, len(records)), between, Record(RecordKind.HEARTBEAT)))
        value = Record(RecordKind.HITS, pack_record(hit_rows([hit])), 1)
        records.append(LoggedRecord(Position(*PARTITION, len(records)), log_time, value))
    return records


def written_by(
    records: Sequence[LoggedRecord], sizes: Sequence[int], policy: RefPolicy, cache: Path, *, is_redo: bool = False
) -> Iterator[tuple[int, list[tuple[Cell, bool]]]]:
    """Process the records in steps of the given sizes. After each step, yield the epoch and its cells.

    Each cell comes with a flag that tells whether the cell has counts.
    """
    state = LiveState(PARTITION, SpillFiles(cache).spill)
    rules = SiteRules(visit_policy(policy), policy.midnight_zone)
    start = 0
    for size in sizes:
        for window in windows(records[start : start + size], EPOCH_MS):
            intake = take_in(window)
            partition_intake = intake.partitions[PARTITION]
            names = partition_intake.hits["site"].unique().to_list()
            prepared = prepare(
                state, RecordsOf(partition_intake.ends, partition_intake.hits), dict.fromkeys(names, rules)
            )
            apply(state, prepared, prepared.claiming, is_redo=is_redo)
            yield state.sums.epoch, cells_of(state)
        start += size


def cells_of(state: LiveState) -> list[tuple[Cell, bool]]:
    counts = pl.any_horizontal(*(pl.col(name) != 0 for name in PARTIAL_SUMS), pl.col("digest") != 0)
    rows = state.sums.cells.select("site", "cell", "excluded", counts.alias("counts")).iter_rows()
    return [((site, cell, excluded), has_counts) for site, cell, excluded, has_counts in rows]
