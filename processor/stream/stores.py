"""The live stream's stores (journey steps 4 to 6), and functions that look up site rules and claims on orders."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Protocol

import numpy as np
import polars as pl

from hitmesh.model.arrays import BoolArray
from hitmesh.model.claims import OrderClaim
from hitmesh.model.logic import CURRENT, Logic
from hitmesh.model.positions import PartitionId, Position, Topic
from hitmesh.model.rows.row_digest import RowDigest
from hitmesh.model.zones import DAY_MS
from hitmesh.ports import (
    DirtyDays,
    Erasures,
    Ledger,
    LogReader,
    LogScan,
    OneStream,
    OrderClaims,
    Outbox,
    RawStore,
    RejectedStore,
    SeriesStore,
    SiteDirectory,
    StateStore,
    Streams,
)
from processor.stream.live.sites import DEFAULT_RULES, SiteRules, Sites
from processor.stream.live.step import Prepared

MAX_DAYS_OF_CHANGES: Final = 400
"""If at most this many days have passed since the last read, only sites with changed policies are read.

If more days have passed, all sites are read again.
"""


@dataclass(frozen=True, slots=True)
class StreamStores:
    """The stores that a runner uses.

    `log_reader` returns a reader for a topic. The reader starts at the consumer group's committed positions.
    `stores_hits` is False if another stream stores the raw records, refusals, dirty marks, claims and ledger.
    """

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
    erasures: Erasures
    stores_hits: bool = True


class HasStreams(Protocol):
    """The stores of a mesh, which include the stream table and the stores of every stream."""

    @property
    def streams(self) -> Streams:
        """The stream table."""

    @property
    def stream(self) -> OneStream:
        """Each stream's stores."""


def digest_of(directory: SiteDirectory) -> RowDigest:
    """Return the row digest, keyed with the mesh secret.

    Stream and settlement use the same key, so their digests can be compared.
    """
    return _digest(directory.mesh_secret())


@lru_cache(maxsize=4)
def _digest(secret: bytes) -> RowDigest:
    return RowDigest(secret)  # cached, because a digest keeps the texts that it has hashed


def rules_of(directory: SiteDirectory, names: Sequence[str], logic: Logic = CURRENT) -> Mapping[str, SiteRules]:
    """Return each site's rules for visits (policy, time zone) in a logic version.

    A site that has left the directory gets the policy and time zone of DEFAULT_RULES.
    """
    found = {name: directory.site_or_deleted(name) for name in names}
    rules = {
        name: SiteRules(site.policy, site.time_zone, site.policy_changes) if site else DEFAULT_RULES
        for name, site in found.items()
    }
    return {name: of_site._replace(policy=logic.policy(of_site.policy)) for name, of_site in rules.items()}


def new_rules(
    directory: SiteDirectory, sites: Sites, hits: pl.DataFrame, logic: Logic = CURRENT
) -> Mapping[str, SiteRules]:
    """Return the rules for sites that the state does not contain.

    When the first hit of a UTC day arrives, also return the rules of sites whose policy changes on this day. A change
    of a policy is stored at least POLICY_AHEAD_MS before the change takes effect. No event time is further ahead of the
    clock than POLICY_AHEAD_MS, so no change is read too late. The rules are also added to `sites`.
    """
    if hits.is_empty():
        return {}
    names = sites.unknown(hits["site"].unique().to_list())
    last = int(hits["event_time"].max()) // DAY_MS  # type: ignore[arg-type]  # not empty, and event_time is an integer
    if sites.known_through is None or last > sites.known_through:
        names += _changing(directory, sites, last)
    rules = rules_of(directory, names, logic)
    sites.add(rules)
    sites.known_through = max(last, -1 if sites.known_through is None else sites.known_through)
    return rules


def _changing(directory: SiteDirectory, sites: Sites, last: int) -> list[str]:
    """Return the known sites whose policy may change by the end of the day `last`.

    Changes on days that were read before are left out.
    """
    first = last - MAX_DAYS_OF_CHANGES + 1 if sites.known_through is None else sites.known_through + 1
    if last - first >= MAX_DAYS_OF_CHANGES:
        return list(sites.names)
    return sites.known(directory.changing_sites(first, last + 1))


def wins_of(
    prepared: Mapping[PartitionId, Prepared], claims: Sequence[OrderClaim], holders: OrderClaims
) -> Mapping[PartitionId, BoolArray]:
    """Store the claims on orders and refunds. Return for each row of each partition whether its claim wins (rule D3).

    A history hit also claims its order or refund, although the stream does not count history hits. A later hit that
    claims the same order is therefore a repetition. Only settlement determines whether a history hit is a copy.

    Args:
        prepared: the steps that are about to be applied.
        claims: the claims from all hits in these steps.
        holders: the store that records which hit claimed each id first.
    """
    claiming: dict[tuple[Position, int], tuple[PartitionId, int]] = {}
    for partition, step in prepared.items():
        places = np.flatnonzero(step.claiming)
        for place, (offset, row) in zip(places.tolist(), step.rows.select("offset", "row")[places].rows(), strict=True):
            claiming[Position(partition.log, partition.partition, offset), row] = (partition, place)
    history = {place for partition, step in prepared.items() for place in _history_of(partition, step)}
    queried = [claim for claim in claims if (at := (claim.position, claim.row)) in claiming or at in history]
    queried.sort(key=lambda claim: (claim.log_time, claim.position, claim.row))
    wins = {partition: np.zeros(step.rows.height, np.bool_) for partition, step in prepared.items()}
    if queried:
        for claim, won in zip(queried, holders.first(queried), strict=True):
            if (found := claiming.get((claim.position, claim.row))) is not None:
                partition, place = found
                wins[partition][place] = won
    return wins


def _history_of(partition: PartitionId, prepared: Prepared) -> Iterator[tuple[Position, int]]:
    """Yield the log position and the row of each history hit in a step."""
    if prepared.is_history.any():
        places = prepared.records.hits.select("offset", "row").filter(pl.Series(prepared.is_history))
        for offset, row in places.iter_rows():
            yield Position(partition.log, partition.partition, offset), row
