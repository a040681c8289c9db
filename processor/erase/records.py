"""Blank the erased hits of a log record or of a raw record, and describe these hits. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import polars as pl

from hitmesh.model.arrays import BoolArray
from hitmesh.model.records import LoggedRecord, RawRecord
from hitmesh.model.rows.erased_rows import with_blank_rows
from hitmesh.model.zones import DAY_MS
from processor.erase.visitors import ErasedVisitors
from processor.settle.window import read_rows

_RECOGNISED: Final = ("site", "visitor_hi", "visitor_lo", "event_time", "flags")
_CLAIMING: Final = (*_RECOGNISED, "order_id", "refund_id")


@dataclass(frozen=True, slots=True)
class FoundHits:
    """The erased hits of a raw record that are not blank yet.

    Attributes:
        record: the record.
        erased: whether each row is such a hit (n,).
        days: the UTC days of these hits.
        order_ids: their order ids.
        refund_ids: their refund ids.
    """

    record: RawRecord
    erased: BoolArray
    days: frozenset[int]
    order_ids: frozenset[str]
    refund_ids: frozenset[str]

    @property
    def hits(self) -> int:
        """The number of hits."""
        return int(self.erased.sum())

    @property
    def rows(self) -> frozenset[int]:
        """The numbers of the rows."""
        return frozenset(np.flatnonzero(self.erased).tolist())

    @property
    def blanked(self) -> bytes:
        """The record's value with these hits blank."""
        return with_blank_rows(self.record.value, self.erased)


def find_hits(record: RawRecord, visitors: ErasedVisitors) -> FoundHits | None:
    """Return the erased hits of a raw record; None if the record has none, or only blank rows.

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
    """Return a log record with its erased hits blank, and whether the record changed.

    Args:
        record: a record of hits.
        rows: the record's rows.
        visitors: the erased visitors.
    """
    if not visitors:
        return record, False
    erased = visitors.hits(rows)
    if not erased.any():
        return record, False
    value = with_blank_rows(record.record.value, erased)
    return replace(record, record=replace(record.record, value=value)), True
