"""Chooses the refusals whose bytes are kept. Every refusal is counted, but many refusals must not fill a disk.

A site's first refusals are kept with their bytes. A cap applies to each UTC day, and a quarter of this cap applies to
each hour. All other refusals are written to the log as sums, without bytes. Each collector applies the caps separately.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import polars as pl

from hitmesh.model.cells import HOUR_MS
from hitmesh.model.limits import CELL_MS
from hitmesh.model.zones import DAY_MS

# An hour may use at most a quarter of the day's cap. A flood of refusals in the morning thus leaves room for refusals
# in the evening.
_HOURS_PER_DAY: Final = 4
_KEYS: Final = ("site", "reason", "field", "key_id")


@dataclass(slots=True)
class _Kept:
    hour: int
    of_hour: int = 0
    of_day: int = 0


class RefusalSample:
    """Counts the refusals that are kept for each site, and applies the caps.

    Args:
        per_day: refusals that are kept per site and UTC day.
        siteless_per_day: refusals that are kept per UTC day, over all senders without a known site.
    """

    def __init__(self, per_day: int, siteless_per_day: int) -> None:
        self._per_day = per_day
        self._siteless_per_day = siteless_per_day
        self._kept: dict[str, _Kept] = {}
        self._day = 0

    def thinned(self, refused: pl.DataFrame, now: int) -> pl.DataFrame:
        """Return the sampled rows unchanged, and all other rows summed up, without bytes."""
        room = {site: self.room(site, now) for site in refused["site"].unique().to_list()}
        nth = pl.int_range(pl.len()).over("site")
        is_kept = nth < pl.col("site").replace_strict(room, return_dtype=pl.Int64())
        kept = refused.filter(is_kept)
        for site, rows in kept.group_by("site").len().iter_rows():
            self._note(site, rows)
        if kept.height == refused.height:
            return refused
        return pl.concat([kept, _sums(refused.filter(~is_kept), refused.columns)])

    def room(self, site: str, now: int) -> int:
        """Return the number of a site's refusals that may be kept now. The site is "" for senders without a site."""
        if now // DAY_MS != self._day:
            self._day = now // DAY_MS
            self._kept.clear()
        kept = self._kept.setdefault(site, _Kept(now // HOUR_MS))
        if kept.hour != now // HOUR_MS:
            kept.hour, kept.of_hour = now // HOUR_MS, 0
        most = self._per_day if site else self._siteless_per_day
        return max(0, min(most - kept.of_day, max(1, most // _HOURS_PER_DAY) - kept.of_hour))

    def _note(self, site: str, rows: int) -> None:
        self._kept[site].of_hour += rows
        self._kept[site].of_day += rows


def _sums(refused: pl.DataFrame, columns: list[str]) -> pl.DataFrame:
    """Return the sums: one row per site, reason, field, key and cell of collect time."""
    cell = pl.col("collect_time") // CELL_MS
    sums = refused.group_by(*_KEYS, cell.alias("cell"), maintain_order=True).agg(
        pl.col("collect_time").min(),
        pl.col("hits").sum(),
        pl.col("frame").first(),
        pl.lit("many similar refusals, counted together; bytes are kept only for a sample of refusals").alias(
            "message"
        ),
        pl.lit("").alias("hit_id"),
        pl.lit("").alias("batch_id"),
        pl.lit(-1, dtype=pl.Int32()).alias("batch_index"),
        pl.lit(b"", dtype=pl.Binary()).alias("original"),
        pl.lit(None, dtype=pl.Binary()).alias("origin"),
    )
    return sums.select(columns).cast(refused.schema)
