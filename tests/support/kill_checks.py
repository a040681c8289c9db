"""Check the stores after a process died. The log must contain each hit once. Rows, partials and ledger must be correct.

The reference computes the expected values from the log. Only the log shows which hits were accepted, and in which
order. Rows are read from the store that reports read.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import polars as pl

from control.ledger import site_ledger
from hitmesh.adapters.factory import Stores
from hitmesh.model.generations import STREAM_GENERATION
from hitmesh.model.hit_types import HitType
from hitmesh.model.ledger import LedgerClass, LedgerKind
from hitmesh.model.limits import CELL_MS
from hitmesh.model.positions import Position
from hitmesh.model.reasons import EXCLUDING_FLAGS
from hitmesh.model.records import LoggedRecord, RecordKind, RejectedHit
from hitmesh.model.rows.columns import HITS_COLUMNS, REJECTED_COLUMNS, unpack_record
from hitmesh.model.rows.rollup_rows import TRAFFIC_DIMENSIONS, TRAFFIC_MEASURES, VISITS_MEASURES, RowSource
from hitmesh.model.rows.stream_columns import MOVED_VISITORS
from hitmesh.model.sites import SiteDay
from hitmesh.model.zones import DAY_MS
from tests.reference.hits import RefHit
from tests.reference.settled import Entry, settle
from tests.reference.streamed import ALLOWED_LATENESS_MS, Streamed, drift, stream
from tests.support.counted import FOREVER_MS
from tests.support.live_mesh import LiveMesh
from tests.support.live_rows import ALL_DAYS, Seen, classes_by_day, expected_classes, ledger_faults, seen
from tests.support.small_mesh import Rows, expected_rows, folded_rows

Logged = dict[str, list[RefHit]]
"""The hits that the log contains, by site."""

MANY = 1_000
"""A limit that exceeds the number of undecodable records in any test."""

_Key = tuple[str, str, int, str, str | None]
_CLASSIFIED = ("channel", "source", "medium", "referrer_host", "device_type", "browser", "os")
_MEASURES = (*TRAFFIC_MEASURES, *VISITS_MEASURES)


def key_of(hit: RefHit) -> _Key:
    """Return a key that identifies the hit. Only copies with equal content have the same key."""
    return hit.site, hit.hit_id, hit.event_time, hit.type, hit.page_path


def read_log(stores: Stores, sent: Iterable[RefHit]) -> Logged:
    """Return every hit in the log, by site. Fail if the log contains a hit that was not sent."""
    known = {key_of(hit): hit for hit in sent}
    logged: Logged = defaultdict(list)
    for record in _records(stores, RecordKind.HITS):
        for hit in _hits_of(record, known):
            logged[hit.site].append(hit)
    return logged


def refusals_in_log(stores: Stores) -> Counter[tuple[str, int]]:
    """Return the number of refused hits in the log, by site and cell of the collect time."""
    refused: Counter[tuple[str, int]] = Counter()
    for record in _records(stores, RecordKind.REJECTED):
        rows = unpack_record(record.record.value, REJECTED_COLUMNS)
        for site, at_ms, hits in rows.select("site", "collect_time", "hits").iter_rows():
            refused[site, at_ms - at_ms % CELL_MS] += hits
    return refused


def check_acknowledged(sent: Sequence[RefHit], logged: Logged, resent: int) -> int:
    """Check that the log contains every hit as often as `sent` does.

    At most `resent` additional copies are allowed in all.

    Returns:
        The number of additional copies in the log. An additional copy comes from a batch that was sent again, because
        its acknowledgement was lost.
    """
    taken = Counter(key_of(hit) for hits in logged.values() for hit in hits)
    wanted = Counter(map(key_of, sent))
    assert not wanted - taken, f"acknowledged, and not in the log: {list(wanted - taken)[:5]}"
    again = (taken - wanted).total()
    assert again <= resent
    return again


def set_aside(stores: Stores) -> dict[Position, RejectedHit]:
    """Return the records that the processor could not decode, by log position.

    The hits of undecodable records do not count.
    """
    return {hit.position: hit for hit in stores.rejected.recent("", MANY) if hit.reason == "DECODE"}


def check_counted(stores: Stores, logged: Logged, log_time: int, unreadable: int = 0) -> Streamed:
    """Check that rows, partials and ledger equal the reference at a log time, and return the reference's result.

    The result covers all sites.

    Args:
        stores: the mesh's stores.
        logged: hits in the log.
        log_time: log time that every partition has reached.
        unreadable: number of hits in undecodable records, according to the headers of these records.
    """
    everything = Streamed()
    entries, refused = stores.ledger.read(None), refusals_in_log(stores)
    assert ledger_faults(entries) == []
    for site, hits in logged.items():
        streamed = stream(hits, log_time)
        _check_rows(stores, site, _expected_rows(stores, site, hits, streamed) | _rows_of_refused(refused, site))
        assert classes_by_day(entries, site) == expected_classes(streamed), site
        _check_ledger(stores, site)
        everything.counted += streamed.counted
        everything.copies += streamed.copies
        everything.late += streamed.late
        everything.pending += streamed.pending
        everything.open_visits += streamed.open_visits
    assert _total(entries, LedgerClass.ACCEPTED) == sum(map(len, logged.values()))
    assert _total(entries, LedgerClass.REJECTED) == refused.total() + unreadable
    return everything


def check_settled(mesh: LiveMesh) -> None:
    """Settle all days. Check that rows equal the reference, and that drift equals the effect of late hits."""
    mesh.settle()
    for site, hits in mesh.logged.items():
        found = mesh.seen(site)
        assert found.differences_from(expected_rows(hits)) == []
        drifts = mesh.stores.generations.drifts(site, *ALL_DAYS)
        by_day = {day: row for (_, day), row in drift(settle(hits), stream(hits)).items()}
        assert {site_day.day: dict(by.measures) for site_day, by in drifts.items() if by.measures} == {
            day: row for day, row in by_day.items() if SiteDay(site, day) in drifts
        }
        _check_ledger(mesh.stores, site)


def _expected_rows(stores: Stores, site: str, hits: Sequence[RefHit], streamed: Streamed) -> Rows:
    """Return the rows that the reference expects: settled rows on settled days, streamed rows on all other days."""
    days = set(stores.generations.current(site, *ALL_DAYS))
    settled = _of_days(settle(hits).entries, days, inside=True) if days else []
    return folded_rows([*settled, *_of_days(streamed.entries, days, inside=False)])


def _rows_of_refused(refused: Mapping[tuple[str, int], int], site: str) -> Rows:
    nothing = (None,) * len(TRAFFIC_DIMENSIONS)
    return {
        (RowSource.TRAFFIC, with_excluded, site, cell, nothing): {"rejected_hits": hits}
        for (of_site, cell), hits in refused.items()
        for with_excluded in (False, True)
        if of_site == site
    }


def _check_rows(stores: Stores, site: str, expected: Rows) -> None:
    """Check that reports find the expected rows, and that the partials add up to these rows."""
    found = seen(stores, site, {cell // DAY_MS for _, _, _, cell, _ in expected})
    differences = found.differences_from(expected)
    assert not differences, f"{site}: {len(differences)} rows differ\n" + "\n".join(differences[:5])
    settled = set(stores.generations.current(site, *ALL_DAYS))
    partials, sums = partial_sums(stores, site, settled), _sums_by_cell(found, settled)
    differing = [
        f"cell {cell}: partials {partials.get(cell)}, rows {sums.get(cell)}"
        for cell in sorted(partials.keys() | sums.keys())
        if partials.get(cell) != sums.get(cell)
    ]
    assert not differing, f"{site}: {len(differing)} cells differ\n" + "\n".join(differing[:5])
    _check_provisional(stores, site, found)


def _check_provisional(stores: Stores, site: str, found: Seen) -> None:
    """Check that the partials of cells with provisional visitors are marked, because settlement reads only partials."""
    partials = stores.series.read(site, *ALL_DAYS, STREAM_GENERATION)
    moved = set(partials.filter(pl.col(MOVED_VISITORS) != 0)["cell"])
    assert {cell for _, _, _, cell, _ in found.provisional} <= moved, site


def _of_days(entries: Iterable[Entry], days: set[int], *, inside: bool) -> list[Entry]:
    return [entry for entry in entries if (entry.instant_ms // DAY_MS in days) == inside]


def partial_sums(stores: Stores, site: str, settled: set[int]) -> dict[int, dict[str, int]]:
    """Return the sums of the partials per cell and measure.

    Only days that are not settled count; excluded hits are included.
    """
    sums = (
        stores.series.read(site, *ALL_DAYS, STREAM_GENERATION)
        .filter(~pl.col("day").is_in(list(settled)))
        .group_by("cell")
        .agg(pl.col(_MEASURES).sum())
    )
    return _not_zero({row["cell"]: {name: row[name] for name in _MEASURES} for row in sums.iter_rows(named=True)})


def _sums_by_cell(found: Seen, settled: set[int]) -> dict[int, dict[str, int]]:
    sums: dict[int, Counter[str]] = defaultdict(Counter)
    rows: Rows = found.rows
    for (_, with_excluded, _, cell, _), row in rows.items():
        if with_excluded and cell // DAY_MS not in settled:
            sums[cell].update({name: value for name, value in row.items() if name != "visitors"})
    return _not_zero(sums)


def _not_zero(sums: Mapping[int, Mapping[str, int]]) -> dict[int, dict[str, int]]:
    kept = {cell: {name: value for name, value in row.items() if value} for cell, row in sums.items()}
    return {cell: row for cell, row in kept.items() if row}


def _check_ledger(stores: Stores, site: str) -> None:
    """Check that the site's ledger balances in the answer of GetLedger."""
    generations = stores.generations
    found = site_ledger(
        stores.ledger.read(site),
        generations.current(site, *ALL_DAYS),
        generations.ledger(site, *ALL_DAYS),
        stores.dirty.marks(site),
    )
    assert found.imbalance == 0, found


