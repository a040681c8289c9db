"""Measure time and peak memory for each kind of work on a store with many sites. The store is on files or on servers.

`python -m tests.bench.many_sites_run SITES DIRTY SETTLED [STORE_URL]` runs this benchmark alone, and settles SETTLED of
the DIRTY site-days. Without STORE_URL, the store is a temporary directory. The mesh at STORE_URL must be empty.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import grpc

from hitmesh.adapters.urls import EMBEDDED
from hitmesh.tools.dev.tcp_ports import HOST, any_free
from tests.bench.many_sites import ManySites, bulk_is_like_ports
from tests.bench.measured import ROOT, Result, environment, progress

LOOK_UPS: Final = 20_000
QUESTIONS: Final = 200
READY_TIMEOUT_S: Final = 120.0
SERVICES: Final[Mapping[str, tuple[str, Mapping[str, str]]]] = {
    "collector": ("collector", {}),
    "stream": ("processor", {"ROLE": "stream"}),
    "settler": ("processor", {"ROLE": "settler"}),
    "reporter": ("reporter", {}),
    "control": ("control", {}),
}
SMALL_SERVICES: Final = ("control",)
# Limits in seconds and MiB for each part. For `settle`, the limit in seconds applies to a site-day. docs/performance.md
# lists the measured numbers.
LIMITS: Final[Mapping[str, tuple[float, int]]] = {
    "start": (30.0, 512),
    "list_sites": (600.0, 512),
    "look_up": (60.0, 512),
    "resolve": (0.1, 512),
    "close_day": (2.0, 512),
    "list_dirty": (2.0, 512),
    "balance": (2.0, 768),
    "settle": (0.1, 2_048),
}
# On servers, a look-up takes two requests, and the settlement of a site-day takes about twenty requests.
LIMITS_ON_SERVERS: Final = {**LIMITS, "look_up": (200.0, 512), "settle": (0.2, 2_048)}


def run_many_sites(size: ManySites, settled: int, url: str = "", *, is_small: bool = False) -> Result:
    """Fill a store, measure every part, and return the results. A small run measures all parts in a single process."""
    if url:
        return _measured(url, size, settled, is_small=is_small)
    with tempfile.TemporaryDirectory(prefix="hitmesh-bench-sites-") as directory:
        return _measured(f"embedded:{directory}", size, settled, is_small=is_small)


def _measured(url: str, size: ManySites, settled: int, *, is_small: bool) -> Result:
    progress(f"many sites: filling a store with {size.sites:,} sites and {size.dirty:,} dirty site-days")
    began = time.monotonic()
    _output("tests.bench.many_sites_fill", url, str(size.sites), str(size.dirty), str(size.hits))
    result: Result = {"filled_s": round(time.monotonic() - began, 1), "sites": size.sites, "dirty": size.dirty}
    progress("many sites: starting each process")
    result["start"] = {name: _started(url, *SERVICES[name]) for name in (SMALL_SERVICES if is_small else SERVICES)}
    counts = {
        "list_sites": 0,
        "look_up": LOOK_UPS,
        "resolve": QUESTIONS,
        "close_day": 3,
        "list_dirty": 0,
        "balance": 3,
        "settle": settled,
    }
    for parts in [counts] if is_small else [{part: count} for part, count in counts.items()]:
        progress(f"many sites: {', '.join(parts)}")
        result |= answers_of(url, size, parts)
    result["within_limits"] = _judged(result, LIMITS if url.startswith(EMBEDDED) else LIMITS_ON_SERVERS)
    result["checks"] = {"ok": _is_right(result, size, settled) and bulk_is_like_ports(ManySites(12, 1))}
    return result


def answers_of(url: str, size: ManySites, parts: Mapping[str, int]) -> Result:
    """Run parts of the measurement in a separate process, and return the results of all parts.

    `parts` maps the name of each part to the argument COUNT of this part.
    """
    arguments = (f"{part}:{count}" for part, count in parts.items())
    answers: Result = json.loads(
        _output("tests.bench.many_sites_process", url, str(size.sites), str(size.dirty), *arguments)
    )
    return answers


def _started(url: str, module: str, more: Mapping[str, str]) -> Result:
    """Start a service's process. Return the seconds until the process is ready, and the peak memory at that moment."""
    prefix, listen = f"HITMESH_{module.upper()}_", f"{HOST}:{any_free(1)[0]}"
    settings = {"STORE": url, "LISTEN": listen, "LOG_LEVEL": "error", "NODE": f"bench-{module}", **more}
    with tempfile.TemporaryDirectory() as cache, _process(module, prefix, settings, cache) as process:
        began = time.monotonic()
        with grpc.insecure_channel(listen) as channel:
            grpc.channel_ready_future(channel).result(READY_TIMEOUT_S)
        return {"ready_s": round(time.monotonic() - began, 2), "max_rss_mib": peak_mib(process.pid)}


