"""Compute the partitions that can contain a site's hits, and the version of a site's data (architecture A4)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

import numpy as np

from hitmesh.model.keys import hash64, partition_of
from hitmesh.model.positions import PartitionId, PartitionProgress
from hitmesh.model.sites import Site

Progress = Mapping[PartitionId, PartitionProgress]


@lru_cache(maxsize=8_192)
def partitions_of_site(site: Site, partitions: int) -> frozenset[int]:
    """Return which of the `partitions` partitions of a log can hold the site's hits (architecture A4).

    Example:
        >>> shop = Site("merchants/demo/sites/shop", "UTC", "USD", b"sixteen or more b")
        >>> sorted(partitions_of_site(shop, 4))
        [3]
    """
    shifts = np.arange(min(site.spread, partitions), dtype=np.uint64)
    hashes = np.full(len(shifts), hash64(site.name), np.uint64)
    spread = np.full(len(shifts), site.spread, np.uint64)
    return frozenset(partition_of(hashes, shifts, spread, partitions).tolist())


def own_partitions(site: Site, progress: Progress) -> dict[PartitionId, PartitionProgress]:
    """Return the progress, but only in the partitions that can hold the site's hits.

    Example:
        >>> shop = Site("merchants/demo/sites/shop", "UTC", "USD", b"sixteen or more b")
        >>> progress = {PartitionId("hits", n): PartitionProgress(10 * n, 0) for n in range(4)}
        >>> [partition.partition for partition in own_partitions(shop, progress)]
        [3]
    """
    counts: dict[str, int] = {}
    for partition in progress:
        counts[partition.log] = max(counts.get(partition.log, 0), partition.partition + 1)
    site_partitions = {log: partitions_of_site(site, count) for log, count in counts.items()}
    return {
        partition: reached
        for partition, reached in progress.items()
        if partition.partition in site_partitions[partition.log]
    }


def offsets_of(sites: Iterable[Site], progress: Progress) -> dict[PartitionId, int]:
    """Return the next offset to read in each partition that can hold the sites' hits.

    Example:
        >>> shop = Site("merchants/demo/sites/shop", "UTC", "USD", b"sixteen or more b")
        >>> progress = {PartitionId("hits", n): PartitionProgress(10 * n, 0) for n in range(4)}
        >>> list(offsets_of([shop], progress).values())
        [30]
    """
    return {
        partition: reached.next_offset
        for site in sites
        for partition, reached in own_partitions(site, progress).items()
    }


def all_offsets(progress: Progress | None) -> dict[PartitionId, int]:
    """Return the next offset to read in each partition; an empty mapping if the progress is unknown.

    Example:
        >>> all_offsets({PartitionId("rejected", 0): PartitionProgress(7, 0)})
        {PartitionId(log='rejected', partition=0): 7}
        >>> all_offsets(None)
        {}
    """
    return {partition: reached.next_offset for partition, reached in (progress or {}).items()}


def data_version(sites: Sequence[Site], hits: Progress, refusals: Progress | None, sequences: int) -> str:
    """Return the version of the sites' data as `s<sum of settlement sequences>.p<sum of committed offsets>`.

    Neither of the two sums in a version ever decreases. The live stream's counts depend only on the committed offsets.
    The sum of committed offsets covers the partitions that can hold the sites' hits, and all partitions of the refusals
    topic.

    Args:
        sites: the report's sites.
        hits: the processor's committed progress in the hits topic, read before `sequences`.
        refusals: the processor's committed progress in the refusals topic, or None when unknown.
        sequences: the sum of the sites' highest sequences (`Generations.sequence`).

    Example:
        >>> shop = Site("merchants/demo/sites/shop", "UTC", "USD", b"sixteen or more b")
        >>> progress = {PartitionId("hits", n): PartitionProgress(10 * n, 0) for n in range(4)}
        >>> data_version([shop], progress, None, sequences=2)
        's2.p30'
    """
    offsets = {**offsets_of(sites, hits), **all_offsets(refusals)}
    return f"s{sequences}.p{sum(offsets.values())}"
