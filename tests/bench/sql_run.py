"""Compare settlement with equivalent SQL in other engines.

All measurements use the same hits and the same machine, in one run.
"""

from __future__ import annotations

import tempfile
from importlib.util import find_spec
from pathlib import Path

from tests.bench.measured import Child, Result, progress, run
from tests.bench.sql_peers import DIMENSIONS, ENGINES


def run_sql_peers(store: str, settled_per_s: float) -> Result:
    """Return each engine's hits per second and core, and the ratio of settlement's rate to the engine's rate.

    Args:
        store: the embedded store with the settled site-day.
        settled_per_s: hits per second and core that settlement reaches.
    """
    progress("sql peers: the hits of the settled site-day in each engine")
    with tempfile.TemporaryDirectory(prefix="hitmesh-bench-sql-") as directory:
        file = Path(directory) / "hits.parquet"
        run("tests.bench.sql_peers", "export", store, str(file))
        return {
            engine: {f"{kind}_dimensions": _measured(engine, file, kind, settled_per_s) for kind in DIMENSIONS}
            if find_spec(engine)
            else _left_out(engine)
            for engine in ENGINES
        }


def _left_out(engine: str) -> Result:
    reason = f"{engine} is not installed: install the extra, pip install 'hitmesh[bench]'"
    progress(f"sql peers: {engine} is left out: {reason}")
    return {"left_out": reason}


def _measured(engine: str, file: Path, dimensions: str, settled_per_s: float) -> Result:
    process = Child("tests.bench.sql_peers", engine, str(file), dimensions)
    process.stop()
    answer = process.first_answer
    rate = answer["hits"] / answer["cpu_s"]
    return {
        "hits_per_s_and_core": round(rate),
        "hits": answer["hits"],
        "rows": answer["rows"],
        "settlement_to_peer": {"value": round(settled_per_s / rate, 3), "aim": 1, "ok": settled_per_s >= rate},
    }
