"""This process streams a million hits with a single visitor id (rule S9). The process also streams another site's hits.

The arguments are the shop's number of hits, the shop's number of visitors, the limit on kept hits per visitor, and a
directory on disk. The answer is one JSON line.

The shop's hits resemble those of a tag that sends the same visitor id for all people. Every other record is ten minutes
late. All hits in the late records arrive out of order. A hundredth of the hits are sent twice. Every tenth hit is an
event, so that visits begin without a page view.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl

from hitmesh.model.hit_types import HitType
from hitmesh.model.records import LoggedRecord
from processor.stream.live.limits import Limits
from processor.stream.live.state import LiveState
from processor.stream.spilled import SpillFiles
from tests.bench.core_process import PARTITION, Core
from tests.bench.core_records import START_MS
from tests.bench.plain_records import a_record, page_views

HITS_OF_A_SECOND: Final = 2_000
RECORD_MS: Final = 1_000
DELAY_MS: Final = 10 * 60_000
OTHERS: Final = 20
COPIES: Final = 100
EVENTS: Final = 10
_SHOP: Final = "merchants/m/sites/shop"
_OTHER: Final = "merchants/m/sites/other"


def main() -> None:
    """Process each record. Print the maximum lag that the other site's hits have if a record arrives every second."""
    hits, visitors, kept_of_visitor, cache = *map(int, sys.argv[1:4]), Path(sys.argv[4])
    core = Core(cache)
    core.state = LiveState(PARTITION, SpillFiles(cache).spill, Limits(kept_of_visitor=kept_of_visitor))
    took_s: list[float] = []
    for offset in range(-(-hits // HITS_OF_A_SECOND)):
        record = _record(offset, min(HITS_OF_A_SECOND, hits - offset * HITS_OF_A_SECOND), visitors)
        began = time.process_time()
        rows = core.take([record])
        took_s.append(time.process_time() - began)
        core.note(rows)
    answer: dict[str, Any] = {
        "lag_s": _lag_s(took_s),
        "slowest_step_s": max(took_s),
        "all_s": sum(took_s),
        "kept_hits": len(core.state.kept),
        "paths": {name: getattr(core.counts, name) for name in core.counts.__dataclass_fields__},
        "counted": core.totals["hits"] + core.totals["duplicate_hits"],
        "sent": hits + OTHERS * len(took_s),
    }
    sys.stdout.write(json.dumps(answer) + "\n")


def _lag_s(took_s: list[float]) -> float:
    """Return the maximum time between a record's arrival and the end of its processing. A record arrives every second.

    `took_s` contains the CPU seconds of each record's processing.
    """
    done_s = lag_s = 0.0
    for number, step_s in enumerate(took_s):
        arrives_s = number * RECORD_MS / 1_000
        done_s = max(done_s, arrives_s) + step_s
        lag_s = max(lag_s, done_s - arrives_s)
    return lag_s


def _record(offset: int, hits: int, visitors: int) -> LoggedRecord:
    log_time = START_MS + DELAY_MS + (offset + 1) * RECORD_MS
    numbers = offset * HITS_OF_A_SECOND + np.arange(hits)
    numbers[COPIES::COPIES] = numbers[COPIES - 1 : hits - 1 : COPIES]
    at_ms = log_time - RECORD_MS + numbers % HITS_OF_A_SECOND * RECORD_MS // HITS_OF_A_SECOND
    at_ms = at_ms if offset % 2 == 0 else at_ms - DELAY_MS
    visitor = pl.Series(numbers % visitors)
    is_event = numbers % EVENTS == 0
    of_shop = {
        "visitor_hi": visitor,
        "visitor_lo": visitor,
        "hit_type": np.where(is_event, int(HitType.EVENT), int(HitType.PAGE_VIEW)),
        "page_path": pl.select(pl.format("/page/{}", pl.Series(numbers % 1_000))).to_series(),
    }
    others = offset * OTHERS + np.arange(OTHERS)
    other = pl.Series(others % 1_000 + 1)
    of_others = {"visitor_hi": other, "visitor_lo": other, "page_path": pl.Series(["/"]).new_from_index(0, OTHERS)}
    return a_record(
        offset,
        log_time,
        page_views(_SHOP, numbers, at_ms, of_shop),
        page_views(_OTHER, others, np.full(OTHERS, log_time), of_others),
    )


if __name__ == "__main__":
    main()
