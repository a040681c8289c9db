"""The process in which memory is measured while every hit has a page of its own: records of a partition in, rows out.

Arguments: how many hits, how many texts a site may have in an hour, a directory on disk. The answer is one JSON line.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl

from hitmesh.columns import HITS_COLUMNS, pack_record
from hitmesh.hit_types import HitType
from hitmesh.keys import hash64_column
from hitmesh.ports import LoggedRecord, Position, Record, RecordKind
from processor.live.limits import Limits
from processor.live.state import LiveState
from tests.bench.core_process import PARTITION, Core
from tests.bench.core_records import START_MS

HITS_OF_A_RECORD: Final = 10_000
RECORDS_OF_A_WINDOW: Final = 5
VISITORS: Final = 10_000
HITS_OF_A_SECOND: Final = 1_000
LOOKS: Final = 10


def main() -> None:
    """Takes hits, looks at memory ten times, answers."""
    hits, texts_per_hour = int(sys.argv[1]), int(sys.argv[2])
    cache = Path(sys.argv[3])
    core = Core(cache)
    core.state = LiveState(PARTITION, cache, Limits(texts_per_hour=texts_per_hour))
    windows = max(1, hits // (HITS_OF_A_RECORD * RECORDS_OF_A_WINDOW))
    looks: list[dict[str, Any]] = []
    for number in range(windows):
        first = number * RECORDS_OF_A_WINDOW
        core.note(core.take([_record(offset) for offset in range(first, first + RECORDS_OF_A_WINDOW)]))
        if number % max(1, windows // LOOKS) == 0 or number == windows - 1:
            interned = core.state.interned
            looks.append(
                {
                    "hits": core.said["hits"],
                    "memory_mib": _private_mib(),
                    "texts": len(interned.texts),
                    "tuples": len(interned.tuples),
                }
            )
    answer = {"hits": core.said["hits"], "rows": core.rows, "texts_per_hour": texts_per_hour, "looks": looks}
    sys.stdout.write(json.dumps(answer) + "\n")


def _record(offset: int) -> LoggedRecord:
    numbers = np.arange(offset * HITS_OF_A_RECORD, (offset + 1) * HITS_OF_A_RECORD)
    at_ms = START_MS + numbers * 1_000 // HITS_OF_A_SECOND
    number = pl.Series(numbers)
    ids = hash64_column(number.cast(pl.String)).to_numpy()
    visitors = pl.Series(numbers % VISITORS).cast(pl.UInt64)
    columns: dict[str, Any] = {
        "site": pl.Series(["merchants/m/sites/s"]).new_from_index(0, len(numbers)),
        "visitor_hi": visitors,
        "visitor_lo": visitors,
        "hit_hash": ids,
        "content_hash": ids,
        "event_time": at_ms,
        "collect_time": at_ms,
        "hit_type": np.full(len(numbers), int(HitType.PAGE_VIEW), np.uint8),
        "interactive": np.ones(len(numbers), np.bool_),
        "offline": np.zeros(len(numbers), np.bool_),
        "flags": np.zeros(len(numbers), np.uint32),
        "campaign_hash": np.zeros(len(numbers), np.uint64),
        "hit_id": number.cast(pl.String),
        "page_path": pl.select(pl.format("/a/page/that/nobody/else/asks/for/{}", number)).to_series(),
    }
    rows = pl.DataFrame(columns).select(pl.col(name).cast(HITS_COLUMNS[name]) for name in columns)
    record = Record(RecordKind.HITS, pack_record(rows), rows.height, int(at_ms[0]), int(at_ms[-1]), int(at_ms[-1]))
    return LoggedRecord(Position(*PARTITION, offset), int(at_ms[-1]), record)


def _private_mib() -> int:
    """Returns the memory of this process without files that are mapped."""
    status = Path("/proc/self/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("RssAnon:"))
    return int(line.split()[1]) // 1_024


if __name__ == "__main__":
    main()
