"""This process measures the hand-over of a partition between two processors, on embedded stores.

The arguments are a directory on disk and the hits per window. Records come on stdin. The first processor processes all
records, whose times a clock follows that runs as fast as the records arrive. The first processor then saves its state,
and a second processor recovers the state. The answer is one JSON line on stdout.
"""

from __future__ import annotations

import json
import sys
import time
from contextlib import closing
from pathlib import Path

from hitmesh.adapters.factory import Stores, open_stores
from hitmesh.model.positions import Topic
from hitmesh.runtime.logs import configure
from processor.building import stream_stores
from processor.stream.pace import StreamPace
from processor.stream.runner import Runner
from tests.bench.core_records import START_MS
from tests.bench.record_file import read_records
from tests.bench.sites import create_sites
from tests.support.clock import ManualClock

PARTITIONS = {Topic.HITS: 1, Topic.REJECTED: 1}


def main() -> None:
    """Fill the state, hand it over, and print the answer."""
    configure("error", "bench", "bench-0")
    directory, pace = Path(sys.argv[1]), StreamPace(max_hits=int(sys.argv[2]))
    clock = ManualClock(START_MS)
    first, second = (
        open_stores(f"embedded:{directory / 'data'}", clock, node=name, partitions=PARTITIONS) for name in "ab"
    )
    with closing(first), closing(second):
        create_sites(first.directory)
        runner = Runner(stream_stores(first), clock, pace, home=directory / "a")
        hits = _age(first, clock, runner, pace.max_hits)
        began = time.perf_counter()
        runner.hand_over()
        runner.close()
        saved = time.perf_counter()
        taken_over = Runner(stream_stores(second), clock, pace, home=directory / "b")
        ended = time.perf_counter()
        kept, replayed = taken_over.recovered
        before, after = (
            [(state.next_offset, len(state.timelines), len(state.kept)) for state in each.states]
            for each in (runner, taken_over)
        )
        answer = {
            "hits": hits,
            "minutes": round((clock.now() - START_MS) / 60_000),
            "open_visits": sum(visits for _, visits, _ in after),
            "kept_hits": kept,
            "replayed_hits": replayed,
            "save_s": round(saved - began, 2),
            "recover_s": round(ended - saved, 2),
            "checks": {"ok": before == after and replayed == 0, "before": before, "after": after},
        }
    sys.stdout.write(json.dumps(answer) + "\n")


def _age(stores: Stores, clock: ManualClock, runner: Runner, window_hits: int) -> int:
    """Process all records from stdin; return the number of their hits."""
    hits = waiting = 0
    for logged in read_records(sys.stdin.buffer):
        clock.advance(max(logged.log_time - clock.now(), 0))
        stores.log.append(Topic.HITS, 0, logged.record)
        hits += logged.record.rows
        waiting += logged.record.rows
        if waiting >= window_hits:
            _take_all(stores, runner)
            waiting = 0
    _take_all(stores, runner)
    return hits


def _take_all(stores: Stores, runner: Runner) -> None:
    stores.log.flush(60.0)
    while runner.step(0.0):
        pass


if __name__ == "__main__":
    main()
