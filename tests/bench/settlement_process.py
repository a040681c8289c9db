"""Measure settlement in a separate process.

The process runs the production settler on the filled embedded store in DIR. First, the process settles everything. For
each line on stdin, the process settles the big day again and prints the measurements.
"""

from __future__ import annotations

import json
import resource
import sys
import threading
import time

import processor.settle.attempt
import processor.settle.built
import processor.settle.settlement
from hitmesh.adapters.embedded.sink import EmbeddedRollupSink
from hitmesh.adapters.factory import Stores, open_stores
from hitmesh.model.generations import DirtyMark
from hitmesh.runtime.clock import SystemClock
from hitmesh.runtime.logs import configure
from processor.building import build_settler
from processor.settings import ProcessorSettings
from processor.settle.settlement import Settled
from processor.settle.settler import Settler
from tests.bench.filled_store import BIG_DAY
from tests.bench.stages import StageTimer

STAGES = (
    (processor.settle.attempt, "read_window", "read_and_decode"),
    (processor.settle.settlement, "find_copies", "duplicates"),
    (processor.settle.built, "build_visits", "visits"),
    (processor.settle.settlement, "traffic_rows", "traffic_rows"),
    (processor.settle.settlement, "visits_rows", "visits_rows"),
    (EmbeddedRollupSink, "write", "write"),
)


def main() -> None:
    """Settle all dirty site-days, then settle the big day again for each line on stdin."""
    configure("error", "bench", "bench-0")
    store = f"embedded:{sys.argv[1]}"
    clock = SystemClock()
    stores = open_stores(store, clock)
    timer, last = StageTimer(), _Last()
    for owner, attribute, stage in STAGES:
        timer.wrap(owner, attribute, stage)
    timer.wrap(processor.settle.attempt, "settle", "carry_ledger_and_rest", seen=last.note)
    settings = ProcessorSettings(store=store, resettle_after_ms=0, keep_superseded_ms=0, keep_replaced_ms=0)
    while build_settler(stores, clock, settings, threading.Event()).run_once():
        pass
    _say({"ready": True})
    for _ in sys.stdin:
        # Before a settler settles a day again, the settler waits as long as the previous settlement took. A new settler
        # does not wait.
        settler = build_settler(stores, clock, settings, threading.Event())
        _say({**_settle_again(stores, settler, timer), "rows": last.rows, "carry_visits": last.carry_visits})
    stores.close()


class _Last:
    """Size of the result of the last settlement."""

    def __init__(self) -> None:
        self.rows = 0
        self.carry_visits = 0

    def note(self, settled: Settled) -> None:
        """Store the number of rows, and the number of open visits that the day passes to the next day."""
        self.rows = settled.rows.height
        self.carry_visits = settled.carry.open_visits.height


def _settle_again(stores: Stores, settler: Settler, timer: StageTimer) -> dict[str, object]:
    """Mark the big day dirty, run a pass of the settler, and return the measurements."""
    record = next(iter(stores.raw.scan(BIG_DAY.site, BIG_DAY.day, BIG_DAY.day + 1)))
    stores.dirty.mark([DirtyMark(BIG_DAY, record.position, record.log_time)])
    timer.start()
    wall, used = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF)
    done = settler.run_once()
    after = resource.getrusage(resource.RUSAGE_SELF)
    generation = stores.generations.current(BIG_DAY.site, BIG_DAY.day, BIG_DAY.day + 1)[BIG_DAY.day].generation
    ledger = stores.generations.ledger(BIG_DAY.site, BIG_DAY.day, BIG_DAY.day + 1)[BIG_DAY.day]
    return {
        "done": done,
        "generation": generation,
        "hits": ledger.accepted,
        "duplicate": ledger.duplicate,
        "wall_s": time.monotonic() - wall,
        "user_s": after.ru_utime - used.ru_utime,
        "system_s": after.ru_stime - used.ru_stime,
        "max_rss_mib": after.ru_maxrss // 1024,
        "stages": dict(timer.seconds),
    }


def _say(answer: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
