"""Run a settler on the embedded store DIR, which other settlers share. The settler owns its leases under the name NAME.

The process answers each line `leases` on stdin with the number of its leased buckets. After any other line, the process
settles until no dirty site-day is left, and prints the measurements.
"""

from __future__ import annotations

import json
import resource
import sys
import threading
import time

from hitmesh.adapters.factory import Stores, open_stores
from hitmesh.runtime.clock import SystemClock
from hitmesh.runtime.logs import configure
from hitmesh.runtime.telemetry import unmeasured
from processor.building import build_settler
from processor.settings import ProcessorSettings
from processor.settle.lease_keeper import LeaseKeeper, LeasePace
from processor.settle.reached import closed_before

PACE = LeasePace(length_ms=1_000, much_site_days=2)
PAUSE_S = 0.02


def main() -> None:
    """Open the stores, wait for a line other than `leases`, then settle."""
    directory, name = sys.argv[1:3]
    configure("error", "bench", name)
    stores, clock = open_stores(f"embedded:{directory}", SystemClock()), SystemClock()
    settings = ProcessorSettings(store=f"embedded:{directory}", node=name, resettle_after_ms=0)
    keeper, stop = LeaseKeeper(stores.leases, name, PACE, lambda: time.monotonic() * 1_000), threading.Event()
    settler = build_settler(stores, clock, settings, stop, unmeasured(), keeper)
    leases = threading.Thread(target=keeper.run, args=(stop,))
    leases.start()
    _say({"ready": True})
    while sys.stdin.readline().strip() == "leases":
        _say({"buckets": len(keeper.buckets())})
    began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF)
    done = 0
    while _is_work_left(stores):
        settled = settler.run_once()
        done += settled
        if not settled:
            time.sleep(PAUSE_S)
    wall_s, used = time.monotonic() - began, resource.getrusage(resource.RUSAGE_SELF)
    stop.set()
    leases.join()
    keeper.close()
    cpu_s = used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime
    _say({"site_days": done, "wall_s": wall_s, "cpu_s": cpu_s})
    stores.close()


def _is_work_left(stores: Stores) -> bool:
    """Return whether the store still contains a dirty site-day that can be settled."""
    return bool(stores.dirty.take(1, closed_before(stores)))


def _say(answer: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
