"""Show a capacity plan as tables, as JSON, or as a kustomize component."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from hitmesh.tools.capacity.measured import MEASURED, RULES
from hitmesh.tools.capacity.patch import component_for
from hitmesh.tools.capacity.simulation import Outcome, scenarios
from hitmesh.tools.capacity.sizes import Nodes, Pods, Sizes, raw_days
from hitmesh.tools.capacity.verdicts import drivers, limits
from hitmesh.tools.cli.output import echo, print_table

_GIB = 2**30


def init_options(sizes: Sizes) -> str:
    """Return the options of `hitmesh init` for a plan."""
    retention = int(sizes.load.retention_days)
    return (
        f"--hits-partitions {sizes.hits_partitions} --rollups-partitions {sizes.rollups_partitions} "
        f"--task-count {sizes.task_count} --replication {RULES.replication} --min-insync {RULES.replication - 1} "
        f"--hits-retention-days {RULES.hits_days:.0f} --rollups-retention-days {RULES.rows_days:.0f} "
        f"--raw-ttl-days {raw_days(sizes.load):.0f} --series-ttl-days {retention} --rows-retention-days {retention}"
    )


def simulated(sizes: Sizes, report: Callable[[str], None]) -> dict[str, Outcome]:
    """Run the simulations of a plan, and report the name of each before it begins."""
    found = {}
    for name, run in scenarios(sizes).items():
        report(f"simulating: {name}")
        found[name] = run()
    return found


def as_json(sizes: Sizes, outcomes: Mapping[str, Outcome]) -> dict[str, Any]:
    """Return a plan as a JSON object. Bytes and seconds have no other unit."""
    return {
        **asdict(sizes),
        "init_options": init_options(sizes),
        "drivers": [asdict(driver) for driver in drivers(sizes)],
        "limits": [asdict(limit) for limit in limits(sizes)],
        "simulations": {name: asdict(outcome) for name, outcome in outcomes.items()},
        "costs": asdict(MEASURED),
        "rules": asdict(RULES),
    }


def as_component(sizes: Sizes) -> str:
    """Return a plan as a kustomize component in YAML. JSON is YAML, so no package for YAML is needed."""
    return (
        "# Sizes by `hitmesh plan` (docs/capacity.md). Add this file's directory to `components` after `keda`.\n"
        + json.dumps(component_for(sizes), indent=2)
        + "\n"
    )


def show(sizes: Sizes, outcomes: Mapping[str, Outcome]) -> None:
    """Print a plan as tables."""
    load = sizes.load
    echo(
        f"{load.hits_per_day:,.0f} hits per day: {load.mean_hits_s:,.0f} hits/s, {load.peak_hits_s:,.0f} at the peak; "
        f"{load.peak_reports_s:,.0f} reports/s at the peak\n"
    )
    print_table(("service", "pods", "cores at the peak", "memory", "disk"), map(_pods, sizes.pods), right_from=1)
    echo()
    print_table(
        ("servers", "number", "cores at the peak", "data", "needed for"), map(_nodes, sizes.nodes), right_from=1
    )
    echo(f"\ndeep storage of Druid: {_tb(sizes.deep_storage_bytes)}")
    echo(f"the largest site needs a spread of {sizes.spread}; hitmesh init {init_options(sizes)}\n")
    rows = [(item.name, f"{item.amount:,.1f} {item.unit}", f"{item.share:.0%}") for item in drivers(sizes)]
    print_table(("what costs most", "amount", "share"), [row for row in rows if row[2] != "0%"], right_from=1)
    echo()
    ends = [(f"{limit.growth:.2g} x", limit.name, limit.cure) for limit in limits(sizes)]
    print_table(("at this load", "what ends first", "cure"), ends, right_from=3)
    if outcomes:
        echo()
        print_table(
            ("simulated hour at the peak", "refused", "ack", "lag", "recovered after", "busiest partition"),
            [_outcome(name, outcome) for name, outcome in outcomes.items()],
            right_from=1,
        )


def _pods(pods: Pods) -> tuple[str, ...]:
    disk = f"{pods.cache_bytes / _GIB:.0f} GiB" if pods.cache_bytes else ""
    return pods.name, f"{pods.pods:,}", f"{pods.cores:,.1f}", f"{pods.memory_bytes / _GIB:.1f} GiB", disk


def _nodes(nodes: Nodes) -> tuple[str, ...]:
    reason = "data" if nodes.for_data == nodes.nodes else "cores" if nodes.for_cores == nodes.nodes else "copies"
    return nodes.name, f"{nodes.nodes:,}", f"{nodes.cores:,.1f}", _tb(nodes.data_bytes), reason


def _tb(size: float) -> str:
    return f"{size / 1e12:,.1f} TB" if size else ""


def _outcome(name: str, outcome: Outcome) -> tuple[str, ...]:
    recovered = "not in the hour" if outcome.recovered_s < 0 else f"{outcome.recovered_s:,.0f} s"
    return (
        name,
        f"{outcome.refused:.1%}",
        f"{outcome.ack_s:,.2f} s",
        f"{outcome.lag_s:,.0f} s",
        recovered,
        f"{outcome.skew:.1f} x the mean",
    )
