"""Test the sizes that a load needs, and the simulation of the planned mesh."""

from __future__ import annotations

import re
from dataclasses import asdict, fields, replace
from pathlib import Path

import click
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hitmesh.model.errors import RefusedError
from hitmesh.model.reasons import LocalReason
from hitmesh.tools.capacity.load import RANGES, Load
from hitmesh.tools.capacity.measured import MEASURED, RULES
from hitmesh.tools.capacity.page import outcome_text, with_tables
from hitmesh.tools.capacity.simulation import Fault, Outcome, scenarios, simulate, weights_of
from hitmesh.tools.capacity.sizes import MAX_HITS_PARTITIONS, MAX_TASKS, Sizes, sizes_for, spread_of
from hitmesh.tools.capacity.verdicts import drivers, limits
from hitmesh.tools.cli.init import SIZES

DOCS = Path(__file__).parents[2] / "docs"
SMALL = Load(hits_per_day=1e8, sites=1_000, retention_days=30, reports_per_day=1e4)
BILLION = Load(hits_per_day=1e9, sites=1e5, retention_days=400, reports_per_day=1e6)
SERVICES = ("envoy", "collector", "processor", "reporter")
CORES = {
    "kafka": RULES.broker_cores,
    "cassandra": RULES.cassandra_cores,
    "druid-indexer": RULES.druid_cores,
    "druid-historical": RULES.druid_cores,
}
loads = st.builds(
    Load,
    hits_per_day=st.floats(1, 1e10),
    sites=st.integers(1, 10**9),
    retention_days=st.integers(1, 7_300),
    peak=st.floats(1, 100),
    reports_per_day=st.floats(0, 1e12),
    largest_site=st.floats(0, 1),
    zones=st.integers(1, 9),
)


def numbers_of(sizes: Sizes) -> list[float]:
    """Return all numbers of pods, servers and partitions, and all data."""
    return [
        sizes.hits_partitions,
        sizes.rollups_partitions,
        sizes.task_count,
        sizes.deep_storage_bytes,
        *(pods.pods for pods in sizes.pods),
        *(nodes.nodes for nodes in sizes.nodes),
        *(nodes.data_bytes for nodes in sizes.nodes),
    ]


