"""Settled site-days whose raw record, series, rows and ledger entry agree."""

from __future__ import annotations

from typing import Final

import numpy as np

from hitmesh.adapters.factory import Stores
from hitmesh.model.generations import LedgerEntry
from hitmesh.model.positions import PartitionId, Position
from hitmesh.model.records import RawRecord
from hitmesh.model.rows.columns import pack_record
from hitmesh.model.rows.rollup_rows import RowSource
from hitmesh.model.sites import SiteDay
from processor.settle.rows import SettledRows
from processor.settle.series import settled_series
from tests.reference.hits import RefHit
from tests.support.settled_rows import DAY, frame, traffic, visits
from tests.support.small_mesh import hit_rows

LOG: Final = PartitionId("hits-1", 0)
"""A partition of an earlier log. No store contains the earlier log any more."""


def settle_whole_day(stores: Stores, site_day: SiteDay, now: int, offset: int = 0, hits: int = 2) -> None:
    """Store a settled site-day whose values add up, with a raw record at the offset `offset`."""
    site, day = site_day
    at = day * DAY
    rows = hit_rows([RefHit(site, "v", f"{day}-{number}", at + number) for number in range(hits)])
    of_hits = frame(RowSource.TRAFFIC, [traffic(at, site=site, day=day, hits=hits)])
    of_visits = frame(RowSource.VISITS, [visits(at, site=site, day=day, visits=1)])
    stores.sink.write(of_hits, of_visits)
    stores.series.put_settled(site_day, 1, settled_series(SettledRows.in_memory(of_hits, of_visits)))
    position = Position(*LOG, offset)
    stores.raw.put([RawRecord(position, now, hits, at, at + hits, pack_record(rows), 1, frozenset({site_day}))])
    hashes = rows["hit_hash"].to_numpy()
    stores.generations.publish(
        site_day,
        stores.generations.begin(site_day),
        logic_version=2,
        read_through={LOG: offset + 1},
        seen_sequence=0,
        ledger=LedgerEntry(hits, hits, 0, 0, int(hashes.sum()), int(np.bitwise_xor.reduce(hashes))),
        carry=b"",
        now=now,
    )
