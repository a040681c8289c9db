"""Measure the peak memory for settling a huge site-day, with many visitors and with a single visitor.

Standalone: `python -m tests.bench.huge_run 10000000` prints the result as JSON. The arguments are the number of hits
    and, optionally, the hits per range of visitors.
"""

from __future__ import annotations

import json
import sys
import tempfile
from typing import Any, Final

from processor.settle.memory import DEFAULT_MEMORY
from tests.bench.measured import Child, Result, progress, run

MOST_MIB: Final = 2_048
_HITS_PER_VISITOR: Final = 25


def run_huge(hits: int, range_hits: int = DEFAULT_MEMORY.range_hits) -> Result:
    """Return the peak memory and the rate. The day has many visitors, or a single visitor who has all hits."""
    progress(f"huge site-day: {hits:,} hits of many visitors, then of one, in ranges of {range_hits:,}")
    many = _settled(hits, max(1, hits // _HITS_PER_VISITOR), range_hits)
    single = _settled(hits, 1, range_hits)
    peak = max(many["max_rss_mib"], single["max_rss_mib"])
    return {
        "max_rss_mib": {"value": peak, "unit": "MiB", "aim": MOST_MIB, "ok": peak <= MOST_MIB},
        "many_visitors": _with_rate(many),
        "one_visitor": _with_rate(single),
        "checks": {"ok": all(_is_right(answer, hits, range_hits) for answer in (many, single))},
    }


def _settled(hits: int, visitors: int, range_hits: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="hitmesh-bench-huge-") as directory:
        run("tests.bench.huge_process", "fill", directory, str(hits), str(visitors))
        process = Child("tests.bench.huge_process", "settle", directory, str(range_hits), settles=True)
        process.stop()
        return process.first_answer


def _with_rate(answer: dict[str, Any]) -> Result:
    return {**answer, "hits_per_s_and_core": round(answer["accepted"] / answer["cpu_s"])}


def _is_right(answer: dict[str, Any], hits: int, range_hits: int) -> bool:
    copies = answer["duplicate"]
    counted = (answer["accepted"], answer["hits_in_series"], copies)
    return bool(counted == (hits, hits - copies, hits // 1_000) and answer["in_ranges"] == (hits > range_hits))


if __name__ == "__main__":
    sys.stdout.write(json.dumps(run_huge(*map(int, sys.argv[1:3])), indent=2) + "\n")
