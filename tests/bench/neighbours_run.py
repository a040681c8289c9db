"""Measure the calls of a merchant while another merchant sends and asks at 100 times its quotas.

Standalone: `python -m tests.bench.neighbours_run 20 10000 100 3` prints the result as JSON. The arguments are the
seconds of each measurement, the hits and reports per second of the other merchant, and the rounds.
"""

from __future__ import annotations

import json
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import grpc

from hitmesh.model.quotas import Quota
from hitmesh.tools.load.processes import ProcessWatch, mesh_pids
from reporter.answer.report_budget import REPORT_UNITS
from tests.bench.measured import Child, Result, progress
from tests.bench.mesh_run import a_mesh
from tests.support.crowd_tenants import Tenant, endpoint_of, new_tenants, percentiles
from tests.support.crowds import REPORT, SEND, measure

LIMIT: Final = 2.0
"""A call of the quiet merchant may take at most this many times as long as without the other merchant."""
OVER: Final = 100
FLOOD_HITS: Final = 100
"""Hits in a batch of the flooding merchant."""
_NAMES: Final = {"writes": SEND, "reports": REPORT}


def run_neighbours(home: Path, seconds: float, hits_s: int, reports_s: int, rounds: int) -> Result:
    """Return the quiet merchant's latencies alone and beside the flooding merchant, and the ratios."""
    quotas = {
        "quiet": (Quota(), Quota()),
        "flood": (Quota(hits_s=hits_s // OVER), Quota(report_units_min=60 * REPORT_UNITS * reports_s // OVER)),
    }
    counts: dict[str, Counter[str]] = {"hits": Counter(), "reports": Counter()}
    tenants = new_tenants(home, quotas)
    alone, beside = _no_latencies(), _no_latencies()
    cpu_alone: dict[str, float] = {}
    cpu_beside: dict[str, float] = {}
    _measure_both(tenants["quiet"], min(2.0, seconds), _no_latencies())
    # The rounds alternate, so that other work on the machine changes both measurements.
    for at in range(rounds):
        progress(f"neighbours, round {at + 1} of {rounds}: beside {hits_s:,} hits/s and {reports_s:,} reports/s")
        with _cpu_of(home, cpu_alone):
            _measure_both(tenants["quiet"], seconds, alone)
        with _flood(tenants["flood"], hits_s, reports_s, counts):
            _measure_both(tenants["quiet"], min(2.0, seconds), _no_latencies())
            with _cpu_of(home, cpu_beside):
                _measure_both(tenants["quiet"], seconds, beside)
    return {
        **{name: _compared(percentiles(alone[method]), percentiles(beside[method])) for name, method in _NAMES.items()},
        "flood": {name: dict(count) for name, count in counts.items()},
        "cores": {
            name: {
                "alone": round(cpu_alone.get(name, 0.0) / (rounds * seconds), 3),
                "beside": round(cpu_s / (rounds * seconds), 3),
            }
            for name, cpu_s in cpu_beside.items()
        },
        "checks": {"ok": all(count["refused_with_a_time"] > 0 for count in counts.values())},
    }


@contextmanager
def _cpu_of(home: Path, cpu_s: dict[str, float]) -> Iterator[None]:
    """Add the CPU seconds that each process of the mesh uses inside the block."""
    watch = ProcessWatch(mesh_pids(home, endpoint_of(home))[0])
    yield
    watch.look()
    for usage in watch.usages():
        cpu_s[usage.name] = cpu_s.get(usage.name, 0.0) + usage.cpu_s


@contextmanager
def _flood(tenant: Tenant, hits_s: int, reports_s: int, counts: dict[str, Counter[str]]) -> Iterator[None]:
    """Send hits and ask for reports inside the block, and add up the answers."""
    rates = {"hits": hits_s / FLOOD_HITS, "reports": float(reports_s)}
    caller = (tenant.endpoint, tenant.name, tenant.key)
    floods = {
        kind: Child("tests.bench.crowd_process", *caller, kind, str(rate), str(FLOOD_HITS))
        for kind, rate in rates.items()
    }
    try:
        yield
    finally:
        for kind, flood in floods.items():
            counts[kind].update(flood.ask("stop"))
            flood.stop()


def _compared(alone: dict[str, float], beside: dict[str, float]) -> Result:
    ratios = {name.removesuffix("_ms"): round(beside[name] / alone[name], 2) for name in alone}
    value = ratios["p99"]
    return {
        "alone": alone,
        "beside": beside,
        "p50_ratio": ratios["p50"],
        "p99_ratio": {"value": value, "unit": "times", "aim": LIMIT, "ok": value <= LIMIT},
    }


def _no_latencies() -> dict[str, list[float]]:
    return {SEND: [], REPORT: []}


def _measure_both(tenant: Tenant, seconds: float, found: dict[str, list[float]]) -> None:
    """Add the latencies of writes and of reports, in ms."""
    messages = {SEND: tenant.batch(20), REPORT: tenant.question()}
    with grpc.insecure_channel(tenant.endpoint, options=(("grpc.use_local_subchannel_pool", 1),)) as channel:
        threads = [
            threading.Thread(target=measure, args=(channel, tenant, method, message, seconds, found[method]))
            for method, message in messages.items()
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


if __name__ == "__main__":
    seconds, *counts = sys.argv[1:]
    with a_mesh() as home:
        found = run_neighbours(home, float(seconds), int(counts[0]), int(counts[1]), int(counts[2]))
    sys.stdout.write(json.dumps(found, indent=2) + "\n")
