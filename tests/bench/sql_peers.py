"""The SQL of a settlement in the engines that a user might choose instead, in one thread; a process per engine.

Visits are cut at gaps of 30 minutes; hits are grouped by cell and six dimensions, with sums and a sketch of visitors.
The SQL has fewer dimensions than a settlement, and handles no copies, orders, caps, campaigns or carry.

`python -m tests.bench.sql_peers duckdb FILE HITS` makes FILE if it is missing, and prints one JSON line: CPU seconds of
the fastest of three runs, or why the engine was skipped. The engines are the extra `bench`.
"""

from __future__ import annotations

import importlib
import json
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

ENGINES: Final = ("duckdb", "chdb")
_RUNS: Final = 3
_VISITORS: Final = 120_000
_DAY_MS: Final = 86_400_000
_TEXTS: Final = {"page": 2_000, "host": 2, "channel": 8, "source": 60, "device": 3, "browser": 12}
_DIMENSIONS: Final = ", ".join(_TEXTS)
_VISITS: Final = """WITH s AS (SELECT *, CASE WHEN ts - {lag} > 1800000 THEN 1 ELSE 0 END AS new FROM {source}),
g AS (SELECT *, sum(new) OVER (PARTITION BY visitor ORDER BY ts ROWS UNBOUNDED PRECEDING) AS n FROM s),
v AS (SELECT visitor, n, min(ts) AS t0, max(ts) - min(ts) AS dur, count(*) AS c, {first}(page, ts) AS landing,
    {last}(page, ts) AS exit_page, {first}(channel, ts) AS channel, {first}(source, ts) AS source,
    {first}(device, ts) AS device, {first}(browser, ts) AS browser FROM g GROUP BY visitor, n)
SELECT count(*), sum(v2) FROM (SELECT {cell} AS cell, landing, exit_page, channel, source, device, browser,
    count(*) AS v2, sum(CASE WHEN c = 1 THEN 1 ELSE 0 END) AS bounces, sum(dur) AS d FROM v GROUP BY ALL)"""


def main() -> None:
    """Measure an engine."""
    engine, file, hits = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    try:
        settle = {"duckdb": _duckdb, "chdb": _chdb}[engine](file)
    except ImportError as error:
        answer: dict[str, Any] = {"left_out": f"{error}: install the extra, pip install 'hitmesh[bench]'"}
    else:
        if not file.exists():
            _write_hits(file, hits)
        took_s = [_cpu_s(settle) for _ in range(_RUNS)]
        answer = {"cpu_s": min(took_s), "hits": hits}
    sys.stdout.write(json.dumps(answer) + "\n")


def _cpu_s(work: Callable[[], None]) -> float:
    before = resource.getrusage(resource.RUSAGE_SELF)
    work()
    after = resource.getrusage(resource.RUSAGE_SELF)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def _duckdb(file: Path) -> Callable[[], None]:
    connection = importlib.import_module("duckdb").connect()
    connection.execute("SET threads=1")
    lag = "lag(ts, 1, -99999999) OVER (PARTITION BY visitor ORDER BY ts)"
    visits = _VISITS.format(lag=lag, source=f"'{file}'", first="arg_min", last="arg_max", cell="t0 // 900000")

    def settle() -> None:
        connection.execute(
            f"CREATE OR REPLACE TABLE traffic AS SELECT ts // 900000 AS cell, {_DIMENSIONS}, count(*) AS hits, "
            f"sum(revenue) AS revenue, approx_count_distinct(visitor) AS visitors FROM '{file}' GROUP BY ALL"
        ).fetchall()
        connection.execute(visits).fetchall()

    return settle


def _chdb(file: Path) -> Callable[[], None]:
    session = importlib.import_module("chdb.session").Session()
    frame = "ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING"
    lag = f"lagInFrame(ts, 1, toInt64(-99999999)) OVER (PARTITION BY visitor ORDER BY ts {frame})"
    source = f"file('{file}')"
    visits = _VISITS.format(lag=lag, source=source, first="argMin", last="argMax", cell="intDiv(t0, 900000)")

    def settle() -> None:
        session.query(
            f"SELECT count() FROM (SELECT intDiv(ts, 900000) AS cell, {_DIMENSIONS}, count() AS hits, "
            f"sum(revenue) AS revenue, uniqState(visitor) AS visitors FROM {source} GROUP BY ALL) "
            "SETTINGS max_threads = 1",
            "CSV",
        )
        session.query(f"{visits} SETTINGS max_threads = 1", "CSV")

    return settle


def _write_hits(file: Path, hits: int) -> None:
    dice = np.random.default_rng(7)

    def texts(name: str, count: int) -> pa.Array:
        numbers: npt.NDArray[np.int64] = dice.zipf(1.5, hits) % count
        return pa.array([f"{name}{number}" for number in numbers.tolist()])

    revenue = np.where(dice.random(hits) < 0.0125, dice.integers(1_000_000, 90_000_000, hits), 0)
    columns = {
        "ts": pa.array(np.sort(dice.integers(0, _DAY_MS, hits)), pa.int64()),
        "visitor": pa.array((dice.zipf(1.3, hits) % _VISITORS).astype(np.uint64)),
        **{name: texts(name, count) for name, count in _TEXTS.items()},
        "revenue": pa.array(revenue),
    }
    pq.write_table(pa.table(columns), file, compression="zstd")


if __name__ == "__main__":
    main()
