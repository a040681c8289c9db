"""Id collisions as refusals (rule D1): hits with the id of an earlier hit but other content, kept for inspection.

These hits were accepted and count as duplicates. Their refusals therefore count no hits and leave the ledger unchanged.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Final

from hitmesh.model.reasons import HitReason
from hitmesh.model.records import RejectedHit
from hitmesh.ports import RawStore
from processor.rules.orders import HitAt
from processor.settle.window import read_rows
from processor.stream.intake import KEPT_BYTES

_COLUMNS: Final = ("site", "collect_time", "hit_id", "payload")


def collision_refusals(raw: RawStore, collisions: Sequence[HitAt]) -> list[RejectedHit]:
    """Return refusals for the collisions, with the first bytes of each payload.

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
