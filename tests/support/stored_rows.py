"""Write rows to a metric store, wait for them, and query them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl

from hitmesh.adapters.factory import Stores
from hitmesh.model.filters import Comparison, Filter, Operator
from hitmesh.model.queries import MetricQuery
from hitmesh.model.rows.rollup_rows import ROW_COLUMNS, RowSource
from hitmesh.model.sites import SiteDay
from hitmesh.model.sketches.unions import cell_sketches
from tests.support.waiting import eventually

SHOP, OTHER = "merchants/m/sites/shop", "merchants/m/sites/other"
DAY = 20_000
DAY_MS, CELL_MS = 86_400_000, 900_000
START = DAY * DAY_MS
VISIBLE_S = 60.0
QUIRKY = [
    'a"b',
    "it's",
    "ends in \\",
    "\\",
    "line\nbreak\r\n\ttab",
    "",
    " ",
    "null",
    "שלום \u202e",
    "👩‍👩‍👧 é e\u0301",
    "%_*?[x]{y}$",
    "--; DROP TABLE manifest",
    "\x01\x7f\ufeff",
]


def a_sketch(*visitors: int) -> bytes:
    return bytes(cell_sketches(np.array(visitors, np.uint64), np.zeros(len(visitors), np.int64), 1)[0].as_py())


def a_row(cell: int = 0, **values: object) -> dict[str, object]:
    """Return a row of SHOP on DAY in generation 1. `cell` counts from the start of the day."""
    return {"site": SHOP, "day": DAY, "generation": 1, "excluded": False, "cell": START + cell * CELL_MS} | values


def frame(source: RowSource, *rows: Mapping[str, object]) -> pl.DataFrame:
    schema = ROW_COLUMNS[source]
    whole = [{name: row.get(name, 0 if dtype == pl.Int64 else None) for name, dtype in schema.items()} for row in rows]
    return pl.DataFrame(whole, schema=schema)


def write(stores: Stores, *rows: Mapping[str, object]) -> None:
    """Write rows of hits, and block until answers contain the rows."""
    write_both(stores, frame(RowSource.TRAFFIC, *rows), frame(RowSource.VISITS))


def write_both(stores: Stores, traffic: pl.DataFrame, visits: pl.DataFrame) -> None:
    """Write rows of both sources, and block until answers contain the rows."""
    stores.sink.write(traffic, visits)
    await_ingested(stores, traffic, visits)


def await_ingested(stores: Stores, *written: pl.DataFrame) -> None:
    """Block until answers contain the written rows."""
    owners = pl.concat(rows.select("site", "day", "generation") for rows in written).unique().rows()
    eventually(
        lambda: all(stores.sink.ingested(SiteDay(site, day), generation) for site, day, generation in owners),
        f"rows of {owners[:3]} are in answers",
        VISIBLE_S,
    )


def ask(
    stores: Stores,
    *dimensions: str,
    generations: Mapping[SiteDay, int] | None = None,
    filter: Filter | None = None,
    buckets: tuple[int, ...] = (START,),
    end: int = START + DAY_MS,
    measures: tuple[str, ...] = ("hits",),
    sketches: tuple[str, ...] = (),
    source: RowSource = RowSource.TRAFFIC,
    columns: Mapping[str, str] | None = None,
    include_excluded: bool = False,
) -> pl.DataFrame:
    question = MetricQuery(
        source,
        {SiteDay(SHOP, DAY): 1} if generations is None else generations,
        buckets[0],
        end,
        buckets,
        dimensions,
        measures,
        sketches,
        filter,
        include_excluded,
        columns or {},
    )
    return stores.metrics.query(question)


def hits_by(answer: pl.DataFrame, dimension: str) -> dict[str | None, int]:
    return dict(zip(answer[dimension], answer["hits"], strict=True))


def is_(dimension: str, operator: Operator, *values: str) -> Comparison:
    return Comparison(dimension, operator, values)
