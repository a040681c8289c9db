"""Converts log records into effects (journey steps 4 and 6): raw records, dirty marks, claims, refusals and hits.

Decides which site-days a record changes, which claims the record's hits make, and which ledger rows without a site are
added. A record that does not decode becomes a refusal (DECODE), and processing continues with the next record. The
functions are pure and use no stores. `processor.stream.live` decides whether a hit is a copy and whether it is on time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
import polars as pl

from hitmesh.model.claims import ClaimKind, OrderClaim, WholeRefund
from hitmesh.model.closing import is_closed
from hitmesh.model.errors import StoreCorrupt
from hitmesh.model.generations import DirtyMark
from hitmesh.model.hit_types import HitType
from hitmesh.model.ledger import LedgerClass
from hitmesh.model.positions import PartitionId, Position
from hitmesh.model.reasons import EXCLUDING_FLAGS, HitReason
from hitmesh.model.records import LoggedRecord, RawRecord, RecordKind, RejectedHit
from hitmesh.model.refusals import origin_of
from hitmesh.model.rows.columns import HITS_COLUMNS, unpack_record
from hitmesh.model.rows.erased_refusals import LOGGED_REFUSAL_COLUMNS, id_hashes
from hitmesh.model.rows.erased_rows import is_erased
from hitmesh.model.sites import SiteDay
from hitmesh.model.zones import DAY_MS
from processor.erase.records import without_erased_hits
from processor.erase.visitors import ErasedVisitors
from processor.rules.refunds import claims_refund, takes_total
from processor.settle.window import READ_COLUMNS, read_rows
from processor.stream.live.ledger import erased_of, unreadable

KEPT_BYTES: Final = 4_096  # at most this many original bytes are kept for a refusal

# All columns that settlement reads are decoded here, so every raw record that is stored can be decoded.
_READ: Final = (*READ_COLUMNS, "collect_time")
_SILENT: Final = frozenset({RecordKind.HEARTBEAT, RecordKind.END})
_HIT_COLUMNS: Final[dict[str, pl.DataType]] = {
    **{"campaign" if name == "utm_campaign" else name: HITS_COLUMNS[name] for name in _READ},
    "offset": pl.Int64(),
    "log_time": pl.Int64(),
    "row": pl.Int64(),
    "excluded": pl.Boolean(),
}
_REFUSAL_COLUMNS: Final[dict[str, pl.DataType]] = {
    "site": pl.String(),
    "collect_time": pl.Int64(),
    "hits": pl.Int64(),
    "hash": pl.UInt64(),
    "offset": pl.Int64(),
    "log_time": pl.Int64(),
}

# Empty frames are made once, because making a frame with so many columns takes longer than processing a small window.
_NO_HITS: Final = pl.DataFrame(schema=_HIT_COLUMNS)
_NO_REFUSALS: Final = pl.DataFrame(schema=_REFUSAL_COLUMNS)


@dataclass(slots=True)
class PartitionIntake:
    """The effects of one partition's records.

    Attributes:
        ends: (offset, log time) for every record, including heartbeats and records that do not decode.
        hits: accepted hits with `_HIT_COLUMNS`, in log order.
        refused: refusals with `_REFUSAL_COLUMNS`, in log order.
        siteless: ledger rows that belong to no site, or to erased hits.
    """

    ends: list[tuple[int, int]] = field(default_factory=list)
    hits: pl.DataFrame = field(default_factory=_NO_HITS.clone)
    refused: pl.DataFrame = field(default_factory=_NO_REFUSALS.clone)
    siteless: list[pl.DataFrame] = field(default_factory=list)


@dataclass(slots=True)
class Intake:
    """The values to store for a record group, and the hits that the stream counts.

    Within a partition, each list is in log order. `awaited` contains the site-days that are still open, whose hits the
    stream counts. `marks` contains dirty marks for closed site-days, whose hits the stream does not count. `refunds`
    contains the refunds that take their amount from an order. `blanked` contains the positions of raw records from
    which erased hits were removed.
    """

    raw: list[RawRecord] = field(default_factory=list)
    marks: list[DirtyMark] = field(default_factory=list)
    awaited: set[SiteDay] = field(default_factory=set)
    claims: list[OrderClaim] = field(default_factory=list)
    refunds: set[WholeRefund] = field(default_factory=set)
    rejected: list[RejectedHit] = field(default_factory=list)
    blanked: set[Position] = field(default_factory=set)
    partitions: dict[PartitionId, PartitionIntake] = field(default_factory=dict)


def never_back(records: Sequence[LoggedRecord], reached: Mapping[PartitionId, int]) -> list[LoggedRecord]:
    """Return the records, with each log time raised to the log time that the partition has reached (rule L1).

    Log time is a running maximum. A partition's epochs therefore never decrease. A log reader cannot compute the
    running maximum, because the reader does not know the records before its start position.
    """
    raised = []
    for record in records:
        min_ = reached.get(PartitionId(record.position.log, record.position.partition), 0)
        raised.append(record if record.log_time >= min_ else replace(record, log_time=min_))
    return raised


def take_in(records: Iterable[LoggedRecord], erased: ErasedVisitors | None = None) -> Intake:
    """Return the effects of hit, refusal and heartbeat records from any partitions.

    Hits that an erased visitor sent before the erasure become blank rows. Blank rows are stored in raw records, but
    only the ledger counts blank rows.
    """
    intake = Intake()
    hits: dict[PartitionId, list[tuple[LoggedRecord, pl.DataFrame]]] = {}
    for record in records:
        partition = PartitionId(record.position.log, record.position.partition)
        partition_intake = intake.partitions.setdefault(partition, PartitionIntake())
        partition_intake.ends.append((record.position.offset, record.log_time))
        kind = record.record.kind
        if kind in _SILENT:
            continue
        try:
            if kind == RecordKind.HITS:
                rows = read_rows(record.record.value, _READ)
                record, is_changed = without_erased_hits(record, rows, erased)
                if is_changed:
                    rows = read_rows(record.record.value, _READ)
                    intake.blanked.add(record.position)
                hits.setdefault(partition, []).append((record, rows))
            elif kind == RecordKind.REJECTED:
                _take_rejected(record, partition_intake, intake)
            else:
                raise StoreCorrupt(
                    f"a record has the unknown kind {kind}; use the version of hitmesh that wrote the record",
                    value=kind,
                )
        except StoreCorrupt as error:
            intake.rejected.append(_set_aside(record, error.message))
            partition_intake.siteless += _announced_only(record)
    for partition, decoded in hits.items():
        _take_hits(decoded, intake.partitions[partition], intake)
    return intake


def _take_hits(
    decoded: Sequence[tuple[LoggedRecord, pl.DataFrame]], partition_intake: PartitionIntake, intake: Intake
) -> None:
    records = [record for record, _ in decoded]
    heights = np.array([rows.height for _, rows in decoded], np.int64)
    begins = np.cumsum(heights) - heights
    number = np.repeat(np.arange(len(records)), heights)
    hits = (
        pl.concat([rows for _, rows in decoded])
        .rename({"utm_campaign": "campaign"})
        .with_columns(
            pl.Series("record", number, pl.Int64),
            pl.Series("offset", np.array([record.position.offset for record in records], np.int64)[number]),
            pl.Series("log_time", np.array([record.log_time for record in records], np.int64)[number]),
            pl.Series("row", np.arange(len(number)) - begins[number], pl.Int64),
            (pl.col("flags") & int(EXCLUDING_FLAGS) != 0).alias("excluded"),
        )
    )
    _take_apart(hits, partition_intake)
    days = (
        hits.lazy()
        .group_by("record", "site", (pl.col("event_time") // DAY_MS).alias("day"), maintain_order=True)
        .agg(
            pl.len().alias("hits"),
            pl.col("hit_hash").sum().alias("sum64"),
            pl.col("hit_hash").bitwise_xor().alias("xor64"),
        )
        .collect()
    )
    site_days: list[set[SiteDay]] = [set() for _ in records]
    for record, site, day, count, sum64, xor64 in days.iter_rows():
        site_day = SiteDay(site, day)
        site_days[record].add(site_day)
        if is_closed(day, records[record].log_time):
            logged = records[record]
            intake.marks.append(DirtyMark(site_day, logged.position, logged.log_time, count, sum64, xor64))
        else:
            intake.awaited.add(site_day)
    for record, of_record, (first, height) in zip(
        records, site_days, zip(begins.tolist(), heights.tolist(), strict=True), strict=True
    ):
        if height:
            times = hits["event_time"].slice(first, height)
            intake.raw.append(_raw_record(record, height, times, frozenset(of_record)))
        partition_intake.siteless += _difference(record, hits["hit_hash"].slice(first, height), height)
    intake.claims += _claims(hits, records)
    whole = hits.filter(takes_total()).select("site", "order_id", "event_time")
    intake.refunds |= {WholeRefund(site, order_id, time // DAY_MS) for site, order_id, time in whole.iter_rows()}


def _take_apart(hits: pl.DataFrame, partition_intake: PartitionIntake) -> None:
    """Separate hits from blank rows. The stream does not count blank rows."""
    blank = hits.select(is_erased()).to_series()
    if blank.any():
        partition_intake.siteless += erased_of(hits.filter(blank))
        hits = hits.filter(~blank)
    partition_intake.hits = hits.select(*_HIT_COLUMNS)


def _raw_record(record: LoggedRecord, rows: int, times: pl.Series, site_days: frozenset[SiteDay]) -> RawRecord:
    first, last = times.min(), times.max()
    assert isinstance(first, int)  # not None, because the record has rows, and its times have no nulls
    assert isinstance(last, int)
    return RawRecord(
        position=record.position,
        log_time=record.log_time,
        rows=rows,
        min_event_time=first,
        max_event_time=last,
        value=record.record.value,
        schema_version=record.record.schema_version,
        site_days=site_days,
    )


def _claims(hits: pl.DataFrame, records: Sequence[LoggedRecord]) -> list[OrderClaim]:
    """Return the claims from ORDER hits, and from REFUND hits with an id (rule D3)."""
    is_order = pl.col("hit_type") == HitType.ORDER
    claiming = hits.filter((is_order & pl.col("order_id").is_not_null()) | claims_refund())
    claimed = pl.when(is_order).then(pl.col("order_id")).otherwise(pl.col("refund_id")).alias("claimed")
    total, currency = (pl.when(is_order).then(pl.col(name)).alias(name) for name in ("total", "currency"))
    names = ("record", "site", "row", "visitor_hi", "visitor_lo", "hit_id", "event_time", "excluded")
    found = claiming.select(*names, is_order.alias("is_order"), claimed, total, currency)
    return [
        OrderClaim(
            site=site,
            order_id=claimed_id,
            log_time=records[record].log_time,
            position=records[record].position,
            row=row,
            visitor_hi=high,
            visitor_lo=low,
            hit_id=hit_id or "",
            day=event_time // DAY_MS,
            excluded=excluded,
            kind=ClaimKind.ORDER if is_an_order else ClaimKind.REFUND,
            total=amount,
            currency=code or "",
        )
        for (
            record,
            site,
            row,
            high,
            low,
            hit_id,
            event_time,
            excluded,
            is_an_order,
            claimed_id,
            amount,
            code,
        ) in found.iter_rows()
    ]


def _take_rejected(record: LoggedRecord, partition_intake: PartitionIntake, intake: Intake) -> None:
    rows = unpack_record(record.record.value, LOGGED_REFUSAL_COLUMNS)
    names = ("site", "collect_time", "reason", "field", "message", "hit_id", "hits", "original", "origin")
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
            origin=origin_of(origin),
        )
        for row, (site, collect_time, reason, path, message, hit_id, hits, original, origin) in enumerate(
            rows.select(names).iter_rows()
        )
    ]
    intake.rejected += refused
    hashes = id_hashes(rows)
    partition_intake.refused = pl.concat([partition_intake.refused, _refusals(refused, hashes, record)])
    partition_intake.siteless += _difference(record, hashes, sum(hit.hits for hit in refused))
    site_days = {SiteDay(hit.site, hit.collect_time // DAY_MS) for hit in refused if hit.site}
    for site_day in sorted(site_days):
        if is_closed(site_day.day, record.log_time):
            intake.marks.append(DirtyMark(site_day, record.position, record.log_time))
        else:
            intake.awaited.add(site_day)


def _refusals(refused: Sequence[RejectedHit], hashes: pl.Series, record: LoggedRecord) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "site": [hit.site for hit in refused],
            "collect_time": [hit.collect_time for hit in refused],
            "hits": [hit.hits for hit in refused],
            "hash": hashes,
            "offset": [record.position.offset] * len(refused),
            "log_time": [record.log_time] * len(refused),
        },
        schema=_REFUSAL_COLUMNS,
    )


def _difference(record: LoggedRecord, hashes: pl.Series, hits: int) -> list[pl.DataFrame]:
    """Return ledger rows for the difference between a record's header and its rows (rule D5).

    If the header and the rows agree, return no rows.
    """
    header = record.record
    if header.hits is None:
        return []
    words = hashes.to_numpy()
    sum64 = (header.sum64 - int(np.add.reduce(words, dtype=np.uint64))) % 2**64
    xor64 = header.xor64 ^ int(np.bitwise_xor.reduce(words)) if len(words) else header.xor64
    if header.hits == hits and sum64 == 0 and xor64 == 0:
        return []
    collected = header.max_collect_time or record.log_time
    return [unreadable(collected, header.hits - hits, sum64, xor64, LedgerClass.RECEIVED)]


def _announced_only(record: LoggedRecord) -> list[pl.DataFrame]:
    """Return the ledger rows for a record that does not decode.

    All hits that the header announces count as received and refused.
    """
    header = record.record
    collected = header.max_collect_time or record.log_time
    hits = header.rows if header.hits is None else header.hits
    return [
        unreadable(collected, hits, header.sum64, header.xor64, of)
        for of in (LedgerClass.RECEIVED, LedgerClass.REJECTED)
    ]


def _set_aside(record: LoggedRecord, why: str) -> RejectedHit:
    """Return the refusal for a whole record. The refusal has no site, because the record's content cannot be read."""
    return RejectedHit(
        position=record.position,
        row=0,
        site="",
        collect_time=record.record.max_collect_time or record.log_time,
        reason=HitReason.DECODE,
        field="",
        message=why[:KEPT_BYTES],
        hit_id="",
        hits=record.record.rows,
        original=record.record.value[:KEPT_BYTES],
    )


def windows(records: Sequence[LoggedRecord], epoch_ms: int) -> list[list[LoggedRecord]]:
    """Return the records in groups, which must be applied one after the other.

    In a group, all records in a partition have the same epoch. Usually there is only one group.
    """
    groups: list[list[LoggedRecord]] = []
    current: dict[PartitionId, tuple[int, int]] = {}  # epoch and group of the last record in each partition
    for record in records:
        partition = PartitionId(record.position.log, record.position.partition)
        epoch = record.log_time // epoch_ms
        known, group = current.get(partition, (epoch, 0))
        if epoch != known:
            group += 1
        current[partition] = (epoch, group)
        if group == len(groups):
            groups.append([])
        groups[group].append(record)
    return groups
