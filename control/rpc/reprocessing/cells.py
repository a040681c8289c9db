"""Find the cells (15 minutes UTC of a site) whose sums differ between two generations.

For each row source, the metric store is queried twice: with the old generations and with the new generations. This
module loads Polars, so it is imported only when a call compares rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import polars as pl

from control.rpc.reprocessing.compared_rows import ChangedKeys, Generations, compare, most_changed_keys
from hitmesh.model.checkpoints import Checkpoint
from hitmesh.model.errors import RefusedError
from hitmesh.model.limits import CELL_MS
from hitmesh.model.queries import MetricQuery
from hitmesh.model.reasons import ErrorReason
from hitmesh.model.rows.rollup_rows import AMOUNT_SUM, TRAFFIC_MEASURES, VISITS_MEASURES, RowSource
from hitmesh.model.sites import SiteDay
from hitmesh.model.zones import DAY_MS
from hitmesh.ports import MetricStore

_KEYS: Final = ("site", "cell")
_MEASURES: Final = {RowSource.TRAFFIC: TRAFFIC_MEASURES, RowSource.VISITS: VISITS_MEASURES}


def changed_cells(
    metrics: MetricStore, generations: Generations, order_by: str, top: int, checkpoint: Checkpoint
) -> ChangedKeys:
    """Return the cells whose sums differ between the generations.

    A cell's key is (site, start of the cell in UTC ms).

    Args:
        metrics: the store with the rows of both generations.
        generations: the old and the new generation of the same site-days.
        order_by: the metric that ranks the cells; if empty, the metric with the largest change in per cent.
        top: the maximum number of cells.
        checkpoint: called between queries.

    Raises:
        RefusedError: `order_by` is not a metric of cells, or the answer exceeds a limit of the store.
    """
    _refuse_order(order_by)
    if not generations.before:
        return ChangedKeys("", [], 0)
    compared = []
    for source, measures in _MEASURES.items():
        old, new = (_rows(metrics, of_side, source, measures, checkpoint) for of_side in generations)
        compared.append(compare(old, new, _KEYS, measures))
    return most_changed_keys(compared, _KEYS, order_by, top)


def _rows(
    metrics: MetricStore,
    generations: Mapping[SiteDay, int],
    source: RowSource,
    measures: tuple[str, ...],
    checkpoint: Checkpoint,
) -> pl.DataFrame:
    """Return a table with the columns site and cell, and with a column per measure.

    The table has the cells of the site-days.
    """
    days = sorted({site_day.day for site_day in generations})
    starts = [at for day in days for at in range(day * DAY_MS, (day + 1) * DAY_MS, CELL_MS)]
    question = MetricQuery(
        source=source,
        generations=generations,
        start=starts[0],
        end=starts[-1] + CELL_MS,
        bucket_starts=tuple(starts),
        dimensions=("site",),
        measures=measures,
    )
    checkpoint()
    rows = metrics.query(question, checkpoint)
    return rows.select(
        "site",
        pl.Series("cell", starts, pl.Int64).gather(rows["bucket"]),
        *(pl.col(measure).cast(AMOUNT_SUM) for measure in measures),
    )


def _refuse_order(order_by: str) -> None:
    measures = (*TRAFFIC_MEASURES, *VISITS_MEASURES)
    if order_by and order_by not in measures:
        works = ", ".join(measures)
        raise RefusedError(
            f"order_by {order_by} cannot be broken down by cell: use one of {works}",
            field="order_by",
            reason=ErrorReason.VISIT_METRIC_HIT_DIMENSION,
            metric=order_by,
            dimension="cell",
            works_with=works,
        )
