"""Id collisions as refusals (rule D1): hits whose id was taken by another content, kept so that someone can look.

They were accepted and count as duplicates, so they stand for no refused hit and leave the ledger alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Final

from hitmesh.model.records import RejectedHit
from hitmesh.ports import RawStore
from processor.rules.orders import HitAt
from processor.settle.window import read_rows
from processor.stream.intake import KEPT_BYTES

MAX_KEPT: Final = 1_000  # per settlement: a sender that reuses one id must not fill the store

_COLUMNS: Final = ("site", "collect_time", "hit_id", "payload")


def collision_refusals(raw: RawStore, collisions: Sequence[HitAt]) -> list[RejectedHit]:
    """Return refusals for the first `MAX_KEPT` of these hits, with the first bytes of their payloads.

    Raises:
        StoreCorrupt: a record does not decode.
    """
    rows_by_record = defaultdict(list)
    for position, row in collisions[:MAX_KEPT]:
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
                    reason="ID_COLLISION",
                    field="hit_id",
                    message="the id was used before by a hit with another content; this one is not counted",
                    hit_id=hit_id or "",
                    hits=0,
                    original=(payload or b"")[:KEPT_BYTES],
                )
            )
    return refusals
