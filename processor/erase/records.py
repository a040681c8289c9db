"""Blanks erased hits in a log record or raw record, and describes the erased hits. All functions are pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, TypeVar

import numpy as np
import polars as pl

from hitmesh.model.arrays import BoolArray
from hitmesh.model.records import LoggedRecord, RawRecord, Record
from hitmesh.model.rows.erased_rows import with_blank_rows
from hitmesh.model.zones import DAY_MS
from processor.erase.visitors import ErasedVisitors
from processor.settle.window import read_rows

_RECOGNISED: Final = ("site", "visitor_hi", "visitor_lo", "event_time", "flags")
_CLAIMING: Final = (*_RECOGNISED, "order_id", "refund_id")

_Stored = TypeVar("_Stored", Record, RawRecord)


@dataclass(frozen=True, slots=True)
class FoundHits:
    """The erased hits in a raw record that are not blank yet.

    Attributes:
        record: the record.
        erased: (n,) True for rows that are erased hits and not blank yet.
        days: the erased hits' UTC days.
        order_ids: the erased hits' order ids.
        refund_ids: the erased hits' refund ids.
    """

    record: RawRecord
    erased: BoolArray
    days: frozenset[int]
    order_ids: frozenset[str]
    refund_ids: frozenset[str]

    @property
    def hits(self) -> int:
        """How many hits are erased."""
        return int(self.erased.sum())

    @property
    def rows(self) -> frozenset[int]:
        """The erased hits' row numbers."""
        return frozenset(np.flatnonzero(self.erased).tolist())

    @property
    def blanked(self) -> RawRecord:
        """The record, in which the erased hits are blank."""
        return blanked(self.record, self.erased)


def blanked(record: _Stored, erased: BoolArray) -> _Stored:
    """Return a record in which the erased rows are blank.

    The record's first and last event times are computed again after blanking.

    Args:
        record: a record with hits.
        erased: whether each row is erased (n,).

    Raises:
        StoreCorrupt: the record does not decode.
    """
    value = with_blank_rows(record.value, erased)
    times = read_rows(value, ("event_time",))["event_time"].to_numpy()
    return replace(record, value=value, min_event_time=int(times.min()), max_event_time=int(times.max()))


def erased_days(record: RawRecord, visitors: ErasedVisitors) -> list[int]:
    """Return, for the hits in a raw record that are erased but not blank yet, each hit's UTC day.

    Raises:
        StoreCorrupt: the record does not decode.
    """
    if visitors.sites.isdisjoint(site for site, _ in record.site_days):
        return []
    rows = read_rows(record.value, _RECOGNISED)
    days: list[int] = (rows.filter(pl.Series(visitors.hits(rows)))["event_time"] // DAY_MS).to_list()
    return days


def find_hits(record: RawRecord, visitors: ErasedVisitors) -> FoundHits | None:
    """Return the erased hits in a raw record.

    Return None if the record has no erased hits, or if all erased hits are already blank.

    Raises:
        StoreCorrupt: the record does not decode.
    """
    if visitors.sites.isdisjoint(site for site, _ in record.site_days):
        return None
    if not visitors.hits(read_rows(record.value, _RECOGNISED)).any():
        return None
    rows = read_rows(record.value, _CLAIMING)
    erased = visitors.hits(rows)
    found = rows.filter(pl.Series(erased))
    return FoundHits(
        record,
        erased,
        frozenset((found["event_time"] // DAY_MS).to_list()),
        *(frozenset(found[name].drop_nulls().to_list()) for name in ("order_id", "refund_id")),
    )


def without_erased_hits(
    record: LoggedRecord, rows: pl.DataFrame, visitors: ErasedVisitors | None
) -> tuple[LoggedRecord, bool]:
    """Return a log record in which the erased hits are blank. Also return whether the record was changed.

    Args:
        record: a record with hits.
        rows: the record's rows.
        visitors: the erased visitors.
    """
    if not visitors:
        return record, False
    erased = visitors.hits(rows)
    if not erased.any():
        return record, False
    return replace(record, record=blanked(record.record, erased)), True
