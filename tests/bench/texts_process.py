"""Measure, in a separate process, the memory of a stream in which every hit has a different page.

The arguments are the number of hits, the texts allowed per site and hour, and a directory on disk. The answer is one
    JSON line.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl

from hitmesh.model.records import LoggedRecord
from processor.stream.live.limits import Limits
from processor.stream.live.state import LiveState
from processor.stream.spilled import SpillFiles
from tests.bench.core_process import PARTITION, Core
from tests.bench.core_records import START_MS
from tests.bench.plain_records import a_record, page_views

HITS_OF_A_RECORD: Final = 10_000
RECORDS_OF_A_WINDOW: Final = 5
VISITORS: Final = 10_000
HITS_OF_A_SECOND: Final = 1_000
LOOKS: Final = 10


def main() -> None:
    """Process the hits, measure the memory ten times, and print the measurements."""
    hits, texts_per_hour = int(sys.argv[1]), int(sys.argv[2])
    cache = Path(sys.argv[3])
    core = Core(cache)
    core.state = LiveState(PARTITION, SpillFiles(cache).spill, Limits(texts_per_hour=texts_per_hour))
    windows = max(1, hits // (HITS_OF_A_RECORD * RECORDS_OF_A_WINDOW))
    looks: list[dict[str, Any]] = []
    for number in range(windows):
        first = number * RECORDS_OF_A_WINDOW
        core.note(core.take([_record(offset) for offset in range(first, first + RECORDS_OF_A_WINDOW)]))
        if number % max(1, windows // LOOKS) == 0 or number == windows - 1:
            interned = core.state.interned
            looks.append(
                {
                    "hits": core.totals["hits"],
                    "memory_mib": _private_mib(),
                    "texts": len(interned.texts),
                    "tuples": len(interned.tuples),
                }
            )
    answer = {"hits": core.totals["hits"], "rows": core.rows, "texts_per_hour": texts_per_hour, "looks": looks}
    sys.stdout.write(json.dumps(answer) + "\n")


def _record(offset: int) -> LoggedRecord:
    numbers = np.arange(offset * HITS_OF_A_RECORD, (offset + 1) * HITS_OF_A_RECORD)
    at_ms = START_MS + numbers * 1_000 // HITS_OF_A_SECOND
    number = pl.Series(numbers)
    visitors = pl.Series(numbers % VISITORS)
    pages = pl.select(pl.format("/a/page/that/nobody/else/asks/for/{}", number)).to_series()
    columns = {"visitor_hi": visitors, "visitor_lo": visitors, "page_path": pages}
    return a_record(offset, int(at_ms[-1]), page_views("merchants/m/sites/s", numbers, at_ms, columns))


def _private_mib() -> int:
    """Return this process's resident memory without mapped files."""
    status = Path("/proc/self/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("RssAnon:"))
    return int(line.split()[1]) // 1_024


if __name__ == "__main__":
    main()
