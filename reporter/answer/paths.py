"""Query the series store or the metric store, each behind a circuit breaker (architecture A11).

The caller chooses the path, and must read a store's progress before the store's rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from hitmesh.model.sites import Site
from reporter.answer.freshness import NOT_BEGUN
from reporter.answer.from_series import Run, added, folded, is_complete, runs
from reporter.answer.route import Path
from reporter.answer.standing import Reach, Standing
from reporter.question.plan import Leg
from reporter.rpc.backend import Backend


@dataclass(frozen=True)
class Fetched:
    """The tables that the question's queries (legs) returned, in the legs' order, and the number of rows read."""

    tables: tuple[pl.DataFrame, ...]
    rows: int


def reach_of(backend: Backend, path: Path) -> Reach:
    """Return the progress of a path's store in every declared partition.

    Raises:
        Unavailable: the store does not answer.
    """
    call, books = backend.breakers.of(path).call, backend.books
    table = backend.known_streams.read(
        backend.clock, lambda: backend.breakers.books.call(backend.clock, books.streams.read)
    )
    current = books.current_stream(table)
    if path is Path.METRICS:
        ingested = backend.metrics.ingested_through if current is None else current.ingested_through
        return Reach(call(backend.clock, ingested), streams=table)
    flushed = call(backend.clock, (backend.series if current is None else current.series).flushed)
    declared = call(backend.clock, lambda: books.committed(table))
    return Reach(
        {partition: flushed.get(partition, NOT_BEGUN) for partition in declared.hits},
        {partition: flushed.get(partition, NOT_BEGUN) for partition in declared.refusals or ()},
        table,
    )


def read_legs(
    backend: Backend, path: Path, sites: Sequence[Site], legs: Sequence[Leg], standing: Standing
) -> Fetched | None:
    """Return a path's rows for some queries (legs), or None if the series are incomplete.

    Raises:
        Unavailable: the store does not answer.
    """
    if path is Path.METRICS:
        tables = tuple(_query(backend, leg) for leg in legs)
        return Fetched(tables, sum(map(len, tables)))
    return _from_series(backend, sites[0].name, legs, standing)


def _query(backend: Backend, leg: Leg) -> pl.DataFrame:
    return backend.breakers.of(Path.METRICS).call(
        backend.clock, lambda: backend.metrics.query(leg.query, backend.checkpoint)
    )


def _from_series(backend: Backend, site: str, legs: Sequence[Leg], standing: Standing) -> Fetched | None:
    """Read each run of days only once, so that all queries (legs) see the same rows."""
    parts: list[list[pl.DataFrame]] = [[] for _ in legs]
    read, settled = 0, standing.settled_days
    for run in runs(standing.generations) if legs else ():
        backend.checkpoint()
        rows = _read_run(backend, site, run)
        if not is_complete(run, rows, settled):
            return None
        read += len(rows)
        for of_leg, leg in zip(parts, legs, strict=True):
            of_leg.append(folded(rows, leg.query))
    return Fetched(tuple(added(of_leg, leg.query) for of_leg, leg in zip(parts, legs, strict=True)), read)


def _read_run(backend: Backend, site: str, run: Run) -> pl.DataFrame:
    return backend.breakers.of(Path.SERIES).call(
        backend.clock, lambda: backend.series.read(site, run.first_day, run.end_day, run.generation)
    )
