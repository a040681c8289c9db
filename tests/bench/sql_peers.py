"""Run the SQL of a settlement in other SQL engines. Each engine runs in a separate process with a single thread.

Visits end after gaps of 30 minutes. Hits are grouped by cell and dimensions. Each group has sums and a sketch of
visitors. Each engine stores the rows of both results in a table in memory. Because every row is stored, the engine's
optimiser cannot leave out a sum. The set `six` has six dimensions, and the set `all` has all dimensions of hits. The
SQL writes no file. The SQL also ignores copies, refunds, items, caps, campaigns, orphans, exclusions, landing pages of
hits, row digests and the carry.

`python -m tests.bench.sql_peers export STORE FILE` writes the hits of the settled site-day to FILE. `python -m
tests.bench.sql_peers duckdb FILE six` prints one JSON line. The line contains the number of hits, the number of rows,
and the CPU seconds of the fastest of three runs. If the engine was skipped, the line contains the reason. The engines
are installed with the extra `bench`.
"""

from __future__ import annotations

import importlib
import json
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import polars as pl

from hitmesh.adapters.factory import open_stores
from hitmesh.model.hit_types import HitType
from hitmesh.model.rows.rollup_rows import HIT_DIMENSIONS, VISIT_DIMENSIONS
from hitmesh.runtime.clock import SystemClock
from processor.settle.window import read_rows
from tests.bench.filled_store import BIG_DAY

ENGINES: Final = ("duckdb", "chdb")
_RUNS: Final = 3
# Each value has two tuples: first the dimensions of hits, then the dimensions of visits.
DIMENSIONS: Final = {
    "six": (
        ("page_path", "hostname", "channel", "source", "device_type", "browser"),
        ("channel", "source", "device_type", "browser"),
    ),
    "all": (
        (*HIT_DIMENSIONS, *(name for name in VISIT_DIMENSIONS if name != "landing_page")),
        ("hostname", *(name for name in VISIT_DIMENSIONS if name != "landing_page")),
    ),
}
_SUMS: Final = {
    "six": ("count(*) AS hits", "sum(total) AS gross_revenue"),
    "all": (
        "count(*) AS hits",
        f"sum(CASE WHEN hit_type = {HitType.PAGE_VIEW:d} THEN 1 ELSE 0 END) AS pageviews",
        f"sum(CASE WHEN hit_type = {HitType.ORDER:d} THEN 1 ELSE 0 END) AS orders",
        *(f"sum({name}) AS sum_of_{name}" for name in ("total", "shipping", "tax", "discount")),
    ),
}
_COLUMNS: Final = (
    *("event_time", "visitor_lo", "total", "shipping", "tax", "discount"),
    *("campaign" if name == "utm_campaign" else name for name in DIMENSIONS["all"][0]),
)
_TRAFFIC: Final = """SELECT {cell} AS cell, {dimensions}, {sums}, {sketch}(visitor_lo) AS visitors
FROM {source} GROUP BY cell, {dimensions}"""
_VISITS: Final = """WITH s AS (SELECT *, CASE WHEN event_time - {lag} > 1800000 THEN 1 ELSE 0 END AS new FROM {source}),
g AS (SELECT *, sum(new) OVER (PARTITION BY visitor_lo ORDER BY event_time ROWS UNBOUNDED PRECEDING) AS n FROM s),
v AS (SELECT visitor_lo, n, min(event_time) AS t0, max(event_time) - min(event_time) AS dur, count(*) AS c,
    {first}(page_path, event_time) AS landing, {last}(page_path, event_time) AS exit_page, {firsts}
    FROM g GROUP BY visitor_lo, n)
SELECT {cell} AS cell, landing, exit_page, {dimensions}, count(*) AS visits,
    sum(CASE WHEN c = 1 THEN 1 ELSE 0 END) AS bounces, sum(dur) AS duration, sum(c) AS hits
FROM v GROUP BY cell, landing, exit_page, {dimensions}"""


