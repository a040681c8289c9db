"""Build records of page views. The page views differ only in the columns that a measurement varies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from hitmesh.model.arrays import I64Array
from hitmesh.model.hit_types import HitType
from hitmesh.model.positions import Position
from hitmesh.model.records import LoggedRecord, Record, RecordKind
from hitmesh.model.rows.columns import HITS_COLUMNS, pack_record
from hitmesh.model.rows.hash_columns import hash64_column
from tests.bench.core_process import PARTITION


def page_views(site: str, numbers: I64Array, at_ms: I64Array, columns: Mapping[str, Any]) -> pl.DataFrame:
    """Return page views whose hit ids are `numbers`.

    `columns` contains the visitors and all other columns that vary.
    """
    number = pl.Series(numbers)
    ids = hash64_column(number.cast(pl.String)).to_numpy()
    usual: dict[str, Any] = {
        "site": pl.Series([site]).new_from_index(0, len(numbers)),
        "hit_hash": ids,
        "content_hash": ids,
        "event_time": at_ms,
        "collect_time": at_ms,
        "hit_type": np.full(len(numbers), int(HitType.PAGE_VIEW), np.uint8),
        "interactive": np.ones(len(numbers), np.bool_),
        "offline": np.zeros(len(numbers), np.bool_),
        "flags": np.zeros(len(numbers), np.uint32),
        "campaign_hash": np.zeros(len(numbers), np.uint64),
        "hit_id": number.cast(pl.String),
    }
    rows = pl.DataFrame({**usual, **columns})
    return rows.select(pl.col(name).cast(HITS_COLUMNS[name]) for name in rows.columns)


def a_record(offset: int, log_time: int, *parts: pl.DataFrame) -> LoggedRecord:
    """Return a record of the measured partition that contains the given rows."""
    rows = pl.concat(parts)
    first, last = rows.select(pl.col("event_time").min(), pl.col("event_time").max().alias("last")).row(0)
    record = Record(RecordKind.HITS, pack_record(rows), rows.height, first, last, log_time)
    return LoggedRecord(Position(*PARTITION, offset), log_time, record)