def _total(entries: pl.DataFrame, of_class: LedgerClass) -> int:
    of_cells = entries.filter((pl.col("kind") == LedgerKind.CELL) & (pl.col("class") == of_class))
    return int(of_cells["hits"].sum())


def _records(stores: Stores, kind: RecordKind) -> list[LoggedRecord]:
    unread = set_aside(stores)
    return [
        record
        for partition in stores.outbox.committed()
        for record in stores.log_scan.read(partition, 0, FOREVER_MS)
        if record.record.kind == kind and record.position not in unread
    ]


def _hits_of(logged: LoggedRecord, known: Mapping[_Key, RefHit]) -> list[RefHit]:
    log, partition, offset = logged.position
    names = ("site", "hit_id", "event_time", "hit_type", "page_path", "flags", *_CLASSIFIED)
    rows = unpack_record(logged.record.value, {name: HITS_COLUMNS[name] for name in names})
    return [
        replace(
            known[row["site"], row["hit_id"], row["event_time"], HitType(row["hit_type"]).name, row["page_path"]],
            position=(logged.log_time, log, partition, offset, number),
            is_late=logged.log_time - row["event_time"] > ALLOWED_LATENESS_MS,
            excluded=bool(row["flags"] & EXCLUDING_FLAGS),
            **{name: row[name] for name in _CLASSIFIED},
        )
        for number, row in enumerate(rows.iter_rows(named=True))
    ]
