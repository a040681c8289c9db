"""Keeps id collisions for inspection (rule D1). A collision is a hit with an earlier hit's id but different content.

Collisions are stored like refusals. The colliding hit was accepted, and counts as a duplicate. The stored refusal
therefore has 0 hits and leaves the ledger unchanged.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import polars as pl

from hitmesh.model.arrays import BoolArray
from hitmesh.model.positions import PartitionId, Position
from hitmesh.model.reasons import HitReason
from hitmesh.model.records import RejectedHit
from hitmesh.ports import RawStore, RejectedStore
from processor.rules.orders import HitAt
from processor.settle.window import read_rows
from processor.stream.intake import KEPT_BYTES

_COLUMNS: Final = ("site", "collect_time", "hit_id", "payload")


def keep_collisions(
    rejected: RejectedStore, raw: RawStore, prepared: Mapping[PartitionId, tuple[pl.DataFrame, BoolArray]]
) -> None:
    """Store a window's id collisions as refusals.

    `prepared` contains, for each partition, the rows and a boolean array (n,). The array is true for each row that is
    an id collision.
    """
    collisions = [
        (Position(partition.log, partition.partition, offset), row)
        for partition, (rows, collides) in prepared.items()
        for offset, row in rows.select("offset", "row")[np.flatnonzero(collides)].iter_rows()
    ]
    if collisions:
        rejected.put(collision_refusals(raw, collisions))


def collision_refusals(raw: RawStore, collisions: Sequence[HitAt]) -> list[RejectedHit]:
    """Return the refusals for the given id collisions. Each refusal has the hit payload's first bytes.

    Raises:
        StoreCorrupt: a record does not decode.
    """
    rows_by_record = defaultdict(list)
    for position, row in collisions:
        rows_by_record[position].append(row)
    refusals = []
    for position, rows in rows_by_record.items():
        record = raw.get(position)
        if record is None:
            continue
        hits = read_rows(record.value, _COLUMNS)
        for row in rows:
            site, collect_time, hit_id, payload = hits.row(row)
            refusals.append(
                RejectedHit(
                    position=position,
                    row=row,
                    site=site,
                    collect_time=collect_time or record.log_time,
                    reason=HitReason.ID_COLLISION,
                    field="hit_id",
                    message="an earlier hit with other content has the same hit_id: this hit is not counted; send a "
                    "new hit_id for each hit",
                    hit_id=hit_id or "",
                    hits=0,
                    original=(payload or b"")[:KEPT_BYTES],
                )
            )
    return refusals
