"""Fill an embedded store with a huge site-day, or settle this site-day. After settlement, print the peak memory.

`fill DIR HITS VISITORS` writes raw records. `settle DIR RANGE_HITS` settles the site-day as the settler does, and
prints one JSON line. Settlement begins with raw records and ends with readable rows and series. Filling and settling
are separate processes, so that the memory for filling does not count.
"""

from __future__ import annotations

import json
import resource
import sys
import threading
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl

from hitmesh.adapters.factory import open_stores
from hitmesh.model.arrays import I64Array
from hitmesh.model.hit_types import HitType
from hitmesh.model.positions import PartitionId, Position
from hitmesh.model.records import RawRecord
from hitmesh.model.sites import SiteDay
from hitmesh.model.zones import DAY_MS
from hitmesh.runtime.clock import SystemClock
from hitmesh.runtime.logs import configure
from processor.building import settler_stores
from processor.settle.attempt import Attempt
from processor.settle.memory import SettleMemory
from processor.settle.readable import ReadableRows
from tests.bench.plain_records import a_record, page_views

HUGE_DAY: Final = SiteDay("merchants/m/sites/huge", 20_000)
PARTITION: Final = PartitionId("bench", 0)
RECORD_HITS: Final = 2_000
_RECORDS_AT_ONCE: Final = 100
_PAGES: Final = 2_000
_EVENTS: Final = 10
_COPIES: Final = 1_000
_MIX: Final = np.uint64(0x9E3779B97F4A7C15)


def main() -> None:
    """Fill or settle."""
    configure("error", "bench", "bench-0")
    if sys.argv[1] == "fill":
        _fill(sys.argv[2], *map(int, sys.argv[3:5]))
    else:
        sys.stdout.write(json.dumps(_settle(sys.argv[2], int(sys.argv[3]))) + "\n")


def _fill(directory: str, hits: int, visitors: int) -> None:
    stores = open_stores(f"embedded:{directory}", SystemClock())
    records = _records(hits, visitors)
    while together := list(islice(records, _RECORDS_AT_ONCE)):
        stores.raw.put(together)
    stores.close()


def _records(hits: int, visitors: int) -> Iterator[RawRecord]:
    for offset in range(-(-hits // RECORD_HITS)):
        numbers = np.arange(offset * RECORD_HITS, min(hits, (offset + 1) * RECORD_HITS))
        at_ms = HUGE_DAY.day * DAY_MS + numbers * DAY_MS // hits
        logged = a_record(
            offset, int(at_ms[-1]), page_views(HUGE_DAY.site, numbers, at_ms, _columns(numbers, visitors))
        )
        made = logged.record
        yield RawRecord(
            Position(*PARTITION, offset),
            logged.log_time,
            made.rows,
            made.min_event_time,
            made.max_event_time,
            made.value,
            made.schema_version,
            frozenset({HUGE_DAY}),
        )


def _columns(numbers: I64Array, visitors: int) -> dict[str, object]:
    """Return hits as columns. A visitor has five consecutive hits. Every 10th hit is an event."""
    mixed = numbers.astype(np.uint64) * _MIX
    visitor = (numbers // 5 % visitors + 1).astype(np.uint64) * _MIX
    pages, sources = (mixed >> np.uint64(40)) % np.uint64(_PAGES), visitor >> np.uint64(60)
    is_event = numbers % _EVENTS == 0
    ids = np.where(numbers % _COPIES == _COPIES - 1, numbers - 1, numbers)  # The hit is a copy of the previous hit.
    return {
        "visitor_hi": visitor,
        "visitor_lo": visitor,
        "hit_id": pl.Series(ids).cast(pl.String),
        "hit_hash": ids.astype(np.uint64) * _MIX,
        "content_hash": ids.astype(np.uint64),
        "hit_type": np.where(is_event, int(HitType.EVENT), int(HitType.PAGE_VIEW)),
        "hostname": pl.Series(["shop.example"]).new_from_index(0, len(numbers)),
        "page_path": pl.select(pl.format("/page/{}", pl.Series(pages))).to_series(),
        "source": pl.select(pl.format("source-{}", pl.Series(sources))).to_series(),
    }


def _settle(directory: str, range_hits: int) -> dict[str, object]:
    clock = SystemClock()
    stores = open_stores(f"embedded:{directory}", clock)
    everything = {PARTITION: 1 << 60}
    memory = SettleMemory(range_hits, scratch=Path(directory) / "scratch")
    began, used_s = time.monotonic(), time.process_time()
    attempt = Attempt(settler_stores(stores), HUGE_DAY, everything, everything, memory=memory)
    settled = attempt.settle()
    assert settled is not None
    rows = ReadableRows(stores.sink, clock, threading.Event(), timeout_s=600.0)
    rows.write([(HUGE_DAY, attempt.generation, settled)])
    series = attempt.series_of(settled)
    stores.series.put_settled(HUGE_DAY, attempt.generation, series)
    answer: dict[str, object] = {
        "accepted": settled.ledger.accepted,
        "duplicate": settled.ledger.duplicate,
        "hits_in_series": int(series["hits"].sum()),
        "visits": int(series["visits"].sum()),
        "rows": settled.rows.height,
        "in_ranges": not settled.rows.is_in_memory,
        "wall_s": round(time.monotonic() - began, 2),
        "cpu_s": round(time.process_time() - used_s, 2),
        "max_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    stores.close()
    return answer


if __name__ == "__main__":
    main()
