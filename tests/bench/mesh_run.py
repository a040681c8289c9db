"""Measure the whole mesh while `hitmesh load` sends hits to `hitmesh dev`, with all processes on this machine.

The mesh runs on embedded stores with fsync, behind Envoy. A rate counts as sustained if all of the following statements
are true. No hit is shed. 99 % of the hits are acknowledged within two seconds. The last acknowledgement comes within
two seconds after the end of sending. Reports show all hits within six seconds after the end of sending. The ledger and
the totals are correct.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from tests.bench.measured import ROOT, Result, progress
from tests.bench.scale import Scale

AIM: Final = 25_000  # two billion hits a day are about 25,000 hits/s
FLOOR: Final = 12_000  # one billion
MOST_ACK_LAG_S: Final = 2.0
MOST_VISIBLE_LAG_S: Final = 6.0
READY_TIMEOUT_S: Final = 60.0
LOAD_TIMEOUT_S: Final = 400.0


def run_mesh(home: Path, scale: Scale) -> Result:
    """Return the highest sustained rate of the mesh in `home`, and the resources of each process at that rate."""
    trials, rates, runs = [], [], []
    for rate in scale.rates:
        trials.append(offered(home, rate, scale.trial_s, scale.load_sites))
        if not trials[-1]["held"]:
            break
        rates.append(rate)
    for rate in reversed(rates):
        runs.append(offered(home, rate, scale.mesh_s, scale.load_sites))
        if runs[-1]["held"]:
            break
    held = next((run["acknowledged_per_s"] for run in runs if run["held"]), 0)
    return {
        "hits_per_s": {"value": held, "unit": "hits/s", "aim": AIM, "floor": FLOOR, "ok": held >= 0.99 * FLOOR},
        "run_s": scale.mesh_s,
        "runs": runs,
        "trials": [{name: trial[name] for name in ("rate", "held", "why_not", "visible_after_s")} for trial in trials],
        "checks": {"ok": all(run["right"] for run in [*trials, *runs])},
    }


@contextmanager
def a_mesh() -> Iterator[Path]:
    """Run `hitmesh dev` in a temporary home, and return the home."""
    with tempfile.TemporaryDirectory(prefix="hitmesh-bench-mesh-") as home, mesh(Path(home)):
        yield Path(home)


@contextmanager
def mesh(home: Path, processor_settings: Sequence[str] = ()) -> Iterator[None]:
    """Run `hitmesh dev` in a new home. `processor_settings` are additional settings of the form name=value."""
    settings = [text for setting in processor_settings for text in ("--processor-setting", setting)]
    process = subprocess.Popen(
        [sys.executable, "-m", "hitmesh.tools.cli", "dev", "--home", str(home), "--no-demo-data", *settings],
        cwd=ROOT,
        env=_environment(),
        stdout=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + READY_TIMEOUT_S
        while not (home / "ready.json").exists():
            if _ended(process, 0.2) or time.monotonic() > deadline:
                raise RuntimeError("the mesh did not become ready: its message stands above")
        yield
    finally:
        process.terminate()
        process.wait()


def _ended(process: subprocess.Popen[bytes], within_s: float) -> bool:
    try:
        process.wait(within_s)
    except subprocess.TimeoutExpired:
        return False
    return True


def offered(home: Path, rate: int, duration_s: int, sites: int) -> Result:
    """Send hits to a number of sites at a rate. Return the measurements, and whether the mesh sustained the rate."""
    progress(f"mesh: {rate:,} hits/s for {duration_s} s")
    load = ("load", "--home", str(home), "--rate", str(rate), "--duration", str(duration_s), "--sites", str(sites))
    mix = ("--out-of-order", "2", "--duplicates", "1", "--bots", "3", "-o", "json")
    done = subprocess.run(
        [sys.executable, "-m", "hitmesh.tools.cli", *load, *mix],
        cwd=ROOT,
        env=_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        timeout=LOAD_TIMEOUT_S,
        check=False,
    )
    answer = json.loads(done.stdout or b"{}")
    if "rates" not in answer:
        return {"rate": rate, "held": False, "why_not": answer.get("message", "no answer"), "right": False}
    return _judged(rate, duration_s, answer)


def _judged(rate: int, duration_s: int, answer: dict[str, Any]) -> Result:
    hits, rates = answer["hits"], answer["rates"]
    acked_after_s = hits["acknowledged"] / rates["acknowledged_per_s"] - duration_s
    visible_after_s = hits["acknowledged"] / rates["visible_per_s"] - duration_s
    reasons = {
        f"{hits['shed']:,} hits were not sent": hits["shed"] > 0,
        f"the last ack came {acked_after_s:.1f} s after the end": acked_after_s > MOST_ACK_LAG_S,
        f"acks took {answer['ack_latency_s']['p99']} s at p99": answer["ack_latency_s"]["p99"] > MOST_ACK_LAG_S,
        f"reports were complete {visible_after_s:.1f} s after the end": visible_after_s > MOST_VISIBLE_LAG_S,
        "; ".join(answer["problems"]): not answer["ok"],
    }
    why_not = [reason for reason, is_so in reasons.items() if is_so]
    return {
        "rate": rate,
        "held": not why_not,
        "why_not": why_not,
        "right": answer["ok"],
        "acknowledged_per_s": round(rates["acknowledged_per_s"]),
        "visible_after_s": round(visible_after_s, 1),
        "ack_latency_s": answer["ack_latency_s"],
        "freshness_s": answer["freshness_s"],
        "lag_s": answer["lag_s"],
        "processes": {
            process["name"]: {name: process[name] for name in ("cpu_cores", "cpu_us_per_hit", "max_rss_mib")}
            for process in answer["processes"]
        },
        "cores_used": round(sum(process["cpu_cores"] for process in answer["processes"]), 2),
        "cores": os.cpu_count(),
    }


def _environment() -> dict[str, str]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("HITMESH_")}
    return {**environ, "PYTHONPATH": str(ROOT)}
