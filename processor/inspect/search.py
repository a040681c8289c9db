"""Finds a hit in the raw store (for TraceHit).

The first reading finds the visitors whose hits have the id. The second reading gets these visitors' hits on the same
and on neighbouring days. Both readings go from the newest day to the oldest day, and stop at a limit on records or
time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import polars as pl

from hitmesh.model.keys import hash64
from hitmesh.model.positions import Position
from hitmesh.model.records import RawRecord
from hitmesh.model.rows.columns import HITS_COLUMNS
from hitmesh.model.zones import DAY_MS
from hitmesh.ports import Clock, RawStore
from processor.rules.day_rules import with_excluded
from processor.settle.window import read_rows

# `MAX_RECORDS` applies to each of the two readings. The time limit applies to both readings together.
MAX_RECORDS: Final = 50_000
MAX_MS: Final = 10_000
MAX_VISITORS: Final = 20  # if more visitors share an id, the id does not identify a hit

READ_COLUMNS: Final = (
    "site",
    "visitor_hi",
    "visitor_lo",
    "hit_id",
    "hit_hash",
    "content_hash",
    "event_time",
    "collect_time",
    "hit_type",
    "interactive",
    "offline",
    "flags",
    "page_path",
    "campaign_hash",
    "order_id",
    "refund_id",
    "hostname",
    "country",
    "user_agent",
    "referrer_host",
    "network",
    "batch_id",
)
INSPECT_COLUMNS: Final[dict[str, pl.DataType]] = {
    **{name: HITS_COLUMNS[name] for name in READ_COLUMNS},
    "excluded": pl.Boolean(),
    "log_time": pl.Int64(),
    "log": pl.String(),
    "partition": pl.Int64(),
    "offset": pl.Int64(),
    "row": pl.Int64(),
}
_VISITOR: Final = ["visitor_hi", "visitor_lo"]


class IdKind(StrEnum):
    """The kinds of ids by which hits are found: a hit id, the id of an order or refund, or a batch id."""

    HIT = "hit"
    ORDER = "order"
    BATCH = "batch"


def with_id(kind: IdKind, id_: str) -> pl.Expr:
    """Return the condition that a hit has the id."""
    match kind:
        case IdKind.HIT:
            return pl.col("hit_hash") == hash64(id_)
        case IdKind.ORDER:
            return (pl.col("order_id") == id_) | (pl.col("refund_id") == id_)
        case IdKind.BATCH:
            return pl.col("batch_id") == id_


_ID_COLUMNS: Final = {
    IdKind.HIT: ("hit_hash",),
    IdKind.ORDER: ("order_id", "refund_id"),
    IdKind.BATCH: ("batch_id",),
}


@dataclass(frozen=True, slots=True)
class Found:
    """The search result: all hits of the visitors that have a hit with the id. Each hit occurs once (INSPECT_COLUMNS).

    May be empty. `truncated` is true if a reading stopped at a limit, or if more than MAX_VISITORS visitors have a hit
    with the id. In this case, the visitors with the smallest keys are chosen, so that each search finds the same hits.
    """

    hits: pl.DataFrame
    records_read: int
    truncated: bool


class _Reading:
    """Reads each record once, up to a limit."""

    def __init__(self, raw: RawStore, clock: Clock) -> None:
        self.records_read = 0
        self.truncated = False
        self._raw = raw
        self._clock = clock
        self._ends_at = clock.now() + MAX_MS

    def records(self, site: str, days: Iterable[int]) -> Iterator[RawRecord]:
        """Yield the site's records on the given days. The newest day comes first; each day is in log order."""
        seen: set[Position] = set()
        for day in sorted(days, reverse=True):
            for record in self._raw.scan(site, day, day + 1):
                if record.position in seen:
                    continue
                if self.records_read >= MAX_RECORDS or self._clock.now() >= self._ends_at:
                    self.truncated = True
                    return
                self.records_read += 1
                seen.add(record.position)
                yield record


def search(raw: RawStore, clock: Clock, site: str, id_: str, days: range, kind: IdKind = IdKind.HIT) -> Found:
    """Return all hits of the visitors who have a hit with the id `id_` on one of the UTC days `days`.

    Raises:
        StoreCorrupt: a record does not decode.
    """
    first, second = _Reading(raw, clock), _Reading(raw, clock)
    holders = _holders(first, site, id_, days, kind)
    visitors = holders.select(_VISITOR).unique().sort(_VISITOR).head(MAX_VISITORS)
    around = {day + step for day in holders["day"].to_list() for step in (-1, 0, 1)}
    hits = [
        inspected_rows(record).filter(pl.col("site") == site).join(visitors, on=_VISITOR, how="semi")
        for record in second.records(site, around)
    ]
    return Found(
        hits=pl.concat(hits) if hits else pl.DataFrame(schema=INSPECT_COLUMNS),
        records_read=first.records_read + second.records_read,
        truncated=first.truncated or second.truncated or holders.select(_VISITOR).n_unique() > MAX_VISITORS,
    )


def _holders(reading: _Reading, site: str, id_: str, days: range, kind: IdKind) -> pl.DataFrame:
    """Return the visitors that have a hit with the id, and the UTC days of these hits."""
    wanted = (pl.col("site") == site) & with_id(kind, id_)
    day = (pl.col("event_time") // DAY_MS).alias("day")
    found = [
        read_rows(record.value, ("site", *_ID_COLUMNS[kind], *_VISITOR, "event_time"))
        .filter(wanted)
        .select(*_VISITOR, day)
        for record in reading.records(site, days)
    ]
    schema = {**{name: HITS_COLUMNS[name] for name in _VISITOR}, "day": pl.Int64()}
    return pl.concat(found).unique() if found else pl.DataFrame(schema=schema)


def inspected_rows(record: RawRecord) -> pl.DataFrame:
    """Return all hits in a record (INSPECT_COLUMNS).

    Raises:
        StoreCorrupt: the record does not decode.
    """
    log, partition, offset = record.position
    return (
        read_rows(record.value, READ_COLUMNS)
        .pipe(with_excluded)
        .with_columns(
            pl.lit(record.log_time, pl.Int64).alias("log_time"),
            pl.lit(log).alias("log"),
            pl.lit(partition, pl.Int64).alias("partition"),
            pl.lit(offset, pl.Int64).alias("offset"),
            pl.int_range(pl.len(), dtype=pl.Int64).alias("row"),
        )
        .select(*INSPECT_COLUMNS)
    )
