"""Measure the processor's core with many open visits.

The core turns a partition's records into rows with positive and negative amounts.

Standalone: `python -m tests.bench.core_run 10000000 107 15` prints the result as JSON. The arguments are the number of
open visits and the minutes of log time before and during the measurement.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from tests.bench.measured import ROOT, Result, environment, judged, progress
from tests.bench.scale import Core
from tests.bench.stages import per_hit_us

AIM: Final = 300_000
# Disk space that a run needs per open visit: kept hits and measured records.
DISK_BYTES: Final = 2_400
MEMORY_BYTES: Final = 1_000


def run_core(scale: Core) -> Result:
    """Return hits per second and core, memory per open visit, and time per stage.

    Also return whether the rows are correct.
    """
    open_visits, before_min, measured_min = scale.open_visits, scale.before_min, scale.measured_min
    with tempfile.TemporaryDirectory(prefix="hitmesh-bench-core-") as directory:
        missing = _missing(open_visits, Path(directory))
        if missing:
            progress(f"core with {open_visits:,} open visits is left out: {missing}")
            return {"left_out": missing}
        progress(f"core: {open_visits:,} open visits, {before_min} min of log time before {measured_min} min measured")
        return _result(_answer(directory, scale), scale.floor)


def _missing(open_visits: int, directory: Path) -> str:
    """Return a text that names the resource that is too small, disk or memory.

    If disk and memory are large enough, return "".
    """
    disk, memory = shutil.disk_usage(directory).free, _available_memory()
    for name, free, needed in (
        ("disk", disk, open_visits * DISK_BYTES),
        ("memory", memory, open_visits * MEMORY_BYTES),
    ):
        if free < needed:
            return f"{free / 1e9:.1f} GB of {name} are free, {needed / 1e9:.1f} GB are needed"
    return ""


def _available_memory() -> int:
    lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    return int(lines["MemAvailable"].split()[0]) * 1_024


def _answer(directory: str, scale: Core) -> dict[str, Any]:
    """Run two processes, and return the measurements of the second.

    The first process generates records, and the second consumes them.
    """
    command = (sys.executable, "-m")
    numbers = (str(scale.open_visits), str(scale.before_min), str(scale.measured_min))
    maker = subprocess.Popen(
        [*command, "tests.bench.core_records", *numbers], stdout=subprocess.PIPE, cwd=ROOT, env=environment()
    )
    with maker:
        assert maker.stdout is not None
        measured = subprocess.run(
            [*command, "tests.bench.core_process", str(scale.before_min), directory, str(scale.window_hits)],
            stdin=maker.stdout,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env=environment(),
            check=True,
        )
        maker.stdout.close()
    answer: dict[str, Any] = json.loads(measured.stdout)
    return answer


def _result(answer: dict[str, Any], floor: float) -> Result:
    hits, cpu_s, open_visits = answer["hits"], answer["cpu_s"], answer["open_visits"]
    stages = {name: per_hit_us(seconds, hits) for name, seconds in sorted(answer["stages"].items())}
    everything = per_hit_us(cpu_s, hits)
    return {
        "hits_per_s_and_core": judged(hits / cpu_s, AIM, floor, "hits/s"),
        "hits": hits,
        "cpu_s": round(cpu_s, 2),
        "us_per_hit": {**stages, "core_rest": round(everything - sum(stages.values()), 3), "all": everything},
        "open_visits": open_visits,
        "of_which_not_ended": answer["not_ended"],
        "kept_hits": answer["kept_hits"],
        "paths": answer["paths"],
        "rows_per_hit": round(answer["rows"] / hits, 3),
        "hits_per_window": round(hits / answer["steps"]),
        "rss_bytes_per_open_visit": round(answer["rss_bytes"] / open_visits),
        "mapped_bytes_per_open_visit": round(answer["mapped_bytes"] / open_visits),
        "timelines_bytes_per_open_visit": round(answer["timelines_bytes"] / open_visits),
        "max_rss_mib": answer["max_rss_mib"],
        "while_ageing": answer["aged"],
        "checks": answer["checks"],
    }


if __name__ == "__main__":
    sys.stdout.write(
        json.dumps(run_core(Core(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), 0)), indent=2) + "\n"
    )
