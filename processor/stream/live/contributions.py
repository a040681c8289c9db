"""Collects a step's contributions before they are folded. Collects the cells that must be overwritten (step 5, A6).

If records are applied again, this module decides which stored values must be overwritten, even if nothing is added to a
value. This module also decides in which cells visitors may have moved to another row.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
import polars as pl

from hitmesh.model.limits import CELL_MS
from hitmesh.model.rows.stream_columns import MOVED_VISITORS
from processor.rules.visits import VIEW_TYPES
from processor.stream.live.building import Built

_KEY: Final = {"site": pl.Int32(), "cell": pl.Int64(), "excluded": pl.Boolean(), "currency": pl.String()}
_CELLS: Final = {**_KEY, MOVED_VISITORS: pl.Int64()}


@dataclass(slots=True)
class Contributions:
    """A step's contributions from hits and visits. The contributions are not folded into rows yet.

    Attributes:
        is_redo: whether the records have been applied before, perhaps divided into other steps.
        rebuilt: hits (KEPT_COLUMNS) whose visits were rebuilt. If `is_redo` is true, the first run may have divided the
            records into smaller steps. `rebuilt` then also contains the hits whose visits a smaller step may have
            rebuilt.
    """

    is_redo: bool = False
    of_hits: list[pl.DataFrame] = field(default_factory=list)
    of_visits: list[pl.DataFrame] = field(default_factory=list)
    rebuilt: list[pl.DataFrame] = field(default_factory=list)

    def cells(self) -> pl.DataFrame:
        """Return every cell to which these records may add a value, however the records are divided into steps.

        The columns are `site` (number), `cell`, `excluded`, `currency` and `moved_visitors`. `moved_visitors` is 1
        where visitors may have moved to another row. If the records are applied in smaller steps, a step may add a
        value that a later step retracts. For example, a step counts the end of a visit, and a hit in the next step
        continues the visit. A hit in the next step may also move the start of a counted visit to an earlier cell. A
        single large step may add nothing to a cell to which smaller steps added values. The values that smaller steps
        have stored must nevertheless be overwritten.
        """
        cell = (pl.col("event_time") - pl.col("event_time") % CELL_MS).alias("cell")
        moved = [
            hits.select("site", cell, "excluded", pl.col("currency").fill_null(""), _visitors(moved=1))
            for hits in self.rebuilt
        ]
        # Data-quality measures also count excluded hits. Rows with data-quality measures are never marked as excluded.
        quality = [
            part.filter("excluded").with_columns(pl.lit(value=False).alias("excluded"), _visitors(moved=0))
            for part in moved
        ]
        started = [
            part.select("site", "cell", "excluded", pl.lit("").alias("currency"), _visitors(moved=0))
            for part in self.of_visits
        ]
        return pl.concat([pl.DataFrame(schema=_CELLS), *started, *moved, *quality]).group_by(list(_KEY)).max()


def _visitors(*, moved: int) -> pl.Expr:
    return pl.lit(moved, pl.Int64).alias(MOVED_VISITORS)


def moved_in_smaller_steps(hits: pl.DataFrame, built: Built) -> pl.DataFrame:
    """Return the hits of timelines that smaller steps may have rebuilt.

    A step that rebuilds a timeline may move the timeline's hits to other rows. Smaller steps rebuild a timeline in two
    cases:

    - A hit is in a later record than another hit of the timeline, but the event time of the hit is not later.
    - A visit's first view is in a later record than the visit's first hit.
    """
    visit = pl.col("visit")
    records = hits.select(
        "key",
        "offset",
        "event_time",
        pl.Series("visit", built.visit_of),
        pl.col("hit_type").is_in(VIEW_TYPES).alias("is_view"),
        # An orphan's visit has the index −1. The index −1 selects the last element, so False is appended for orphans.
        pl.Series("is_new", np.append(built.carried < 0, False)[built.visit_of]),
    )
    spans = records.group_by("key", "offset").agg(
        pl.col("event_time").min().alias("first"), pl.col("event_time").max().alias("last")
    )
    before = pl.col("last").shift(1).cum_max().over("key", order_by="offset")
    disordered = spans.filter(pl.col("first") <= before)["key"]
    views = pl.col("offset").filter("is_view").min()
    starts = (
        records.filter((visit >= 0) & pl.col("is_new"))
        .group_by("visit")
        .agg(pl.col("key").first(), pl.col("offset").min().alias("start"), views.alias("view"))
    )
    landed_late = starts.filter(pl.col("view") > pl.col("start"))["key"]
    return hits.filter(pl.col("key").is_in(pl.concat([disordered, landed_late]).implode()))
