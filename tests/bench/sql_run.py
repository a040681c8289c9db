"""Compare settlement with the SQL of a settlement in other engines, on the same machine in the same run."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.bench.measured import Child, Result, progress
from tests.bench.sql_peers import ENGINES


def run_sql_peers(hits: int, settled_per_s: float) -> Result:
    """Return each engine's hits per second and core, and the ratio of settlement's rate to the engine's.

    Args:
        hits: hits for each engine.
        settled_per_s: settlement's hits per second and core.
    """
    progress(f"sql peers: {hits:,} hits in each engine")
    with tempfile.TemporaryDirectory(prefix="hitmesh-bench-sql-") as directory:
        return {engine: _measured(engine, Path(directory) / "hits.parquet", hits, settled_per_s) for engine in ENGINES}


def _measured(engine: str, file: Path, hits: int, settled_per_s: float) -> Result:
    process = Child("tests.bench.sql_peers", engine, str(file), str(hits))
    process.stop()
    answer = process.first_answer
    if "left_out" in answer:
        progress(f"sql peers: {engine} is left out: {answer['left_out']}")
        return answer
    rate = answer["hits"] / answer["cpu_s"]
    return {
        "hits_per_s_and_core": round(rate),
        "settlement_to_peer": {"value": round(settled_per_s / rate, 3), "aim": 1, "ok": settled_per_s >= rate},
    }
