"""Fill the embedded store DIR as production does: the collector admits hits into the log, and the processor reads them.

The first site gets BIG_HITS hits on a single day. The second site gets SERIES_HITS hits on each of SERIES_DAYS days.
This module runs as a separate process, so that its memory does not count in the measurement.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from concurrent.futures import Future

from collector.admission import Frame
from collector.batcher import MicroBatcher
from collector.classify import Classifier
from collector.micro_batch import Waiting
from collector.outcome import BatchOutcome
from collector.records import heartbeat_record
from collector.settings import CollectorSettings
from hitmesh.adapters.factory import Stores, open_stores
from hitmesh.model.positions import Topic
from hitmesh.model.sites import SiteDay
from hitmesh.ports import Clock
from hitmesh.runtime.clock import SystemClock
from hitmesh.runtime.logs import configure
from hitmesh.runtime.telemetry import unmeasured
from processor.building import build_runner
from processor.settings import ProcessorSettings
from tests.bench.sites import KEYS, SITES, create_sites
from tests.bench.traffic import DAY, FRAME_HITS, frames, load_traffic

OUTCOME_TIMEOUT_S = 60.0
BIG_DAY = SiteDay(SITES[0].name, DAY)
SERIES_SITE = SITES[1]
SERIES_KEY = KEYS[1]
# Number of batches that a collector under load admits together. The collector writes one log record per
# partition for all batches that it admits together.
BATCHES_AT_ONCE = 20
SERIES_BATCHES_AT_ONCE = 250


def main() -> None:
    """Fill the store `argv[1]`. Further arguments are BIG_HITS, SERIES_DAYS and SERIES_HITS."""
    big_hits, series_days, series_hits = map(int, sys.argv[2:5])
    configure("error", "bench", "bench-0")
    clock = SystemClock()
    stores = open_stores(f"embedded:{sys.argv[1]}", clock)
    create_sites(stores.directory)
    traffic = load_traffic()
    append(stores, clock, frames(traffic, KEYS[:1], big_hits // FRAME_HITS), BATCHES_AT_ONCE)
    days = range(DAY, DAY + series_days)
    series = (batch for day in days for batch in frames(traffic, [SERIES_KEY], series_hits // FRAME_HITS, day))
    append(stores, clock, series, SERIES_BATCHES_AT_ONCE)
    take_in(stores, clock)
    stores.close()


def append(stores: Stores, clock: Clock, batches: Iterable[bytes], batches_at_once: int) -> int:
    """Admit serialised batches into the log, and return the number of accepted hits.

    Each log record contains hits from `batches_at_once` batches.

    Raises:
        RuntimeError: a hit was not accepted.
    """
    settings = CollectorSettings(store="memory:", record_rows=1, linger_ms=0)
    batcher = MicroBatcher(stores.log, stores.directory, Classifier(), clock, settings)
    batcher.start()
    waiting: list[Future[BatchOutcome]] = []
    accepted = 0
    for batch in batches:
        pending: Future[BatchOutcome] = Future()
        batcher.submit(Waiting(Frame(batch, "", "", clock.now()), pending.set_result))
        waiting.append(pending)
        if len(waiting) == batches_at_once:
            accepted += _accepted(waiting)
            waiting = []
    accepted += _accepted(waiting)
    batcher.stop()
    return accepted


def take_in(stores: Stores, clock: Clock) -> None:
    """Run the stream over the whole log.

    For hits of closed days, the stream stores raw records, dirty marks and claims.

    A day is settled only after every partition has closed the day. The function therefore appends a heartbeat to each
    partition.
    """
    for partition in range(stores.log.partitions(Topic.HITS)):
        stores.log.append(Topic.HITS, partition, heartbeat_record("bench", clock.now()))
    stores.log.flush(OUTCOME_TIMEOUT_S)
    runner = build_runner(stores, stores.streams.read(), clock, ProcessorSettings(store="memory:"), unmeasured())
    while runner.step(0.0):
        pass
    runner.close()


def _accepted(waiting: Iterable[Future[BatchOutcome]]) -> int:
    accepted = 0
    for pending in waiting:
        outcome = pending.result(OUTCOME_TIMEOUT_S)
        if outcome.issues:
            raise RuntimeError(f"a hit of the measured traffic was not accepted: {outcome.issues[0].message}")
        accepted += outcome.accepted
    return accepted


if __name__ == "__main__":
    main()