@given(loads)
def test_a_planned_mesh_takes_the_peak_also_without_a_zone(load: Load) -> None:
    sizes = sizes_for(load)
    for name in SERVICES:
        pods = sizes.pods_of(name)
        assert pods.cores <= pods.pods * RULES.use * RULES.pod_cores * (1 + 1e-9)
        if load.zones > 1:
            left = pods.pods - -(-pods.pods // load.zones)
            assert left >= 1
            assert pods.cores <= left * RULES.pod_cores * (1 + 1e-9)
    for nodes in sizes.nodes:
        each = CORES[nodes.name]
        assert nodes.nodes >= RULES.replication
        assert nodes.cores <= nodes.nodes * RULES.use * each * (1 + 1e-9)
        if load.zones > 1:
            assert nodes.cores <= (nodes.nodes - -(-nodes.nodes // load.zones)) * each * (1 + 1e-9)


@given(loads)
def test_partitions_leave_room_for_twice_as_many_processors(load: Load) -> None:
    sizes = sizes_for(load)
    assert sizes.hits_partitions >= 2 * sizes.pods_of("processor").pods
    assert sizes.hits_partitions.bit_count() == 1
    assert sizes.rollups_partitions >= sizes.task_count
    assert 1 <= sizes.spread <= min(64, sizes.hits_partitions)


@given(loads, st.floats(1, 10))
def test_more_hits_and_longer_retention_never_need_less(load: Load, factor: float) -> None:
    before = numbers_of(sizes_for(load))
    hits = replace(load, hits_per_day=min(1e10, load.hits_per_day * factor))
    days = replace(load, retention_days=min(7_300, load.retention_days * factor))
    for more in (hits, days):
        after = numbers_of(sizes_for(more))
        assert all(new >= old * (1 - 1e-9) for old, new in zip(before, after, strict=True))


def test_raw_records_are_kept_for_thirteen_months_whatever_the_retention() -> None:
    short, long = (sizes_for(replace(BILLION, retention_days=days)).nodes_of("cassandra") for days in (30, 430))
    series = MEASURED.stored_bytes - MEASURED.log_bytes
    assert long.data_bytes - short.data_bytes == pytest.approx(1e9 * series * 400 * RULES.replication)


def test_a_slower_core_needs_more_pods() -> None:
    slow = sizes_for(replace(BILLION, cpu_factor=2.0))
    for name in SERVICES:
        assert slow.pods_of(name).cores == pytest.approx(2 * sizes_for(BILLION).pods_of(name).cores)


@pytest.mark.parametrize("name", sorted(RANGES))
def test_a_value_outside_its_range_is_refused_by_name(name: str) -> None:
    low, high = RANGES[name]
    for value in (low - 1, high * 2 + 1, float("nan"), float("inf")):
        with pytest.raises(RefusedError, match=f"{name} is .*: it must be from") as refused:
            Load(**{**asdict(SMALL), name: value})
        assert refused.value.field == name


def test_drivers_are_shares_of_all_cores_and_of_all_data() -> None:
    found = drivers(sizes_for(BILLION))
    for unit in ("cores", "TB"):
        amounts = [driver.amount for driver in found if driver.unit == unit]
        assert amounts == sorted(amounts, reverse=True)
        assert sum(driver.share for driver in found if driver.unit == unit) == pytest.approx(1.0)


def test_the_load_grows_to_a_limit_and_no_further() -> None:
    sizes = sizes_for(BILLION)
    first = next(limit for limit in limits(sizes) if "hits partitions" in limit.name)
    grown = replace(BILLION, hits_per_day=BILLION.hits_per_day * first.growth)
    core_hits_s = 1e6 / MEASURED.processor_us
    assert grown.peak_hits_s == pytest.approx(sizes.hits_partitions * core_hits_s)
    assert [limit.growth for limit in limits(sizes)] == sorted(limit.growth for limit in limits(sizes))


def test_druids_tasks_end_when_the_busiest_task_uses_its_thread() -> None:
    sizes = replace(sizes_for(BILLION), rollups_partitions=16, task_count=9)
    (limit,) = (each for each in limits(sizes) if "Druid task" in each.name)
    # Two of the 16 partitions belong to the same task.
    rows_s = BILLION.peak_hits_s * limit.growth * MEASURED.druid_larger_rows * 2 / 16
    assert rows_s * MEASURED.druid_row_us == pytest.approx(1e6)


def test_the_bounds_of_a_plan_are_those_of_init() -> None:
    most = {name: kind.max for name, _, kind, _ in SIZES if isinstance(kind, click.IntRange)}
    assert most["--hits-partitions"] == MAX_HITS_PARTITIONS
    assert most["--rollups-partitions"] == most["--task-count"] == MAX_TASKS


def test_a_load_that_a_mesh_cannot_have_partitions_for_is_refused() -> None:
    for load in (replace(BILLION, hits_per_day=1e12), replace(BILLION, hits_per_day=1e11, cpu_factor=10, peak=9)):
        with pytest.raises(RefusedError, match="and a mesh has at most") as refused:
            sizes_for(load)
        assert refused.value.reason is LocalReason.INVALID_LOAD


def test_no_simulation_has_more_partitions_than_a_mesh() -> None:
    largest = sizes_for(replace(BILLION, hits_per_day=1e11))
    assert 16 * largest.hits_partitions > MAX_HITS_PARTITIONS
    assert len(scenarios(largest)) == len(scenarios(sizes_for(BILLION))) - 1


def test_a_fault_that_is_not_over_is_shown_as_such() -> None:
    assert "not over in the hour" in outcome_text(Outcome(1.0, 0.0, 0.1, 60.0, -1.0, 10.0))


@given(loads, st.sampled_from([1, 2, 4, 64]))
def test_partitions_share_all_hits(load: Load, partitions: int) -> None:
    shares = weights_of(partitions, load, sites=50)
    assert shares.sum() == pytest.approx(1.0)
    assert (shares >= 0).all()


def test_a_spread_makes_partitions_more_equal() -> None:
    load = replace(BILLION, largest_site=0.3)
    spread = spread_of(0.3, 16)
    assert spread > 1
    assert weights_of(16, load, sites=1_000).max() < 0.3


def test_a_planned_mesh_has_no_lag_in_a_busy_hour() -> None:
    for load in (SMALL, BILLION):
        outcome = simulate(sizes_for(load), seconds=60, sites=1_000)
        assert (outcome.refused, outcome.lag_s, outcome.recovered_s) == (0.0, 0.0, 0.0)


def test_a_mesh_for_a_third_of_the_load_falls_behind() -> None:
    load = replace(BILLION, hits_per_day=1e10)
    small = sizes_for(replace(load, hits_per_day=load.hits_per_day / 3))
    outcome = simulate(replace(small, load=load), seconds=120, sites=1_000)
    assert outcome.recovered_s == -1.0
    assert outcome.lag_s > 10


def test_a_lost_zone_delays_hits_until_its_partitions_have_processors_again() -> None:
    sizes = sizes_for(BILLION)
    outcome = simulate(sizes, Fault(begins_s=10, ends_s=100, zone=0), seconds=400, sites=1_000)
    assert 29 <= outcome.lag_s <= 120
    assert outcome.recovered_s >= 0
    assert outcome.refused == 0.0


def test_an_overloaded_broker_delays_its_partitions_and_loses_nothing() -> None:
    sizes = sizes_for(BILLION)
    fault = Fault(begins_s=10, ends_s=60, broker=0, broker_speed=0.01)
    slow, quick = (simulate(sizes, each, seconds=400, sites=1_000) for each in (fault, Fault()))
    assert slow.ack_s > 5 > quick.ack_s
    assert 0 < slow.refused < 1 / 3
    assert slow.recovered_s >= 0


def test_many_small_partitions_make_acknowledgements_slower() -> None:
    sizes = sizes_for(BILLION)
    waits = [simulate(sizes, partitions=count, seconds=5, sites=1_000).ack_s for count in (8, 128, 1_024)]
    assert waits == sorted(waits)
    assert waits[2] > 0.4


def test_the_costs_are_those_of_the_page_on_performance() -> None:
    page = (DOCS / "performance.md").read_text(encoding="utf-8")
    rows = {
        "processor_us": r"\| processor \| 36 \| (\d+) \|",
        "collector_us": r"\| collector \| 15 \| (\d+) \|",
        "envoy_us": r"\| Envoy \| 2 \| (\d+) \|",
        "kafka_us": r"\| Kafka, ZooKeeper \| 3 \| (\d+) \|",
        "cassandra_us": r"\| Cassandra \| 25 \| (\d+) \|",
        "indexer_us": r"\| Druid indexer \| 21 \| (\d+) \|",
        "druid_us": r"\| Druid broker, coordinator, historical \| 2 \| (\d+) \|",
        "log_bytes": r"bytes in Kafka: hits \+ rollups \| 63 \+ 63 \| (\d+) \+",
        "rows_bytes": r"bytes in Kafka: hits \+ rollups \| 63 \+ 63 \| 69 \+ (\d+)",
        "segment_bytes": r"bytes in Druid's segments \| not handed off yet \| (\d+)",
        "visit_bytes": r"An open visit took (\d+) bytes of memory",
        "settled_hit_us": r"\*\*all\*\* \| \*\*6.6-7.8\*\* \| \*\*all\*\* \| \*\*4.4-([\d.]+)\*\*",
        "report_ms": r"A report by day now takes\s+(\d+) instead of 188 ms of CPU",
    }
    for name, pattern in rows.items():
        found = re.search(pattern, page)
        assert found, name
        assert float(found[1]) == getattr(MEASURED, name), name
    assert "1.10 + 0.88 |" in page
    assert (MEASURED.druid_larger_rows, MEASURED.druid_rows) == (1.10, 1.98)
    assert "bytes in Cassandra, without snapshots | 84 | 88 |" in page
    assert MEASURED.stored_bytes == 88
    assert re.search(r"at 122,000 hits/s", page)
    assert MEASURED.replayed_hits_s == 122_000


def test_the_page_on_capacity_states_every_cost() -> None:
    page = (DOCS / "capacity.md").read_text(encoding="utf-8")
    arithmetic = page[page.index("## The arithmetic") : page.index("## From 100 million")]
    for name in ("collector_us", "processor_us", "envoy_us", "kafka_us", "cassandra_us", "indexer_us", "druid_us"):
        assert f"{getattr(MEASURED, name):g} µs" in arithmetic, name
    for field in fields(MEASURED):
        assert field.name in str(type(MEASURED).__doc__), field.name


def test_the_tables_of_the_page_are_current() -> None:
    page = (DOCS / "capacity.md").read_text(encoding="utf-8")
    assert with_tables(page) == page, "run `python -m hitmesh.tools.capacity.page docs/capacity.md`"
    assert "| hits per day |" in page
    assert np.isfinite(MEASURED.report_ms)
