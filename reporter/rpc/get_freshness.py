"""GetFreshness: how far the numbers of a site, or of all sites of a merchant, reach."""

from __future__ import annotations

from hitmesh.ports import IngestKey
from hitmesh.reporter.v1 import reporter_pb2 as pb
from reporter.rpc.answer import read_freshness, read_version
from reporter.rpc.backend import Backend
from reporter.rpc.messages import freshness_message, timestamp
from reporter.rpc.sites import readable_sites


def get_freshness(
    backend: Backend, caller: IngestKey | None, request: pb.GetFreshnessRequest
) -> pb.GetFreshnessResponse:
    """Returns progress over all partitions that the site's hits can be in.

    Raises:
        NotFound: no such site, or not the caller's.
    """
    sites = readable_sites(backend, caller, request.site)
    reached = read_freshness(backend, sites)
    return pb.GetFreshnessResponse(
        freshness=freshness_message(reached),
        partitions=[
            pb.PartitionProgress(
                log=partition.log,
                partition=partition.partition,
                next_offset=progress.next_offset,
                complete_through=timestamp(progress.log_time),
            )
            for partition, progress in sorted(reached.partitions.items())
        ],
        dirty_days=reached.dirty_days,
        data_version=read_version(backend, sites),
        resettling_days=reached.resettling_days,
        open_days=reached.open_days,
    )