@contextmanager
def _process(module: str, prefix: str, settings: Mapping[str, str], cache: str) -> Iterator[subprocess.Popen[bytes]]:
    environ = {name: value for name, value in environment().items() if not name.startswith("HITMESH_")}
    if module == "processor":
        settings = {**settings, "CACHE": cache}
    process = subprocess.Popen(
        [sys.executable, "-m", module],
        cwd=ROOT,
        env={**environ, **{f"{prefix}{name}": value for name, value in settings.items()}},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def peak_mib(pid: int) -> int:
    """Return a process's peak resident memory in MiB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (peak,) = (line.split()[1] for line in lines if line.startswith("VmHWM:"))
    return int(peak) // 1024


def _judged(result: Result, limits: Mapping[str, tuple[float, int]]) -> Result:
    """Return the seconds and the MiB of each part with their limits."""
    seconds = {
        "start": max(each["ready_s"] for each in result["start"].values()),
        "list_sites": result["list_sites"]["took_s"],
        "look_up": result["look_up"]["took_s"],
        "resolve": result["resolve"]["question_ms"]["p50"] / 1e3,
        "close_day": result["close_day"]["not_closed_ms"]["p50"] / 1e3,
        "list_dirty": result["list_dirty"]["all_ms"]["max"] / 1e3,
        "balance": result["balance"]["page_ms"]["max"] / 1e3,
        "settle": result["settle"]["ms_each"] / 1e3,
    }
    memory = {name: result[name]["max_rss_mib"] for name in seconds if name != "start"}
    memory["start"] = max(each["max_rss_mib"] for each in result["start"].values())
    return {
        name: {
            "seconds": {"value": seconds[name], "aim": most_s, "ok": seconds[name] <= most_s},
            "max_rss_mib": {"value": memory[name], "aim": most_mib, "ok": memory[name] <= most_mib},
        }
        for name, (most_s, most_mib) in limits.items()
    }


def _is_right(result: Result, size: ManySites, settled: int) -> bool:
    """Return whether all sites were found and every settled hit counts.

    Also check that no day was due for settlement before the day's end.
    """
    settle = result["settle"]
    return bool(
        result["list_sites"]["sites"] == size.sites
        and result["look_up"]["sites_cold"]["found"] == min(LOOK_UPS, size.sites)
        and result["look_up"]["keys_cold"]["found"] == min(LOOK_UPS, size.sites)
        and result["close_day"]["early"] == 0
        and result["close_day"]["due"] > 0
        and settle["site_days"] >= min(settled, size.dirty)
        and settle["counted"]["hits"] == settle["counted"]["site_days"] * size.hits
    )


def _output(module: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments], cwd=ROOT, env=environment(), check=True, stdout=subprocess.PIPE
    )
    return done.stdout.decode()


if __name__ == "__main__":
    sites, dirty, to_settle = map(int, sys.argv[1:4])
    found = run_many_sites(ManySites(sites, dirty), to_settle, *sys.argv[4:5])
    sys.stdout.write(json.dumps({"load": os.getloadavg(), **found}, indent=2) + "\n")
