"""Add the most changed values and cells to a response of GetReprocessingDiff.

The values and cells are computed from the metric store's rows of the old and the new generations.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from control.backend import Bookkeeping, ReprocessingLimits
from control.rpc.reprocessing.difference_messages import cell_difference, metric_messages
from control.rpc.reprocessing.transitions import refuse_without_rows
from hitmesh.api.control.v1 import reprocessing_pb2 as pb
from hitmesh.model.checkpoints import Checkpoint
from hitmesh.model.errors import RefusedError, StoreCorrupt
from hitmesh.model.reasons import ErrorReason
from hitmesh.model.reprocessings import Rebuilt, Reprocessing
from hitmesh.model.sites import SiteDay

if TYPE_CHECKING:
    from control.rpc.reprocessing.compared_rows import Generations


def add_rows(
    response: pb.GetReprocessingDiffResponse,
    books: Bookkeeping,
    reprocessing: Reprocessing,
    now: int,
    rebuilt: Iterable[Rebuilt],
    request: pb.GetReprocessingDiffRequest,
    top: int,
    limits: ReprocessingLimits,
    checkpoint: Checkpoint,
) -> None:
    """Add the lists that the request asks for: the most changed values of a dimension, the most changed cells.

    Site-days whose rows are lost are left out.

    Raises:
        RefusedError: a limit is exceeded, rows are removed, or the metric cannot be broken down.
    """
    from control.rpc.reprocessing.compared_rows import Generations  # loads Polars

    compared = _bounded(rebuilt, request, limits)
    unchanged = _unchanged(books, compared)
    refuse_without_rows(reprocessing, unchanged.values(), now, "dimension" if request.dimension else "cells")
    current = [each for each in compared if each.site_day in unchanged]
    generations = Generations(
        {each.site_day: each.before.generation for each in current},
        {each.site_day: each.after.generation for each in current},
    )
    response.settled_again_site_days = len(compared) - len(current)
    try:
        _add_compared(response, books, generations, request, top, checkpoint)
    except StoreCorrupt:
        readable = _readable(books, generations, checkpoint)
        response.lost_site_days = len(generations.before) - len(readable.before)
        if not response.lost_site_days:
            raise
        _add_compared(response, books, readable, request, top, checkpoint)


def _readable(books: Bookkeeping, generations: Generations, checkpoint: Checkpoint) -> Generations:
    """Return the site-days whose rows are readable in both generations."""
    from control.history.stored_sums import metric_sums  # loads Polars

    sides = [metric_sums(books.metrics, side, checkpoint) for side in generations]
    lost = {site_day for side in sides for site_day, sums in side.items() if isinstance(sums, str)}
    before, after = ({each: side[each] for each in side if each not in lost} for side in generations)
    return type(generations)(before, after)


def _add_compared(
    response: pb.GetReprocessingDiffResponse,
    books: Bookkeeping,
    generations: Generations,
    request: pb.GetReprocessingDiffRequest,
    top: int,
    checkpoint: Checkpoint,
) -> None:
    if request.dimension:
        _add_values(response, books, generations, request, top, checkpoint)
    if request.cells:
        _add_cells(response, books, generations, request, top, checkpoint)


def _add_values(
    response: pb.GetReprocessingDiffResponse,
    books: Bookkeeping,
    generations: Generations,
    request: pb.GetReprocessingDiffRequest,
    top: int,
    checkpoint: Checkpoint,
) -> None:
    from control.rpc.reprocessing.values import changed_values

    found = changed_values(books.metrics, generations, request.dimension, request.order_by, top, checkpoint)
    response.values_ranked_by = found.ranked_by
    response.changed_values = found.total
    del response.values[:]
    response.values.extend(
        pb.ValueDifference(value=value, metrics=metric_messages(sums)) for value, sums in found.values
    )


def _add_cells(
    response: pb.GetReprocessingDiffResponse,
    books: Bookkeeping,
    generations: Generations,
    request: pb.GetReprocessingDiffRequest,
    top: int,
    checkpoint: Checkpoint,
) -> None:
    from control.rpc.reprocessing.cells import changed_cells

    found = changed_cells(books.metrics, generations, request.order_by, top, checkpoint)
    response.cells_ranked_by = found.ranked_by
    response.changed_cells = found.total
    response.cells.extend(cell_difference(site, start, sums) for (site, start), sums in found.keys)


def _bounded(
    rebuilt: Iterable[Rebuilt], request: pb.GetReprocessingDiffRequest, limits: ReprocessingLimits
) -> list[Rebuilt]:
    field, limit = ("cells", limits.cell_site_days) if request.cells else ("dimension", limits.compared_site_days)
    found = []
    for each in rebuilt:
        found.append(each)
        if len(found) > limit:
            raise RefusedError(
                f"{field} of more than {limit:,} site-days cannot be compared: name a site, or fewer days",
                field=field,
                reason=ErrorReason.TOO_MANY_SITE_DAYS,
                limit=limit,
            )
    return found


def _unchanged(books: Bookkeeping, rebuilt: Sequence[Rebuilt]) -> dict[SiteDay, int]:
    """Return the time (UTC ms) at which each site-day's current entry was published.

    Site-days that were settled after the run are left out.
    """
    found = dict[SiteDay, int]()
    for site, of_site in groupby(rebuilt, key=lambda each: each.site_day.site):
        sequences = {each.site_day.day: each.sequence for each in of_site}
        entries = books.generations.current(site, min(sequences), max(sequences) + 1)
        found |= {
            SiteDay(site, day): entry.published_at
            for day, entry in entries.items()
            if sequences.get(day) == entry.sequence
        }
    return found
