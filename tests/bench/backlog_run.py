"""Measure live freshness while the same process settles a backlog of history.

The share of CPU time for settlement may be limited. `hitmesh load` runs against `hitmesh dev` on files, once for each
`settle_cpu_share`. During the load, site-days are marked dirty every 0.2 s, so that the settler always has work.

Standalone: `python -m tests.bench.backlog_run 1000 30 3 4000 none 1 0.5` prints the result as JSON. The arguments are,
in this order: hits per second, seconds, days per site, hits per site-day, and the values of `settle_cpu_share`. There
are 16 sites.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from hitmesh.adapters.factory import Stores, open_stores
from hitmesh.model.generations import DirtyMark
from hitmesh.model.sites import SiteDay
from hitmesh.runtime.clock import SystemClock
from tests.bench.measured import Result, progress, run
from tests.bench.mesh_run import mesh, offered
from tests.bench.scale import Backlog
from tests.bench.sites import SITES
from tests.bench.traffic import DAY

_MARK_EVERY_S: Final = 0.2
_SHORTEST_DELAY: Final = ("resettle_after_ms=0", "keep_superseded_ms=0", "keep_replaced_ms=0")


def run_backlog(backlog: Backlog) -> Result:
    """For each value in `backlog.shares`, return freshness, acknowledgement latency and the number of settled hits."""
    with tempfile.TemporaryDirectory(prefix="hitmesh-bench-backlog-") as directory:
        filled = Path(directory, "filled")
        progress(f"backlog: filling a store with {len(SITES) * backlog.days} site-days of {backlog.hits:,} hits")
        run("tests.bench.shared_store", str(filled), str(backlog.days), str(backlog.hits))
        runs = [_measured(Path(directory, f"home-{case}"), filled, backlog, case) for case in backlog.shares]
    return {"runs": runs, "checks": {"ok": all(each["right"] for each in runs)}}


def _measured(home: Path, filled: Path, backlog: Backlog, share: float | None) -> Result:
    """Return the measurements under `settle_cpu_share` = `share`. If `share` is None, there is no backlog."""
    progress(f"backlog: {'none' if share is None else f'settled with a CPU share of {share}'}")
    shutil.copytree(filled, home / "data")
    settings = (*_SHORTEST_DELAY, f"settle_cpu_share={1.0 if share is None else share}")
    site_days = [SiteDay(site.name, day) for site in SITES for day in range(DAY, DAY + backlog.days)]
    with mesh(home, settings), _stores(home) as stores:
        _await_settled(stores, site_days)
        with _marked_again(home, site_days if share is not None else ()):
            before = _generations(stores, site_days)
            answer = offered(home, backlog.rate, backlog.load_s, backlog.load_sites)
            settled = _generations(stores, site_days) - before
    shutil.rmtree(home)
    return {"share": share, "settled_hits": settled * backlog.hits, **_of_load(answer)}


def _of_load(answer: dict[str, Any]) -> Result:
    names = ("right", "why_not", "freshness_s", "lag_s", "ack_latency_s", "processes", "cores_used")
    return {name: answer[name] for name in names if name in answer}


@contextmanager
def _stores(home: Path) -> Iterator[Stores]:
    stores = open_stores(f"embedded:{home / 'data'}", SystemClock())
    try:
        yield stores
    finally:
        stores.close()


def _await_settled(stores: Stores, site_days: Sequence[SiteDay]) -> None:
    """Block until each site-day has been settled for the first time."""
    pause = threading.Event()
    while any(site_day.day not in _of_site_day(stores, site_day) for site_day in site_days):
        pause.wait(_MARK_EVERY_S)


def _generations(stores: Stores, site_days: Sequence[SiteDay]) -> int:
    """Return the sum of the site-days' generation numbers. Each settlement of a site-day adds 1 to the sum."""
    return sum(_of_site_day(stores, site_day)[site_day.day].generation for site_day in site_days)


def _of_site_day(stores: Stores, site_day: SiteDay) -> Any:
    return stores.generations.current(site_day.site, site_day.day, site_day.day + 1)


@contextmanager
def _marked_again(home: Path, site_days: Sequence[SiteDay]) -> Iterator[None]:
    """Mark the site-days dirty every 0.2 s, in another thread."""
    stop = threading.Event()

    def mark() -> None:
        with _stores(home) as stores:
            records = [next(iter(stores.raw.scan(*site_day, site_day.day + 1))) for site_day in site_days]
            marks = [
                DirtyMark(site_day, record.position, record.log_time)
                for site_day, record in zip(site_days, records, strict=True)
            ]
            while not stop.wait(_MARK_EVERY_S):
                stores.dirty.mark(marks)

    marking = threading.Thread(target=mark)
    if site_days:
        marking.start()
    try:
        yield
    finally:
        stop.set()
        if site_days:
            marking.join()


if __name__ == "__main__":
    rate, load_s, days, hits = (int(size) for size in sys.argv[1:5])
    shares = tuple(float(share) if share != "none" else None for share in sys.argv[5:])
    sys.stdout.write(json.dumps(run_backlog(Backlog(rate, load_s, days, hits, shares)), indent=2) + "\n")
