"""Build settled rows, and a metric store that answers from a table of rows, for tests of the reporter."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence

import numpy as np
import polars as pl

from hitmesh.adapters.shared.answers import answer, needed_columns
from hitmesh.model.cells import Grain, cell_of, utc_day_of
from hitmesh.model.checkpoints import Checkpoint, unwatched
from hitmesh.model.filters import Filter
from hitmesh.model.generations import STREAM_GENERATION
from hitmesh.model.positions import PartitionId
from hitmesh.model.queries import MetricQuery
from hitmesh.model.rows.rollup_rows import ROW_COLUMNS, RowSource
from hitmesh.model.rows.stream_columns import MOVED_VISITORS, PARTIAL_COLUMNS, STREAM_COLUMNS
from hitmesh.model.sites import SiteDay
from hitmesh.model.sketches.unions import cell_sketches
from processor.settle.rows import SettledRows
from processor.settle.series import settled_series
from reporter.answer.parts import combine
from reporter.answer.series import Series, series
from reporter.question.catalogue import METRICS
from reporter.question.plan import legs
from reporter.question.question import GapFill, Order, Question
from tests.support.dates import buckets

SITE = "merchants/demo/sites/shop"
MIDNIGHT = 1_431_820_800_000  # 2015-05-17T00:00:00Z
HOUR = 3_600_000
DAY = 86_400_000


def sketch_of(*visitors: int) -> bytes:
    """Return the sketch of a cell that contains the given visitors."""
    keys = np.array(visitors, np.uint64)
    return bytes(cell_sketches(keys, np.zeros(len(keys), np.int64), 1)[0].as_py())


def a_row(source: RowSource, at: int = MIDNIGHT, **values: object) -> dict[str, object]:
    """Return a settled row at an instant. Columns that `values` does not name are 0 or null."""
    row: dict[str, object] = {
        name: 0 if kind == pl.Int64 else None for name, kind in ROW_COLUMNS[source].items() if name != "excluded"
    }
    row |= {"site": SITE, "generation": 1, "excluded": False, "cell": cell_of(at), "day": utc_day_of(at)}
    return row | values


def traffic(at: int = MIDNIGHT, **values: object) -> dict[str, object]:
    """Return a row of the source TRAFFIC."""
    return a_row(RowSource.TRAFFIC, at, **values)


def visits(at: int = MIDNIGHT, **values: object) -> dict[str, object]:
    """Return a row of the source VISITS."""
    return a_row(RowSource.VISITS, at, **values)


def frame(source: RowSource, rows: Iterable[dict[str, object]]) -> pl.DataFrame:
    """Return the rows as a table with the columns that settlement writes."""
    return pl.DataFrame(list(rows), schema=ROW_COLUMNS[source], orient="row")


def stream_frame(source: RowSource, rows: Iterable[dict[str, object]]) -> pl.DataFrame:
    """Return the rows as a table with the columns that the live stream writes."""
    named = [{MOVED_VISITORS: 0} | row for row in rows]
    return pl.DataFrame(named, schema=STREAM_COLUMNS[source], orient="row")


def partials_of(traffic: pl.DataFrame, visits: pl.DataFrame, partition: PartitionId, epoch: int) -> pl.DataFrame:
    """Return the partials that the live stream writes with the given rows, all in a single epoch and partition."""
    owner: dict[str, object] = {
        "generation": STREAM_GENERATION,
        "log": partition.log,
        "partition": partition.partition,
        "epoch": epoch,
        "written": epoch,
    }
    cells = settled_series(SettledRows.in_memory(traffic.drop(MOVED_VISITORS), visits))
    return cells.with_columns(pl.lit(value).alias(name) for name, value in owner.items()).select(
        [pl.col(name).cast(dtype) for name, dtype in PARTIAL_COLUMNS.items()]
    )


class RowsStore:
    """A MetricStore that answers from two tables of rows."""

    def __init__(self, of_hits: Iterable[dict[str, object]], of_visits: Iterable[dict[str, object]]) -> None:
        self.rows = {
            RowSource.TRAFFIC: stream_frame(RowSource.TRAFFIC, of_hits),
            RowSource.VISITS: stream_frame(RowSource.VISITS, of_visits),
        }

    @property
    def generations(self) -> dict[SiteDay, int]:
        """Return the generation of every site-day that has rows."""
        days = pl.concat(table.select("site", "day", "generation") for table in self.rows.values())
        return {SiteDay(site, day): generation for site, day, generation in days.unique().iter_rows()}

    def query(self, question: MetricQuery, checkpoint: Checkpoint = unwatched) -> pl.DataFrame:
        """Answer a question."""
        table = self.rows[question.source]
        is_queried = [SiteDay(*key) in question.generations for key in table.select("site", "day").iter_rows()]
        kept = table.filter(pl.Series(is_queried, dtype=pl.Boolean))
        return answer(kept.select(needed_columns(question, question.dimensions)), question, checkpoint)


def a_question(
    metrics: str,
    *,
    dimensions: str = "",
    grain: Grain = Grain.NONE,
    zone: str = "UTC",
    since: str = "2015-05-17",
    until: str = "2015-05-18",
    tree: Filter | None = None,
    gap_fill: GapFill = GapFill.ZERO,
    gap_fill_is_default: bool = True,
    order_by: Sequence[Order] = (),
    limit: int = 10_000,
    include_excluded: bool = False,
) -> Question:
    """Return a question in the form that it has after all checks."""
    axis = buckets(zone, dt.date.fromisoformat(since), dt.date.fromisoformat(until), grain)
    return Question(
        metrics=tuple(METRICS[id_] for id_ in metrics.split(",")),
        dimensions=tuple(filter(None, dimensions.split(","))),
        buckets=axis,
        start=int(axis.starts[0]),
        end=int(axis.ends[-1]),
        filter=tree,
        gap_fill=gap_fill,
        gap_fill_is_default=gap_fill_is_default,
        order_by=tuple(order_by),
        limit=limit,
        include_excluded=include_excluded,
    )


def ask(store: RowsStore, question: Question, currency: str = "USD") -> Series:
    """Return the answer to a question from a store's rows."""
    answered = [(leg, store.query(leg.query)) for leg in legs(question, store.generations)]
    return series(question, combine(question, answered, currency))


def table_of(rows: Series) -> dict[tuple[str, ...], list[float | None]]:
    """Return the values of each row. The key of a row has the bucket's label (if any) and the dimension values.

    An empty cell is None.
    """
    labels = rows.question.buckets.labels
    values = [
        [
            None if empty else value
            for value, empty in zip(column.values.tolist(), column.is_empty.tolist(), strict=True)
        ]
        for column in rows.columns
    ]
    keys = zip(*rows.dimensions, strict=True) if rows.dimensions else [()] * len(rows)
    times = [(labels[bucket],) if rows.question.has_time else () for bucket in rows.buckets.tolist()]
    return {(*time, *key): list(cells) for time, key, cells in zip(times, keys, zip(*values, strict=True), strict=True)}
