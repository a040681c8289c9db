"""The product's path from log to rows, and the rows that the reference expects.

`SmallMesh` appends the reference's hits as packed records. `SmallMesh` streams and settles with the real runner and
settler, and reads rows as reports do. `expected_rows` folds the reference's entries into rows of the same form.
`differences` compares expected with actual rows.
"""

from __future__ import annotations

import secrets
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

from hitmesh.adapters.factory import Stores, open_stores
from hitmesh.model.generations import STREAM_GENERATION, LedgerEntry
from hitmesh.model.hit_types import CartAction, HitType
from hitmesh.model.limits import CELL_MS, CLOSED_AFTER_MS
from hitmesh.model.logic import CURRENT, V0, Logic
from hitmesh.model.positions import LoggedPosition, Topic
from hitmesh.model.queries import MetricQuery
from hitmesh.model.reasons import HitFlag
from hitmesh.model.records import Record, RecordKind
from hitmesh.model.rows.columns import HITS_COLUMNS, pack_record
from hitmesh.model.rows.rollup_rows import (
    TRAFFIC_DIMENSIONS,
    TRAFFIC_MEASURES,
    TRAFFIC_SKETCHES,
    VISITS_DIMENSIONS,
    VISITS_MEASURES,
    RowSource,
)
from hitmesh.model.sites import Site, SiteDay, VisitPolicy
from hitmesh.model.zones import DAY_MS
from hitmesh.ports import Clock
from processor import building
from processor.settle.pace import SettlePace
from processor.settle.settler import Settler
from processor.settle.stores import SettlerStores
from processor.stream.runner import Runner
from tests.reference.hits import NO_CAMPAIGN, RefHit, hash64
from tests.reference.settled import Entry, settle
from tests.reference.visits import V0 as REF_V0
from tests.reference.visits import V1, PolicyByDay, RefPolicy
from tests.support.clock import ManualClock
from tests.support.unions import union_by_group

PARTITIONS = 3
MAX_PASSES = 40
"""Maximum number of passes that a settlement of all dirty days needs.

More passes are needed only if two days mark each other dirty forever.
"""

Key = tuple[RowSource, bool, str, int, tuple[str | None, ...]]
"""The key of a row: source, whether excluded hits are included, site, cell and dimensions."""
Rows = dict[Key, dict[str, int]]

_DIMENSIONS = {RowSource.TRAFFIC: TRAFFIC_DIMENSIONS, RowSource.VISITS: VISITS_DIMENSIONS}
_MEASURES = {RowSource.TRAFFIC: TRAFFIC_MEASURES, RowSource.VISITS: VISITS_MEASURES}


def hit_rows(hits: Sequence[RefHit]) -> pl.DataFrame:
    """Return hits of the reference as a table with the columns of a log record."""
    return pl.DataFrame([_hit_row(hit) for hit in hits], schema=HITS_COLUMNS, orient="row", strict=False)


def _hit_row(hit: RefHit) -> list[object]:
    source, medium, campaign, click_id = hit.campaign
    content = repr(replace(hit, position=(0, "", 0, 0, 0), event_time=0, is_late=False, clock_skewed=False))
    values: dict[str, object] = {
        "site": hit.site,
        "visitor_hi": hash64("high", hit.visitor),
        "visitor_lo": hash64("low", hit.visitor),
        "hit_id": hit.hit_id,
        "hit_hash": hit.hit_hash,
        "content_hash": hash64(content),
        "event_time": hit.event_time,
        "collect_time": hit.event_time,
        "hit_type": int(HitType[hit.type]),
        "interactive": hit.is_interactive,
        "offline": hit.offline,
        "flags": int(HitFlag.BOT_UA) * hit.excluded | int(HitFlag.CLOCK_SKEW) * hit.clock_skewed,
        "campaign_hash": 0 if hit.campaign == NO_CAMPAIGN else hash64(*hit.campaign),
        "utm_source": source or None,
        "utm_medium": medium or None,
        "utm_campaign": campaign or None,
        "click_id": click_id or None,
        "cart_action": int(CartAction[hit.cart_action]) if hit.cart_action else None,
        "total": hit.total_micros,
        "tax": hit.tax_micros,
        "shipping": hit.shipping_micros,
        "discount": hit.discount_micros,
        "refund_amount": hit.refund_micros,
        "items": [
            {
                "sku": item.sku,
                "category": item.category,
                "brand": item.brand,
                "unit_price": item.unit_price_micros,
                "quantity": item.quantity,
            }
            for item in hit.items
        ]
        or None,
    }
    return [values[name] if name in values else getattr(hit, name, None) for name in HITS_COLUMNS]


