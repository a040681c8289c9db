"""Compare the time of two settlers with the time of a single settler.

The two settlers are processes that share a store. `python -m tests.bench.two_settlers_run DAYS HITS` runs this
benchmark alone.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from hitmesh.adapters.factory import open_stores
from hitmesh.model.site_buckets import SITE_BUCKETS
from hitmesh.runtime.clock import SystemClock
from tests.bench.measured import Child, Result, progress, run
from tests.bench.sites import SITES
from tests.bench.traffic import DAY

MAX_TIME_RATIO, MIN_SHARE = 0.6, 0.4
PAUSE_S = 0.05


def run_two_settlers(days: int, hits_of_day: int) -> Result:
    """Return the time ratio, each settler's share of the site-days, and whether every hit is settled.

    The ratio is the time of two settlers divided by the time of a single settler. On a machine with a single core, the
    ratio is meaningless.
    """
    with tempfile.TemporaryDirectory(prefix="hitmesh-bench-") as parent:
        stores = [Path(parent, name) for name in ("alone", "shared")]
        progress(f"two settlers: filling a store with {len(SITES)} sites of {days} days")
        run("tests.bench.shared_store", str(stores[0]), str(days), str(hits_of_day))
        shutil.copytree(stores[0], stores[1])
        progress("two settlers: a single settler, then two")
        (alone,) = _settle(stores[0], ["alone"])
        shared = _settle(stores[1], ["first", "second"])
        accepted = [_accepted(store, days) for store in stores]
    ratio = max(settler["wall_s"] for settler in shared) / alone["wall_s"]
    site_days = sum(settler["site_days"] for settler in shared)
    shares = [round(settler["site_days"] / site_days, 3) for settler in shared]
    expected = {(site.name, day): hits_of_day for site in SITES for day in range(DAY, DAY + days)}
    return {
        "two_settlers_time_ratio": {"value": round(ratio, 3), "aim": MAX_TIME_RATIO, "ok": ratio <= MAX_TIME_RATIO},
        "shares_of_site_days": {"value": shares, "aim": MIN_SHARE, "ok": min(shares) >= MIN_SHARE},
        "site_days": site_days,
        "seconds": {"alone": round(alone["wall_s"], 2), "shared": [round(each["wall_s"], 2) for each in shared]},
        "cpu_seconds": {"alone": round(alone["cpu_s"], 2), "shared": [round(each["cpu_s"], 2) for each in shared]},
        "checks": {"ok": accepted == [expected, expected]},
    }


def _settle(store: Path, names: list[str]) -> list[Result]:
    """Start a settler process for each name, let the processes settle the store, and return their measurements.

    Before the processes settle, they divide the buckets of sites among themselves.
    """
    processes = [Child("tests.bench.settler_process", str(store), name, settles=True) for name in names]
    try:
        while min(process.ask("leases")["buckets"] for process in processes) < SITE_BUCKETS // len(names):
            time.sleep(PAUSE_S)
        with ThreadPoolExecutor(len(processes)) as asking:
            return list(asking.map(lambda process: process.ask("settle"), processes))
    finally:
        for process in processes:
            process.stop()


def _accepted(store: Path, days: int) -> dict[tuple[str, int], int]:
    """Return the number of accepted hits on each settled site-day."""
    stores = open_stores(f"embedded:{store}", SystemClock())
    try:
        return {
            (site.name, day): entry.accepted
            for site in SITES
            for day, entry in stores.generations.ledger(site.name, DAY, DAY + days).items()
        }
    finally:
        stores.close()


if __name__ == "__main__":
    sys.stdout.write(json.dumps(run_two_settlers(*map(int, sys.argv[1:3])), indent=2) + "\n")
