"""`make bench` runs all benchmarks and prints one JSON document on stdout. Progress goes to stderr.

Each measured number is printed with its target (`aim`) and its minimum (`floor`). `ok` tells whether the number reaches
the minimum. The exit code is 1 only if stored data differs from sent data. A low number does not change the exit code.
With `--small`, each benchmark runs just long enough to check its results, so the printed rates are meaningless.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path

from tests.bench.backlog_run import run_backlog
from tests.bench.collector_run import run_collector
from tests.bench.core_run import run_core
from tests.bench.dear_run import run_dear
from tests.bench.explained import where_the_time_goes
from tests.bench.handover_run import run_handover
from tests.bench.huge_run import run_huge
from tests.bench.many_sites import ManySites
from tests.bench.many_sites_run import run_many_sites
from tests.bench.measured import Child, Result, progress, run
from tests.bench.mesh_run import a_mesh, run_mesh
from tests.bench.neighbours_run import run_neighbours
from tests.bench.one_visitor_run import run_one_visitor
from tests.bench.overload_run import run_overload
from tests.bench.refused_run import run_refused
from tests.bench.report_run import run_reports
from tests.bench.scale import FULL, SMALL
from tests.bench.settlement_run import run_settlement
from tests.bench.sql_run import run_sql_peers
from tests.bench.texts_run import run_texts
from tests.bench.traffic import load_traffic
from tests.bench.two_settlers_run import run_two_settlers

PACKAGES = ("grpcio", "protobuf", "ptars", "polars", "polars-hash", "pyarrow", "datasketches", "numpy")


def main() -> int:
    """Run all benchmarks; return the exit code."""
    parser = argparse.ArgumentParser(prog="make bench", description="Run all benchmarks; print JSON on stdout.")
    parser.add_argument("--small", action="store_true", help="only check that every part runs")
    began, scale = time.monotonic(), SMALL if parser.parse_args().small else FULL
    results: Result = {"machine": _machine(), "collector": run_collector(load_traffic(), scale)}
    results["refused"] = run_refused(scale.refused_s, scale.refused_clients)
    results["core"], results["core_many"] = run_core(scale.core), run_core(scale.core_many)
    results["handover"] = run_handover(scale.handover)
    results["texts"] = run_texts(scale.pages, scale.texts_per_hour)
    results["one_visitor"] = run_one_visitor(scale.one_visitor_hits, scale.kept_of_visitor)
    with tempfile.TemporaryDirectory(prefix="hitmesh-bench-") as store:
        progress(f"filling a store with a day of many hits and {scale.series_days} days of fewer")
        run("tests.bench.filled_store", store, *map(str, (scale.big_hits, scale.series_days, scale.series_hits)))
        progress("settling all of it")
        process = Child("tests.bench.settlement_process", store, settles=True)
        try:
            results["settlement"] = run_settlement(process, scale.settlements, scale.big_hits)
        finally:
            process.stop()
        rate = results["settlement"]["hits_per_s_and_core"]["value"]
        results["sql_peers"] = run_sql_peers(store, rate)
        results["reports"] = run_reports(Path(store), scale)
        results["dear_questions"] = run_dear(Path(store), scale.series_days, scale.dear_questions)
    results["two_settlers"] = run_two_settlers(scale.shared_days, scale.shared_hits)
    results["many_sites"] = run_many_sites(
        ManySites(scale.many_sites, scale.many_dirty), scale.many_settled, is_small=scale is SMALL
    )
    results["huge_site_day"] = run_huge(scale.huge_hits, scale.huge_range_hits)
    results["backlog"] = run_backlog(scale.backlog)
    with ExitStack() as meshes:
        home = meshes.enter_context(a_mesh())
        results["mesh"] = run_mesh(home, scale)
        if scale is not SMALL:  # a measurement needs a mesh without data of the part before
            meshes.close()
            home = meshes.enter_context(a_mesh())
        results["neighbours"] = run_neighbours(home, *scale.neighbours)
        twice = 2 * (results["mesh"]["hits_per_s"]["value"] or scale.rates[0])
        results["overload"] = run_overload(home, scale.overload_s, twice)
    right = [results["collector"]["sample"], *(part["checks"] for part in results.values() if "checks" in part)]
    results["where_the_time_goes"] = where_the_time_goes(results)
    results["took_s"] = round(time.monotonic() - began, 1)
    results["numbers_ok"] = all(_oks(results))
    results["right"] = all(check["ok"] for check in right)
    sys.stdout.write(json.dumps(results, indent=2, ensure_ascii=False) + "\n")
    return 0 if results["right"] else 1


def _machine() -> Result:
    return {
        "cpus": os.cpu_count(),
        "cpu": _cpu_name(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
    }


def _cpu_name() -> str:
    known = Path("/proc/cpuinfo")
    lines = known.read_text().splitlines() if known.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def _oks(results: object) -> Iterator[bool]:
    """Yield every value of the key `ok` in a result and in the nested results."""
    if isinstance(results, dict):
        if isinstance(results.get("ok"), bool):
            yield results["ok"]
        for inner in results.values():
            yield from _oks(inner)


if __name__ == "__main__":
    sys.exit(main())
