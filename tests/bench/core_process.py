"""This process measures the processor's core.

The core turns a partition's records into rows with positive and negative amounts, without a store.

The arguments are the minutes of log time before the measurement, a directory on disk, and the hits per window. The
minutes before the measurement only fill the state. Records come on stdin. The records to measure are buffered on disk
until the sender has finished. The answer is one JSON line on stdout.
"""

from __future__ import annotations

import gc
import json
import resource
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np

import processor.stream.live.rows
import processor.stream.live.step
import processor.stream.live.timelines_step
from hitmesh.adapters.memory.claims import MemoryOrderClaims
from hitmesh.model.positions import PartitionId
from hitmesh.model.records import LoggedRecord
from hitmesh.model.rows.stream_columns import EPOCH_MS
from hitmesh.model.stream_values import FoldedRows
from hitmesh.runtime.logs import configure
from processor.stream.intake import take_in, windows
from processor.stream.live.epochs import EpochSums
from processor.stream.live.folding import FoldedTexts
from processor.stream.live.id_filter import IdFilter
from processor.stream.live.kept import KeptHits
from processor.stream.live.sites import DEFAULT_RULES
from processor.stream.live.state import LiveState, PathCounts
from processor.stream.live.step import RecordsOf, apply, prepare
from processor.stream.spilled import SpillFiles
from processor.stream.stores import wins_of
from tests.bench.core_records import MINUTE_MS, START_MS
from tests.bench.record_file import LOG, read_records, write_record
from tests.bench.stages import StageTimer

PARTITION: Final = PartitionId(LOG, 0)
STAGES: Final = (
    (sys.modules[__name__], "take_in", "read_records"),
    (processor.stream.live.step, "find_stream_copies", "copies"),
    (IdFilter, "add", "copies"),
    (sys.modules[__name__], "prepare", "timelines"),
    (processor.stream.live.step, "advance", "endings"),
    (processor.stream.live.step, "move_horizon", "horizon"),
    (processor.stream.live.step, "take_hits", "timelines"),
    (processor.stream.live.timelines_step, "_fast", "visits_fast"),
    (processor.stream.live.timelines_step, "_slow", "visits_slow"),
    (processor.stream.live.timelines_step, "added", "contributions"),
    (processor.stream.live.timelines_step, "taken_back", "contributions"),
    (processor.stream.live.timelines_step, "of_visits", "contributions"),
    (processor.stream.live.step, "folded_traffic", "traffic_rows"),
    (processor.stream.live.step, "folded_visits", "visits_rows"),
    (processor.stream.live.rows, "visitor_sketches", "sketches"),
    (processor.stream.live.step, "ledger_of", "sums"),
    (EpochSums, "add_rows", "sums"),
    (EpochSums, "add_counts", "sums"),
    (KeptHits, "add", "kept_hits"),
    (FoldedTexts, "take", "distinct_texts"),
)


class Core:
    """The state of a partition, with the totals of all emitted rows."""

    def __init__(self, cache: Path) -> None:
        self.state = LiveState(PARTITION, SpillFiles(cache).spill)
        self.counts = PathCounts()
        self.rows = 0
        self.totals: Counter[str] = Counter()
        self._holders = MemoryOrderClaims()

    def take(self, records: list[LoggedRecord]) -> FoldedRows:
        """Process a window of records and return the rows. All records must belong to the same epoch."""
        intake = take_in(records)
        partition_intake = intake.partitions[PARTITION]
        unknown = self.state.sites.unknown(partition_intake.hits["site"].unique().to_list())
        rules = dict.fromkeys(unknown, DEFAULT_RULES)
        prepared = prepare(
            self.state, RecordsOf(partition_intake.ends, partition_intake.hits, partition_intake.siteless), rules
        )
        wins = wins_of({PARTITION: prepared}, intake.claims, self._holders)
        stepped = apply(self.state, prepared, wins[PARTITION])
        self.counts.add(stepped.counts)
        return stepped.rows

    def note(self, rows: FoldedRows) -> None:
        """Add the rows to the totals. The totals are later compared with the input."""
        self.rows += rows.traffic.height + rows.visits.height
        for name in ("hits", "excluded_hits", "duplicate_hits", "orders"):
            self.totals[name] += int(rows.traffic[name].sum())
        for name in ("visits", "order_visits"):
            self.totals[name] += int(rows.visits[name].sum())


