"""What a poll of the log brings (steps 4 and 6 of the journey): raw records, dirty marks, order claims, refusals.

Decides which site-days a record changes, which claims it holds, and that a record which does not decode is set aside
as refused (DECODE) while its partition goes on. A pure function of the records. Refuses to know stores, and whether
a hit is a copy: that is settlement's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import polars as pl

from hitmesh.columns import REJECTED_COLUMNS, unpack_record
from hitmesh.errors import StoreCorrupt
from hitmesh.hit_types import EXCLUDING_FLAGS, HitType
from hitmesh.ports import DirtyMark, LoggedRecord, OrderClaim, RawRecord, RecordKind, RejectedHit, SiteDay
from hitmesh.zones import DAY_MS
from processor.window import READ_COLUMNS, read_rows

KEPT_BYTES: Final = 4_096  # of the original of what is refused

# Everything settlement will read is decoded here, so that what is stored raw is known to decode.
_INTAKE_COLUMNS: Final = (*READ_COLUMNS, "hit_id")
_SILENT: Final = frozenset({RecordKind.HEARTBEAT, RecordKind.END})


@dataclass(slots=True)
class Intake:
    """What to store for the records of a poll, each list in log order per partition."""

    raw: list[RawRecord] = field(default_factory=list)
    marks: list[DirtyMark] = field(default_factory=list)
    claims: list[OrderClaim] = field(default_factory=list)
    rejected: list[RejectedHit] = field(default_factory=list)


def take_in(records: Iterable[LoggedRecord]) -> Intake:
    """Return what to store for records of hits, of refusals and heartbeats, of any partitions."""
    intake = Intake()
    for record in records:
        kind = record.record.kind
        if kind in _SILENT:
            continue
        try:
            if kind == RecordKind.HITS:
                _take_hits(record, intake)
            elif kind == RecordKind.REJECTED:
                _take_rejected(record, intake)
            else:
                raise StoreCorrupt(f"a record of kind {kind} is neither hits nor refusals")
        except StoreCorrupt as error:
            intake.rejected.append(_set_aside(record, error.message))
    return intake


def _take_hits(record: LoggedRecord, intake: Intake) -> None:
    rows = read_rows(record.record.value, _INTAKE_COLUMNS)
    if rows.is_empty():
        return
    days = rows.select("site", (pl.col("event_time") // DAY_MS).cast(pl.Int64).alias("day"))
    site_days = frozenset(SiteDay(site, day) for site, day in days.unique().iter_rows())
    first, last = rows["event_time"].min(), rows["event_time"].max()
    assert isinstance(first, int)  # there are rows, none of them null
    assert isinstance(last, int)
    intake.raw.append(
        RawRecord(
            position=record.position,
            log_time=record.log_time,
            rows=rows.height,
            min_event_time=first,
            max_event_time=last,
            value=record.record.value,
            schema_version=record.record.schema_version,
            site_days=site_days,
        )
    )
    intake.marks += _marks(site_days, record)
    intake.claims += _claims(rows, record)


def _claims(rows: pl.DataFrame, record: LoggedRecord) -> Iterator[OrderClaim]:
    """Yield the claims of a record's ORDER hits (rule D3)."""
    orders = rows.with_row_index("row").filter((pl.col("hit_type") == HitType.ORDER) & pl.col("order_id").is_not_null())
    names = ("site", "order_id", "row", "visitor_hi", "visitor_lo", "hit_id", "event_time", "flags")
    for site, order_id, row, high, low, hit_id, event_time, flags in orders.select(names).iter_rows():
        yield OrderClaim(
            site=site,
            order_id=order_id,
            log_time=record.log_time,
            position=record.position,
            row=row,
            visitor_hi=high,
            visitor_lo=low,
            hit_id=hit_id or "",
            day=event_time // DAY_MS,
            excluded=bool(flags & EXCLUDING_FLAGS),
        )


def _take_rejected(record: LoggedRecord, intake: Intake) -> None:
    rows = unpack_record(record.record.value, REJECTED_COLUMNS)
    names = ("site", "collect_time", "reason", "field", "message", "hit_id", "hits", "original")
    refused = [
        RejectedHit(
            position=record.position,
            row=row,
            site=site or "",
            collect_time=collect_time or record.log_time,
            reason=reason or "",
            field=path or "",
            message=message or "",
            hit_id=hit_id or "",
            hits=1 if hits is None else hits,
            original=(original or b"")[:KEPT_BYTES],
        )
        for row, (site, collect_time, reason, path, message, hit_id, hits, original) in enumerate(
            rows.select(names).iter_rows()
        )
    ]
    intake.rejected += refused
    site_days = {SiteDay(hit.site, hit.collect_time // DAY_MS) for hit in refused if hit.site}
    intake.marks += _marks(site_days, record)


def _marks(site_days: Iterable[SiteDay], record: LoggedRecord) -> Sequence[DirtyMark]:
    return [DirtyMark(site_day, record.position, record.log_time) for site_day in sorted(site_days)]


def _set_aside(record: LoggedRecord, why: str) -> RejectedHit:
    """Return the refusal of a whole record: of no site, since what it holds cannot be read."""
    return RejectedHit(
        position=record.position,
        row=0,
        site="",
        collect_time=record.record.max_collect_time or record.log_time,
        reason="DECODE",
        field="",
        message=why[:KEPT_BYTES],
        hit_id="",
        hits=record.record.rows,
        original=record.record.value[:KEPT_BYTES],
    )