class SmallMesh:
    """Log, runner, settler and stores for a test, in memory or in files. No work happens in the background."""

    def __init__(
        self,
        now: int,
        policy: RefPolicy = V1,
        sites: Iterable[str] = (),
        logic: Logic = CURRENT,
        *,
        url: str = "memory:",
        sort_site_days: int = 64,
    ) -> None:
        self._sort_site_days = sort_site_days
        self.clock = ManualClock(now)
        self.stores = open_stores(url, self.clock, partitions={Topic.HITS: PARTITIONS, Topic.REJECTED: 1})
        # The runner never creates this directory, because the few hits of a test stay in memory.
        self._home = Path(tempfile.gettempdir()) / f"hitmesh-kept-{secrets.token_hex(8)}"
        self.runner = runner_over(self.stores, self._home, self.clock, logic)
        self.settler = self._a_settler(logic)
        self.sent: list[RefHit] = []
        for site in sites:
            self.stores.directory.create_site(
                Site(site, policy.midnight_zone, "USD", b"secret of a test", policy=visit_policy(policy))
            )

    def change_logic(self, logic: Logic, *, is_saved: bool = True) -> None:
        """Continue with a processor of another version of the logic.

        If `is_saved` is true, the old processor saves snapshots first.
        """
        if is_saved:
            self.runner.snapshot()
        self.runner = runner_over(self.stores, self._home, self.clock, logic)
        self.settler = self._a_settler(logic)

    def restart(self) -> None:
        """Stop the processor without a snapshot, as in a crash, and start a new processor."""
        self.change_logic(CURRENT, is_saved=False)

    def _a_settler(self, logic: Logic) -> Settler:
        pace = SettlePace(resettle_after_ms=0, pass_ms=10**9, intent_ms=10, sort_site_days=self._sort_site_days)
        return Settler(settler_stores(self.stores), self.clock, pace, logic=logic)

    def send(self, hits: Sequence[RefHit], partition: int = 0, collected_at: int | None = None) -> None:
        """Append the hits as one record, and remember them with their log positions.

        `collected_at` limits the log time (rule L1), so that a test can let a partition lag.
        """
        if not hits:
            return
        times = [hit.event_time for hit in hits]
        collected_at = self.clock.now() if collected_at is None else collected_at
        record = Record(RecordKind.HITS, pack_record(hit_rows(hits)), len(hits), min(times), max(times), collected_at)
        self.sent += placed(hits, self.stores.log.append(Topic.HITS, partition, record).result())

    def heartbeat(self, partitions: Iterable[int] = range(PARTITIONS)) -> None:
        """Append a heartbeat to partitions. A heartbeat advances the partition's log time to the clock's time."""
        for partition in partitions:
            self.stores.log.append(Topic.HITS, partition, Record(RecordKind.HEARTBEAT)).result()

    def stream(self) -> None:
        """Let the stream process the whole log."""
        while self.runner.step(0.0):
            pass

    def close_days(self) -> None:
        """Advance the clock until the days of all hits are closed for every partition."""
        last_day = max((hit.event_time // DAY_MS for hit in self.sent), default=0)
        closed_at = (last_day + 1) * DAY_MS + CLOSED_AFTER_MS + 1
        self.clock.advance(max(0, closed_at - self.clock.now()))
        self.heartbeat()

    def settle(self) -> None:
        """Close the days of all hits, process the whole log, and settle until no site-day is dirty."""
        self.stream()
        self.close_days()
        self.stream()
        for _ in range(MAX_PASSES):
            self.clock.advance(1)
            if not self.stores.dirty.take(1, 10**6):
                return
            self.settler.run_once()
        raise AssertionError(f"still dirty after {MAX_PASSES} passes: {self.stores.dirty.take(5, 10**6)}")

    def rows(self) -> Rows:
        """Return every row as reports find it, settled or streamed, with numbers of visitors instead of sketches."""
        rows: Rows = {}
        for site in sorted({hit.site for hit in self.sent}):
            days = self.stores.generations.current(site, 0, 10**6)
            generations = {SiteDay(site, day): entry.generation for day, entry in days.items()}
            streamed = [day for day in self.stores.dirty.awaited(site) if day not in days]
            generations |= {SiteDay(site, day): STREAM_GENERATION for day in streamed}
            if generations:
                for source in RowSource:
                    for with_excluded in (False, True):
                        rows |= self._rows_of_source(source, generations, with_excluded=with_excluded)
        return rows

    def ledgers(self) -> dict[SiteDay, LedgerEntry]:
        """Return the ledger entry of each settled site-day."""
        return {
            SiteDay(site, day): entry
            for site in sorted({hit.site for hit in self.sent})
            for day, entry in self.stores.generations.ledger(site, 0, 10**6).items()
        }

    def _rows_of_source(self, source: RowSource, generations: Mapping[SiteDay, int], *, with_excluded: bool) -> Rows:
        site = next(iter(generations)).site
        start, end = min(generations).day * DAY_MS, (max(generations).day + 1) * DAY_MS
        found = self.stores.metrics.query(
            MetricQuery(
                source=source,
                generations=generations,
                start=start,
                end=end,
                bucket_starts=tuple(range(start, end, CELL_MS)),
                dimensions=_DIMENSIONS[source],
                measures=_MEASURES[source],
                sketches=TRAFFIC_SKETCHES if source == RowSource.TRAFFIC else (),
                include_excluded=with_excluded,
            )
        )
        visitors = np.zeros(found.height, np.int64)
        if "visitors" in found.columns:
            estimates, _ = union_by_group(found["visitors"], np.arange(found.height), found.height)
            visitors = np.rint(estimates).astype(np.int64)
        rows: Rows = {}
        for index, row in enumerate(found.iter_rows(named=True)):
            values = {name: row[name] for name in _MEASURES[source]} | {"visitors": int(visitors[index])}
            key = (
                source,
                with_excluded,
                site,
                start + row["bucket"] * CELL_MS,
                tuple(row[name] for name in _DIMENSIONS[source]),
            )
            kept = {name: value for name, value in values.items() if value}
            if kept:
                rows[key] = kept
        return rows


def runner_over(stores: Stores, home: Path, clock: Clock, logic: Logic = CURRENT) -> Runner:
    """Return a runner of the live stream on the given stores, composed as in the processor."""
    return Runner(building.stream_stores(stores), clock, home=home, logic=logic)


def settler_stores(stores: Stores) -> SettlerStores:
    """Return the ports that a settler needs, composed as in the processor."""
    return building.settler_stores(stores)


def placed(hits: Sequence[RefHit], at: LoggedPosition) -> list[RefHit]:
    """Return the hits with their log positions. Hits are marked as late if the log time requires it (T4)."""
    (log, partition, offset), log_time = at
    return [
        replace(
            hit,
            position=(log_time, log, partition, offset, row),
            is_late=log_time - hit.event_time > 60 * 60 * 1000,
        )
        for row, hit in enumerate(hits)
    ]


def policy_under(logic: Logic, policy: RefPolicy = V1) -> RefPolicy:
    """Return `policy` as the reference must apply it under a version of the logic."""
    return replace(policy, gap_ms=REF_V0.gap_ms) if logic.number == V0.number else policy


def visit_policy(policy: RefPolicy) -> VisitPolicy:
    """Return the product's visit policy that corresponds to a policy of the reference."""
    return VisitPolicy(
        gap_ms=policy.gap_ms,
        cap_ms=policy.cap_ms,
        max_hits=policy.max_hits,
        campaign_splits=policy.campaign_splits,
        split_at_local_midnight=policy.split_at_local_midnight,
    )


def expected_rows(hits: Iterable[RefHit], policy: RefPolicy = V1, by_day: PolicyByDay | None = None) -> Rows:
    """Return the settled rows that the reference expects for the given hits."""
    return folded_rows(settle(hits, policy, by_day).entries)


def folded_rows(entries: Iterable[Entry]) -> Rows:
    """Fold entries of the reference into rows, without zeros."""
    sums: dict[Key, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    every = list(entries)
    for key, entry in _keyed(every):
        for name, value in entry.adds.items():
            sums[key][name] += value
    for key, names in visitors_by_row(every).items():
        sums[key]["visitors"] = len(names)
    kept = {key: {name: value for name, value in row.items() if value} for key, row in sums.items()}
    return {key: row for key, row in kept.items() if row}


def visitors_by_row(entries: Iterable[Entry]) -> dict[Key, set[str]]:
    """Return the visitors of each row that has visitors."""
    visitors: dict[Key, set[str]] = defaultdict(set)
    for key, entry in _keyed(entries):
        if entry.visitor is not None:
            visitors[key].add(entry.visitor)
    return visitors


def _keyed(entries: Iterable[Entry]) -> Iterator[tuple[Key, Entry]]:
    """Yield each entry with the key of each row to which it contributes."""
    for entry in entries:
        for with_excluded in (False, True) if not entry.excluded else (True,):
            yield _key(entry, with_excluded=with_excluded), entry


def _key(entry: Entry, *, with_excluded: bool) -> Key:
    source = RowSource.TRAFFIC if "hit_type" in entry.dimensions else RowSource.VISITS
    dimensions = tuple(entry.dimensions.get(name) for name in _DIMENSIONS[source])
    return source, with_excluded, entry.site, entry.instant_ms - entry.instant_ms % CELL_MS, dimensions


def differences(found: Rows, expected: Rows) -> list[str]:
    """Return a line for each missing, unexpected or different row."""
    return [
        f"{key}: found {found.get(key)}, expected {expected.get(key)}"
        for key in sorted(found.keys() | expected.keys(), key=repr)
        if found.get(key) != expected.get(key)
    ]
