"""Measure settlement, from the stored raw records of a site-day to the published rows and the carry."""

from __future__ import annotations

from statistics import median
from typing import Any

from tests.bench.measured import Child, Result, judged, progress
from tests.bench.stages import per_hit_us

AIM, FLOOR = 300_000, 150_000


def run_settlement(process: Child, runs: int, hits_of_day: int) -> Result:
    """Return hits per second and core, and the time per stage. The first run is a warm-up and does not count.

    Before the call, `process` must have settled every site-day of its store, and must wait for a line on stdin.
    """
    progress(f"settlement: {runs} times {hits_of_day:,} hits")
    measured = [process.ask("settle") for _ in range(runs + 1)][1:]
    hits = sum(run["hits"] for run in measured)
    cpu_s = sum(map(_cpu_s, measured))
    wall_s = sum(run["wall_s"] for run in measured)
    stages: dict[str, float] = {
        name: per_hit_us(sum(run["stages"].get(name, 0.0) for run in measured), hits) for name in measured[0]["stages"]
    }
    last = measured[-1]
    everything = per_hit_us(cpu_s, hits)
    return {
        "hits_per_s_and_core": judged(hits / cpu_s, AIM, FLOOR, "hits/s"),
        "hits_per_s_wall": round(hits / wall_s),
        "hits_of_the_day": last["hits"],
        "median_run_s": round(median(run["wall_s"] for run in measured), 3),
        "us_per_hit": {**stages, "scan_and_publish": round(everything - sum(stages.values()), 3), "all": everything},
        "rows": last["rows"],
        "rows_per_hit": round(last["rows"] / last["hits"], 3),
        "visits_carried_on": last["carry_visits"],
        "max_rss_mib": last["max_rss_mib"],
        "checks": {
            "generations": [run["generation"] for run in measured],
            "ok": last["hits"] == hits_of_day and not last["duplicate"] and all(run["done"] == 1 for run in measured),
        },
    }


def _cpu_s(run: dict[str, Any]) -> float:
    return float(run["user_s"] + run["system_s"])