def main() -> None:
    """Export the hits, or measure an engine."""
    if sys.argv[1] == "export":
        _export(sys.argv[2], Path(sys.argv[3]))
        return
    engine, file, dimensions = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
    settle = {"duckdb": _duckdb, "chdb": _chdb}[engine](file, dimensions)
    took_s, rows = zip(*(_measured(settle) for _ in range(_RUNS)), strict=True)
    answer: dict[str, Any] = {
        "cpu_s": min(took_s),
        "hits": pl.scan_parquet(file).select(pl.len()).collect().item(),
        "rows": rows[-1],
    }
    sys.stdout.write(json.dumps(answer) + "\n")


def _measured(work: Callable[[], int]) -> tuple[float, int]:
    """Run the queries. Return the CPU seconds of the queries, and the number of rows."""
    before = resource.getrusage(resource.RUSAGE_SELF)
    rows = work()
    after = resource.getrusage(resource.RUSAGE_SELF)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime, rows


def _queries(dimensions: str, source: str, words: dict[str, str]) -> dict[str, str]:
    """Return the query for each table. `words` contains the engine's spelling of each SQL function."""
    of_hits, of_visits = DIMENSIONS[dimensions]
    firsts = ", ".join(f"{words['first']}({name}, event_time) AS {name}" for name in of_visits)
    return {
        "traffic": _TRAFFIC.format(
            cell=words["cell"].format("event_time"),
            dimensions=", ".join(of_hits),
            sums=", ".join(_SUMS[dimensions]),
            sketch=words["sketch"],
            source=source,
        ),
        "visits": _VISITS.format(
            cell=words["cell"].format("t0"),
            dimensions=", ".join(of_visits),
            firsts=firsts,
            source=source,
            **{name: words[name] for name in ("lag", "first", "last")},
        ),
    }


def _duckdb(file: Path, dimensions: str) -> Callable[[], int]:
    connection = importlib.import_module("duckdb").connect()
    connection.execute("SET threads=1")
    words = {
        "cell": "{} // 900000",
        "first": "arg_min",
        "last": "arg_max",
        "sketch": "approx_count_distinct",
        "lag": "lag(event_time, 1, -99999999) OVER (PARTITION BY visitor_lo ORDER BY event_time)",
    }

    def settle() -> int:
        rows = 0
        for table, query in _queries(dimensions, f"'{file}'", words).items():
            connection.execute(f"CREATE OR REPLACE TABLE {table} AS {query}").fetchall()
            rows += connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
        return rows

    return settle


def _chdb(file: Path, dimensions: str) -> Callable[[], int]:
    session = importlib.import_module("chdb.session").Session()
    frame = "ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING"
    words = {
        "cell": "intDiv({}, 900000)",
        "first": "argMin",
        "last": "argMax",
        "sketch": "uniqState",
        "lag": f"lagInFrame(event_time, 1, toInt64(-99999999)) OVER "
        f"(PARTITION BY visitor_lo ORDER BY event_time {frame})",
    }

    def settle() -> int:
        rows = 0
        for table, query in _queries(dimensions, f"file('{file}')", words).items():
            session.query(f"DROP TABLE IF EXISTS {table}")
            session.query(f"CREATE TABLE {table} ENGINE = Memory AS {query} SETTINGS max_threads = 1")
            rows += int(str(session.query(f"SELECT count() FROM {table}", "CSV")))
        return rows

    return settle


def _export(store: str, file: Path) -> None:
    """Write the day's hits as a settlement reads them, without hits of other days."""
    stores = open_stores(f"embedded:{store}", SystemClock())
    names = tuple("utm_campaign" if name == "campaign" else name for name in _COLUMNS)
    records = stores.raw.scan(BIG_DAY.site, BIG_DAY.day, BIG_DAY.day + 1)
    hits = pl.concat(read_rows(record.value, ("site", *names)) for record in records)
    stores.close()
    of_site = hits.filter(pl.col("site") == BIG_DAY.site).drop("site").rename({"utm_campaign": "campaign"})
    of_site.with_columns(pl.col("total", "shipping", "tax", "discount").fill_null(0)).write_parquet(
        file, compression="zstd", compression_level=1
    )


if __name__ == "__main__":
    main()
