"""Measure how much a shop that sends a single visitor id for all people delays other sites' hits (rule S9).

Standalone: `python -m tests.bench.one_visitor_run 1000000` prints the result as JSON. The argument is the number of
    hits.
"""

from __future__ import annotations

import json
import sys
import tempfile
from typing import Any, Final

from processor.stream.live.limits import PRODUCTION
from tests.bench.measured import Child, Result, progress

AIM_S: Final = 1.0


def run_one_visitor(hits: int, kept_of_visitor: int = PRODUCTION.kept_of_visitor) -> Result:
    """Measure the lag with a single visitor id and with many ids, and return the difference in seconds."""
    progress(f"one visitor: {hits:,} hits of one id beside another site, then the same of many")
    single, many = _taken(hits, 1, kept_of_visitor), _taken(hits, max(1, hits // 5), kept_of_visitor)
    lost_s = single["lag_s"] - many["lag_s"]
    return {
        "freshness_lost_s": {"value": round(lost_s, 3), "unit": "s", "aim": AIM_S, "ok": lost_s <= AIM_S},
        "one_id": _rounded(single),
        "many_ids": _rounded(many),
        "checks": {"ok": all(run["counted"] == run["sent"] for run in (single, many))},
    }


def _taken(hits: int, visitors: int, kept_of_visitor: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="hitmesh-bench-one-visitor-") as directory:
        process = Child("tests.bench.one_visitor_process", str(hits), str(visitors), str(kept_of_visitor), directory)
        answer = process.first_answer
        process.stop()
    return answer


def _rounded(answer: dict[str, Any]) -> Result:
    return {name: round(value, 3) if isinstance(value, float) else value for name, value in answer.items()}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(run_one_visitor(int(sys.argv[1])), indent=2) + "\n")
