"""What the live stream reads and writes (steps 4 to 6 of the journey), and two questions that it asks them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import polars as pl

from hitmesh.model.arrays import BoolArray
from hitmesh.model.claims import OrderClaim
from hitmesh.model.positions import PartitionId, Position, Topic
from hitmesh.model.rows.row_digest import RowDigest
from hitmesh.ports import (
    DirtyDays,
    Ledger,
    LogReader,
    LogScan,
    OrderClaims,
    Outbox,
    RawStore,
    RejectedStore,
    SeriesStore,
    SiteDirectory,
    StateStore,
)
from processor.stream.live.sites import DEFAULT_RULES, SiteRules
from processor.stream.live.step import Prepared


@dataclass(frozen=True, slots=True)
class StreamStores:
    """What a runner reads and writes; `log_reader` makes a reader that begins where its group has committed."""

    log_reader: Callable[[Topic], LogReader]
    log_scan: LogScan
    raw: RawStore
    rejected: RejectedStore
    dirty: DirtyDays
    claims: OrderClaims
    outbox: Outbox
    series: SeriesStore
    ledger: Ledger
    states: StateStore
    directory: SiteDirectory


def digest_of(directory: SiteDirectory) -> RowDigest:
    """Return the digests of rows under the secret of the mesh: those of stream and settlement can be compared."""
    return _digest(directory.mesh_secret())


@lru_cache(maxsize=4)
def _digest(secret: bytes) -> RowDigest:
    return RowDigest(secret)  # kept, for the texts that it remembers


def rules_of(directory: SiteDirectory, names: Sequence[str]) -> Mapping[str, SiteRules]:
    """Return how the hits of each site become visits; a site that is not known any more has the default."""
    found = {name: directory.site(name) for name in names}
    return {name: SiteRules(site.policy, site.time_zone) if site else DEFAULT_RULES for name, site in found.items()}


def wins_of(
    prepared: Mapping[PartitionId, Prepared], claims: Sequence[OrderClaim], holders: OrderClaims
) -> Mapping[PartitionId, BoolArray]:
    """Return whether each row of each partition holds what it claims (rule D3), taking what nobody holds.

    A claim of history takes its order or refund too, though the stream does not count its hit: the same order in a
    later hit is a repeat. Which hits of history are copies only settlement knows.

    Args:
        prepared: steps that are about to be applied.
        claims: those of all their hits.
        holders: who knows who came first.
    """
    claiming: dict[tuple[Position, int], tuple[PartitionId, int]] = {}
    for partition, one in prepared.items():
        places = np.flatnonzero(one.claiming)
        for place, (offset, row) in zip(places.tolist(), one.rows.select("offset", "row")[places].rows(), strict=True):
            claiming[Position(partition.log, partition.partition, offset), row] = (partition, place)
    history = {place for partition, one in prepared.items() for place in _history_of(partition, one)}
    asked = [claim for claim in claims if (at := (claim.position, claim.row)) in claiming or at in history]
    asked.sort(key=lambda claim: (claim.log_time, claim.position, claim.row))
    wins = {partition: np.zeros(one.rows.height, np.bool_) for partition, one in prepared.items()}
    if asked:
        for claim, won in zip(asked, holders.first(asked), strict=True):
            if (found := claiming.get((claim.position, claim.row))) is not None:
                partition, place = found
                wins[partition][place] = won
    return wins


def _history_of(partition: PartitionId, prepared: Prepared) -> Iterator[tuple[Position, int]]:
    """Yield the places of the hits of a step that are history."""
    if prepared.is_history.any():
        places = prepared.records.hits.select("offset", "row").filter(pl.Series(prepared.is_history))
        for offset, row in places.iter_rows():
            yield Position(partition.log, partition.partition, offset), row
