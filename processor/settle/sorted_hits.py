"""Re-sorts the hits around a day by site. Many sites' sorted hits are on a local disk.

Thousands of sites share a record. If a settlement reads its site-day's records directly, the settlement also reads
other sites' hits in these records. With a million sites, each of a day's records would be read thousands of times. If
hits are sorted first, each record is read once for many site-days. The file has no name, so no file outlives the
process.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import polars as pl

from hitmesh.model.arrays import I64Array
from hitmesh.model.limits import COPY_WINDOW_MS, DERIVED_FROM_MS, FOLLOWED_MS
from hitmesh.model.records import RawRecord
from hitmesh.model.rows.columns import HITS_COLUMNS
from hitmesh.model.zones import DAY_MS
from hitmesh.ports import RawStore
from processor.settle.deciding import Deciding
from processor.settle.memory import SettleMemory
from processor.settle.reached import ScanBounds
from processor.settle.record_positions import RecordPositions
from processor.settle.site_window import Window, records_together
from processor.settle.spill import Spill
from processor.settle.window import READ_COLUMNS, WINDOW_COLUMNS, read_rows

SITES_OF_GROUP: Final = 32
_BUFFERED_ROWS: Final = 50_000
_NUMBER: Final = "number"
_NO_ROWS: Final = pl.DataFrame(
    schema={name: HITS_COLUMNS[name] for name in READ_COLUMNS}
    | {name: WINDOW_COLUMNS[name] for name in ("campaign", "log_time", "record", "row")}
)


class SortedHits:
    """The hits, sorted by site, that the settlements of given sites and days may read.

    An instance must be used by one thread only.

    Args:
        raw: the raw records.
        sites: the sites, in the order in which they will be settled.
        days: the UTC days that will be settled.
        bounds: the scan's bounds. A settlement that uses these hits must have the same bounds.
        memory: the limits that bound the memory. Sites with too many hits must be read directly.
        sites_of_group: hits from this many sites are in memory together.

    Attributes:
        days: the UTC days, as given.
        bounds: the scan's bounds, as given.
        close: deletes the hits.

    Raises:
        StoreCorrupt: a record does not decode.
    """

    def __init__(
        self,
        raw: RawStore,
        sites: Sequence[str],
        days: range,
        bounds: ScanBounds,
        memory: SettleMemory,
        *,
        sites_of_group: int = SITES_OF_GROUP,
    ) -> None:
        self.days = days
        self.bounds = bounds
        self._memory = memory
        self._sites_of_group = sites_of_group
        self._numbers = {site: number for number, site in enumerate(sites)}
        self._positions = RecordPositions()
        self._spill = Spill(memory.scratch, _BUFFERED_ROWS)
        self.close = self._spill.close
        self._loaded: tuple[int, dict[int, pl.DataFrame]] | None = None
        self._start = days.start * DAY_MS - COPY_WINDOW_MS - DERIVED_FROM_MS
        self._end = days.stop * DAY_MS + FOLLOWED_MS + COPY_WINDOW_MS
        self._add_all(raw, sites)

    def has(self, site: str, day: int) -> bool:
        """Return whether the site-day's settlement may use these sorted hits."""
        return site in self._numbers and day in self.days

    def window(self, site: str, start: int, end: int, deciding: Deciding) -> Window | None:
        """Return the site's hits with start <= event_time < end, as `read_window` does.

        If the sorted hits do not cover the window, or if the window does not fit into memory, return None. The caller
        must then read the raw records.
        """
        if deciding.columns or start < self._start or end > self._end:
            return None
        number = self._numbers[site]
        group = number // self._sites_of_group
        if self._spill.height(group) > self._memory.range_hits:
            return None
        rows = self._of_group(group).get(number, _NO_ROWS)
        in_time = pl.col("event_time").is_between(start, end, closed="left")
        decided = deciding.decide(rows.filter(in_time).rechunk())
        return Window(
            decided.rows,
            self._positions,
            start,
            end,
            decided.erased,
            decided.not_applicable,
            decided.excluded_before,
        )

    def _of_group(self, group: int) -> dict[int, pl.DataFrame]:
        """Return a group's rows, keyed by site number. Only the last group that was read is kept in memory."""
        if self._loaded is None or self._loaded[0] != group:
            blocks = list(self._spill.read(group))
            parts = (
                pl.concat(blocks).partition_by(_NUMBER, maintain_order=True, as_dict=True, include_key=False)
                if blocks
                else {}
            )
            self._loaded = group, {int(number): part for (number,), part in parts.items()}
        return self._loaded[1]

    def _add_all(self, raw: RawStore, sites: Sequence[str]) -> None:
        numbers = pl.DataFrame(
            {"site": sites, _NUMBER: np.arange(len(sites))}, schema={"site": pl.String, _NUMBER: pl.Int64}
        )
        first_day, end_day = self._start // DAY_MS, (self._end - 1) // DAY_MS + 1
        for records in records_together(raw.scan_sites(sites, first_day, end_day, self.bounds.hits)):
            parts = [read_rows(record.value, READ_COLUMNS) for record in records]
            rows = _with_places(records, parts, numbers, self._positions)
            groups: I64Array = rows[_NUMBER].to_numpy() // self._sites_of_group
            self._spill.add(rows, groups)


def _with_places(
    records: Sequence[RawRecord], parts: Sequence[pl.DataFrame], numbers: pl.DataFrame, positions: RecordPositions
) -> pl.DataFrame:
    """Return these sites' hits, with site number, log time, record and row. Add the records to `positions`."""
    placed = [
        part.with_row_index("row").with_columns(
            pl.col("row").cast(pl.Int64),
            pl.lit(record.log_time, pl.Int64).alias("log_time"),
            pl.lit(len(positions) + index, pl.Int64).alias("record"),
        )
        for index, (record, part) in enumerate(zip(records, parts, strict=True))
    ]
    for record in records:
        positions.add(record.position)
    rows = pl.concat(placed).join(numbers, on="site", how="inner", maintain_order="left")
    return rows.with_columns(pl.col("utm_campaign").alias("campaign"))
