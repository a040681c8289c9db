"""Read the rows as reports find them, and the ledger, and compare both with the reference model."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from hitmesh.adapters.factory import Stores
from hitmesh.model.ledger import LedgerClass, LedgerKind
from hitmesh.model.limits import CELL_MS
from hitmesh.model.queries import MetricQuery
from hitmesh.model.rows.rollup_rows import TRAFFIC_DIMENSIONS, TRAFFIC_SKETCHES, VISITS_DIMENSIONS, RowSource
from hitmesh.model.rows.stream_columns import MOVED_VISITORS, ROW_SUMS, STREAM_MEASURES
from hitmesh.model.sites import SiteDay
from hitmesh.model.sketches.theta import Theta
from hitmesh.model.sketches.unions import merge_by_group
from hitmesh.model.zones import DAY_MS
from processor.settle.drift import sums_of_streams
from tests.reference.streamed import Streamed
from tests.support.small_mesh import Key, Rows
from tests.support.unions import estimate

ALL_DAYS = (0, 10**6)
_DIMENSIONS = {RowSource.TRAFFIC: TRAFFIC_DIMENSIONS, RowSource.VISITS: VISITS_DIMENSIONS}


@dataclass(frozen=True)
class Seen:
    """Rows as reports find them, with sketches of visitors.

    `provisional` has the keys of rows with provisional visitors (S8).
    """

    rows: Rows
    provisional: frozenset[Key]
    sketches: Mapping[Key, Theta] = field(default_factory=dict, compare=False)  # tests compare the numbers of visitors

    def differences_from(self, expected: Rows) -> list[str]:
        """Return a line for each missing, unexpected or different row.

        In rows with provisional visitors, the number of visitors may be too high.
        """
        return [
            f"{key}: found {self.rows.get(key)}, expected {expected.get(key)}"
            for key in sorted(self.rows.keys() | expected.keys(), key=repr)
            if not self._agrees(key, self.rows.get(key, {}), expected.get(key, {}))
        ]

    def changed(self, other: Seen) -> set[Key]:
        """Return the keys of rows that differ in a measure other than visitors."""
        return {
            key
            for key in self.rows.keys() | other.rows.keys()
            if _without_visitors(self.rows.get(key, {})) != _without_visitors(other.rows.get(key, {}))
        }

    def _agrees(self, key: Key, found: Mapping[str, int], expected: Mapping[str, int]) -> bool:
        if key not in self.provisional:
            return found == expected
        enough = found.get("visitors", 0) >= expected.get("visitors", 0)
        return enough and _without_visitors(found) == _without_visitors(expected)


def _without_visitors(row: Mapping[str, int]) -> dict[str, int]:
    return {name: value for name, value in row.items() if name != "visitors"}


def seen(stores: Stores, site: str, days: Iterable[int], stream: int | None = None) -> Seen:
    """Return all rows that reports can find for a site, on `days` and on every settled day.

    `stream` is the generation to read on days that are not settled. If `stream` is None, the function reads the
    generation that reports read.
    """
    table = stores.streams.read()
    entries = stores.generations.current(site, *ALL_DAYS)
    generations = {
        SiteDay(site, day): entries[day].generation
        if day in entries
        else (table.generation(day) if stream is None else stream)
        for day in sorted({*days, *entries})
    }
    parts = [
        _rows_of_source(stores, source, generations, with_excluded=with_excluded)
        for source in RowSource
        for with_excluded in (False, True)
        if generations
    ]
    rows = {key: row for part in parts for key, row in part.rows.items()}
    sketches = {key: sketch for part in parts for key, sketch in part.sketches.items()}
    return Seen(rows, frozenset().union(*(part.provisional for part in parts)), sketches)


def _rows_of_source(
    stores: Stores, source: RowSource, generations: Mapping[SiteDay, int], *, with_excluded: bool
) -> Seen:
    """Return every row of a source, like a report by cell and all dimensions. Sketches become numbers of visitors."""
    site = next(iter(generations)).site
    start, end = min(generations).day * DAY_MS, (max(generations).day + 1) * DAY_MS
    dimensions, measures = _DIMENSIONS[source], STREAM_MEASURES[source]
    found = stores.metrics.query(
        MetricQuery(
            source=source,
            generations=generations,
            start=start,
            end=end,
            bucket_starts=tuple(range(start, end, CELL_MS)),
            dimensions=dimensions,
            measures=measures,
            sketches=TRAFFIC_SKETCHES if source == RowSource.TRAFFIC else (),
            include_excluded=with_excluded,
        )
    )
    of_rows = found["visitors"] if "visitors" in found.columns else pl.Series([None] * found.height, dtype=pl.Binary)
    merged = merge_by_group(of_rows, np.arange(found.height), found.height)
    rows: Rows = {}
    sketches = {}
    provisional = set()
    for place, row in enumerate(found.iter_rows(named=True)):
        key = (source, with_excluded, site, start + row["bucket"] * CELL_MS, tuple(row[name] for name in dimensions))
        sketches[key] = merged[place]
        values = {name: row[name] for name in measures} | {"visitors": round(estimate(merged[place]))}
        if values.pop(MOVED_VISITORS, 0):
            provisional.add(key)
        kept = {name: value for name, value in values.items() if value}
        if kept:
            rows[key] = kept
    return Seen(rows, frozenset(provisional), sketches)


def ledger_faults(entries: pl.DataFrame) -> list[str]:
    """Return a line for each cell and day whose ledger does not balance (rule D5), in hits or checksums.

    All entries belong to a single site.
    """
    whole = {LedgerKind.CELL: LedgerClass.RECEIVED, LedgerKind.DAY: LedgerClass.ACCEPTED}
    parts = {
        LedgerKind.CELL: (LedgerClass.REJECTED, LedgerClass.ACCEPTED),
        LedgerKind.DAY: (
            LedgerClass.COUNTED,
            LedgerClass.DUPLICATE,
            LedgerClass.EXCLUDED,
            LedgerClass.PENDING,
            LedgerClass.ERASED,
        ),
    }
    counts: dict[tuple[str, str, int], dict[str, tuple[int, int, int]]] = defaultdict(dict)
    for site, kind, at, of_class, hits, sum64, xor64 in entries.iter_rows():
        counts[site, kind, at][of_class] = (hits, sum64, xor64)
    return [
        f"{key}: {classes}"
        for key, classes in sorted(counts.items())
        if key[1] in whole
        and _added(classes, parts[LedgerKind(key[1])]) != classes.get(whole[LedgerKind(key[1])], (0, 0, 0))
    ]


def _added(classes: Mapping[str, tuple[int, int, int]], names: Iterable[str]) -> tuple[int, int, int]:
    hits = sum64 = xor64 = 0
    for name in names:
        of_class = classes.get(name, (0, 0, 0))
        hits, sum64, xor64 = hits + of_class[0], (sum64 + of_class[1]) % 2**64, xor64 ^ of_class[2]
    return hits, sum64, xor64


def series_faults(stores: Stores, site: str) -> list[SiteDay]:
    """Return the live days whose partials do not add up to the day's rows in the metric store (A11)."""
    days = [SiteDay(site, day) for day in stores.dirty.awaited(site)]
    rows = sums_of_streams(stores.metrics, {day: stores.streams.read().generation(day.day) for day in days})
    generation = stores.streams.read().generation
    partials = {day: stores.series.read(*day, day.day + 1, generation(day.day)) for day in days}
    return [
        day
        for day, series in partials.items()
        if any((sum(series[name].to_list()) - rows[day][name]) % 2**64 for name in ROW_SUMS)
    ]