def main() -> None:
    """Fill the state with the first records, measure the other records, and print the answer."""
    configure("error", "bench", "bench-0")
    before_ms, directory = START_MS + int(sys.argv[1]) * MINUTE_MS, Path(sys.argv[2])
    window_hits = int(sys.argv[3])
    timer = StageTimer()
    for owner, attribute, stage in STAGES:
        timer.wrap(owner, attribute, stage)
    core, idle = Core(directory / "kept"), _memory()
    records = read_records(sys.stdin.buffer)
    aged_hits, aged_s = 0, 0.0
    for window in _windows(records, window_hits, before_ms):
        began = time.process_time()
        rows = core.take(window)
        aged_s += time.process_time() - began
        aged_hits += sum(logged.record.rows for logged in window)
        core.note(rows)
    aside = directory / "records"
    first_offset = core.state.next_offset
    with aside.open("wb") as target:
        for record in records:
            write_record(target, record.log_time, record.record)
    answer = _measure(core, timer, aside, first_offset, idle, window_hits)
    answer["aged"] = {"hits": aged_hits, "hits_per_s_and_core": round(aged_hits / aged_s)}
    answer["checks"] = _checks(core, aged_hits + answer["hits"])
    sys.stdout.write(json.dumps(answer) + "\n")


def _windows(
    records: Iterator[LoggedRecord] | Iterable[LoggedRecord], window_hits: int, end_ms: int | None = None
) -> Iterator[list[LoggedRecord]]:
    """Yield records in windows of the size that a runner polls.

    Stop after the window in which log time reaches `end_ms`.
    """
    gathered: list[LoggedRecord] = []
    hits = 0
    for record in records:
        gathered.append(record)
        hits += record.record.rows
        if hits >= window_hits:
            yield from windows(gathered, EPOCH_MS)
            if end_ms is not None and record.log_time >= end_ms:
                return
            gathered, hits = [], 0
    if gathered:
        yield from windows(gathered, EPOCH_MS)


def _measure(
    core: Core, timer: StageTimer, records: Path, first_offset: int, idle: dict[str, int], window_hits: int
) -> dict[str, Any]:
    timer.start()
    gc.collect()
    before = PathCounts()
    before.add(core.counts)
    hits, cpu_s, wall_s, steps, rows_before = 0, 0.0, 0.0, 0, core.rows
    with records.open("rb") as source:
        for window in _windows(read_records(source, first_offset), window_hits):
            used, began = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
            rows = core.take(window)
            wall_s += time.perf_counter() - began
            after = resource.getrusage(resource.RUSAGE_SELF)
            cpu_s += after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime
            steps += 1
            hits += sum(logged.record.rows for logged in window)
            core.note(rows)
    held = _memory()
    now = core.state.timelines.now
    return {
        "hits": hits,
        "cpu_s": cpu_s,
        "wall_s": wall_s,
        "steps": steps,
        "rows": core.rows - rows_before,
        "stages": dict(timer.seconds),
        "paths": {name: getattr(core.counts, name) - getattr(before, name) for name in PathCounts.__dataclass_fields__},
        "open_visits": len(core.state.timelines),
        "not_ended": int((~now.ended(core.state.log_time)).sum()),
        "kept_hits": len(core.state.kept),
        "rss_bytes": held["RssAnon"] - idle["RssAnon"],
        "mapped_bytes": held["RssFile"] - idle["RssFile"],
        "timelines_bytes": _array_bytes(core.state.timelines),
        "ids_bytes": _array_bytes(core.state.ids),
        "tuples": len(core.state.interned.tuples),
        "texts": len(core.state.interned.texts),
        "max_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1_024,
    }


def _array_bytes(value: object) -> int:
    """Return the total size in bytes of the NumPy arrays in an object of the live stream, including nested arrays."""
    if isinstance(value, np.ndarray):
        return value.nbytes
    if isinstance(value, list):
        return sum(map(_array_bytes, value))
    if not type(value).__module__.startswith("processor.stream.live."):
        return 0
    slots = [name for cls in type(value).__mro__ for name in getattr(cls, "__slots__", ())]
    held = [*getattr(value, "__dict__", {}).values(), *(getattr(value, name) for name in slots)]
    return sum(map(_array_bytes, held))


def _checks(core: Core, sent: int) -> dict[str, Any]:
    """Return whether the rows contain each input hit exactly once.

    The rows count a hit either in `hits` or in `duplicate_hits`.
    """
    return {"sent": sent, **core.totals, "ok": core.totals["hits"] + core.totals["duplicate_hits"] == sent}


def _memory() -> dict[str, int]:
    """Return this process's resident memory in bytes, by kind: anonymous memory, mapped files and shared memory."""
    gc.collect()
    lines = (line.split() for line in Path("/proc/self/status").read_text().splitlines())
    return {words[0].rstrip(":"): int(words[1]) * 1_024 for words in lines if words[0].startswith("Rss")}


if __name__ == "__main__":
    main()
