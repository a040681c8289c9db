"""Count a site-day's hits, or a visitor's hits on a site-day, in raw records and in records of the log.

Counting hits reads fewer columns than settling a day.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Final

import numpy as np
import polars as pl

from hitmesh.model.checkpoints import Checkpoint, unwatched
from hitmesh.model.counts import Count
from hitmesh.model.errors import StoreCorrupt
from hitmesh.model.positions import Position
from hitmesh.model.records import RawRecord
from hitmesh.model.rows.columns import RECORD_CURE
from hitmesh.model.rows.erased_rows import is_erased
from hitmesh.model.sites import SiteDay
from hitmesh.model.stored import decoding, opened
from hitmesh.model.zones import DAY_MS

_PLACED: Final = ("site", "event_time")
_COUNTED: Final = (*_PLACED, "hit_hash")
_OF_VISITOR: Final = (*_PLACED, "visitor_hi", "visitor_lo", "flags")


@dataclass(frozen=True, slots=True)
class RawHits:
    """The raw hits of a site-day.

    Attributes:
        count: the hits in readable records, erased hits included, because blank rows keep their hash64.
        log_times: the log time of each readable record, by position.
        damaged: the positions of records that are not readable.
        rows: the number of hits that were read, including hits of other sites and days.
        through: the position of the last record that was read, if reading ended early; None if all were read.
    """

    count: Count
    log_times: Mapping[Position, int]
    damaged: tuple[Position, ...]
    rows: int
    through: Position | None = None


def read_all(rows: int) -> bool:
    """Return False: if `read_all` is passed to `raw_hits` as `is_over`, all records are read.

    Example:
        >>> read_all(10**9)
        False
    """
    return False


def raw_hits(
    records: Iterable[tuple[Position, RawRecord | None]],
    site_day: SiteDay,
    checkpoint: Checkpoint = unwatched,
    is_over: Callable[[int], bool] = read_all,
) -> RawHits:
    """Return the hits of a site-day.

    Args:
        records: the site-day's records as RawStore.salvage yields them.
        site_day: the site-day.
        checkpoint: called for each record.
        is_over: called after each record with the rows read so far; returns whether reading must end.

    Example:
        >>> lost = Position("hits.1", 0, 7)
        >>> raw_hits([(lost, None)], SiteDay("merchants/demo/sites/shop", 20_000)).damaged == (lost,)
        True
    """
    count, rows = Count(), 0
    log_times: dict[Position, int] = {}
    damaged: list[Position] = []
    for position, record in records:
        checkpoint()
        try:
            if record is None:
                raise StoreCorrupt("the record is not readable")
            count += _count_in(record, site_day)
            log_times[position] = record.log_time
            rows += record.rows
        except StoreCorrupt:
            damaged.append(position)
        if is_over(rows):
            return RawHits(count, log_times, tuple(damaged), rows, position)
    return RawHits(count, log_times, tuple(damaged), rows)


def site_days_in(value: bytes, wanted: Collection[SiteDay]) -> dict[SiteDay, int]:
    """Return the number of hits on each wanted site-day in a packed record; empty if the record cannot be decoded.

    Example:
        >>> site_days_in(b"damaged", [SiteDay("merchants/demo/sites/shop", 20_000)])
        {}
    """
    try:
        rows = _columns(value, _PLACED)
    except StoreCorrupt:
        return {}
    days = rows.select("site", (pl.col("event_time") // DAY_MS).alias("day")).group_by("site", "day").len()
    found = {SiteDay(site, day): hits for site, day, hits in days.iter_rows()}
    return {site_day: hits for site_day, hits in found.items() if site_day in wanted}


def visitor_hits(record: RawRecord, site_day: SiteDay, keys: Collection[tuple[int, int]], until: int) -> int:
    """Return the number of a visitor's hits on a site-day in a raw record, without erased hits.

    Args:
        record: the record.
        site_day: the site-day.
        keys: the visitor's keys, high and low 64 bits each (hitmesh.model.keys:visitor_key).
        until: only hits with an event time before this time (UTC ms) are counted.

    Raises:
        StoreCorrupt: the record is damaged.

    Example:
        >>> from hitmesh.model.rows.columns import HITS_COLUMNS, pack_record
        >>> hit = {"site": "s", "event_time": 5, "visitor_hi": 1, "visitor_lo": 2, "flags": 0}
        >>> value = pack_record(pl.DataFrame([hit, hit], schema={name: HITS_COLUMNS[name] for name in hit}))
        >>> record = RawRecord(Position("hits.1", 0, 7), 9, 2, 5, 5, value, 1, frozenset({SiteDay("s", 0)}))
        >>> visitor_hits(record, SiteDay("s", 0), [(1, 2), (3, 4)], until=6)
        2
    """
    site, day = site_day
    rows = _columns(record.value, _OF_VISITOR)
    is_visitor = pl.any_horizontal(
        (pl.col("visitor_hi") == pl.lit(high, pl.UInt64)) & (pl.col("visitor_lo") == pl.lit(low, pl.UInt64))
        for high, low in keys
    )
    on_day = (pl.col("site") == site) & (pl.col("event_time") // DAY_MS == day) & (pl.col("event_time") < until)
    return rows.filter(on_day & ~is_erased() & is_visitor).height


def is_readable(record: RawRecord | None) -> bool:
    """Return whether a stored record can be read.

    Example:
        >>> is_readable(None)
        False
    """
    try:
        return record is not None and bool(_columns(record.value, _COUNTED).width)
    except StoreCorrupt:
        return False


def _count_in(record: RawRecord, site_day: SiteDay) -> Count:
    """Return the site-day's hits in a record.

    Raises:
        StoreCorrupt: the record is damaged, or its event times exclude a day that the record lists. If a record's event
            times exclude a day, settlement skips the record.
    """
    site, day = site_day
    if record.max_event_time < day * DAY_MS or record.min_event_time >= (day + 1) * DAY_MS:
        if site_day in record.site_days:
            raise StoreCorrupt("the record lists a day that is outside the event times of the record's hits")
        return Count()
    rows = _columns(record.value, _COUNTED)
    on_day = (pl.col("site") == site) & (pl.col("event_time") // DAY_MS == day)
    hashes = rows.filter(on_day)["hit_hash"].to_numpy()
    sum64, xor64 = np.add.reduce(hashes, dtype=np.uint64), np.bitwise_xor.reduce(hashes)
    return Count(len(hashes), int(sum64), int(xor64)) if len(hashes) else Count()


def _columns(value: bytes, names: tuple[str, ...]) -> pl.DataFrame:
    """Decode some columns of a packed record.

    Raises:
        StoreCorrupt: the record is damaged.
    """
    inner = opened(value, "a record", RECORD_CURE)
    with decoding(f"a record of {len(value)} bytes", RECORD_CURE):
        return pl.read_ipc_stream(BytesIO(inner), columns=list(names))