def classes_by_day(entries: pl.DataFrame, site: str) -> Counter[tuple[int, str]]:
    """Return the numbers of hits that the ledger has for a site, by event day and class, without zeros."""
    of_days = entries.filter((pl.col("site") == site) & (pl.col("kind") == LedgerKind.DAY) & (pl.col("hits") != 0))
    return Counter({(at, of_class): hits for at, of_class, hits in of_days.select("at", "class", "hits").iter_rows()})


def waiting_by_day(entries: pl.DataFrame, site: str) -> Counter[int]:
    """Return how many hits of a site wait for settlement (rule S9), by event day, according to the ledger."""
    waiting = entries.filter((pl.col("site") == site) & (pl.col("kind") == LedgerKind.WAITS) & (pl.col("hits") != 0))
    found: Counter[int] = Counter()
    for at, hits in waiting.select("at", "hits").iter_rows():
        found[at] += hits
    return found


def expected_classes(streamed: Streamed) -> Counter[tuple[int, str]]:
    """Return the reference's number of hits for each event day and class, keyed as in `classes_by_day`."""
    found: Counter[tuple[int, str]] = Counter()
    by_class = {
        LedgerClass.COUNTED: [hit for hit in streamed.counted if not hit.excluded],
        LedgerClass.EXCLUDED: [hit for hit in streamed.counted if hit.excluded],
        LedgerClass.DUPLICATE: streamed.copies,
        LedgerClass.PENDING: streamed.pending,
    }
    for of_class, hits in by_class.items():
        for hit in hits:
            found[hit.event_time // DAY_MS, str(of_class)] += 1
            found[hit.event_time // DAY_MS, str(LedgerClass.ACCEPTED)] += 1
    return found
