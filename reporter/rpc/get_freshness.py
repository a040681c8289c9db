"""GetFreshness: return the freshness of metric values, for a site or for all sites of a merchant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce

from hitmesh.access.callers import Caller
from hitmesh.api.reporter.v1 import reporter_pb2 as pb
from hitmesh.model.errors import Unavailable
from hitmesh.model.sites import Site
from hitmesh.runtime.rpc_values import timestamp
from reporter.answer.freshness import Progress, freshness, min_progress
from reporter.answer.paths import reach_of
from reporter.answer.route import Path
from reporter.answer.standing import NO_DAYS, Reach, Standing
from reporter.rpc.answer import read_standing
from reporter.rpc.backend import Backend
from reporter.rpc.messages import PATHS, freshness_message
from reporter.rpc.sites import sites_named


def get_freshness(backend: Backend, caller: Caller | None, request: pb.GetFreshnessRequest) -> pb.GetFreshnessResponse:
    """Return the site's freshness, computed from the minimum progress of the stores that answer.

    Raises:
        NotFound: the site does not exist, or the caller may not read the site.
        Unavailable: no store answers, or the settlement state is unavailable.
    """
    sites = sites_named(backend, request.site)
    reaches = _reaches(backend)
    both = reduce(min_progress, (reach.hits for reach in reaches.values()))
    table = next(iter(reaches.values())).streams
    standing = read_standing(backend, sites, NO_DAYS, Reach(both, streams=table))
    reached = freshness(sites, standing.progress, standing.waiting, backend.clock.now())
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
        data_version=standing.version,
        resettling_days=reached.resettling_days,
        open_days=reached.open_days,
        stores=[_store_message(backend, path, sites, reaches, standing) for path in Path],
    )


def _reaches(backend: Backend) -> Mapping[Path, Reach]:
    """Return the progress of each store that answers.

    Raises:
        Unavailable: no store answers.
    """
    found: dict[Path, Reach] = {}
    for path in Path:
        try:
            found[path] = reach_of(backend, path)
        except Unavailable as error:
            failure = error
    if not found:
        raise failure
    return found


def _store_message(
    backend: Backend, path: Path, sites: Sequence[Site], reaches: Mapping[Path, Reach], standing: Standing
) -> pb.StoreFreshness:
    message = pb.StoreFreshness(path=PATHS[path], store=backend.store_of(path), answers=path in reaches)
    if path in reaches:
        # A remembered settlement state is valid only up to the progress that was read before the state.
        hits: Progress = (
            min_progress(reaches[path].hits, standing.progress) if standing.is_remembered else reaches[path].hits
        )
        reached = freshness(sites, hits, standing.waiting, backend.clock.now())
        message.complete_through.CopyFrom(timestamp(reached.complete_through))
    return message
