"""Step S of the journey: closed site-days are scanned, settled and published (decision A8, rules L3 and L4).

A day is taken once it is closed for every partition: first because the stream counted it, later again when history
marked it. Decides what is settled when, and in which order effects become durable: `Settler._publish` is the one
place. Every effect before the publication may be repeated, marks are cleared last, so a crash at any point costs a
repetition. Refuses to know what a settlement says: that is `settlement`.

One settler at a time works on a site: a carry is handed from day to day.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

import polars as pl

from hitmesh.closing import first_open_day
from hitmesh.columns import LOGIC_VERSION
from hitmesh.errors import FatalError, RetryError, StaleGeneration, Unavailable
from hitmesh.hit_types import HitType
from hitmesh.logs import logger
from hitmesh.ports import (
    SETTLEMENT_LOG,
    Clock,
    DirtyDays,
    DirtyMark,
    DirtySiteDay,
    Drift,
    GenerationEntry,
    Generations,
    OrderClaims,
    PartitionId,
    Position,
    ProgressReader,
    RawStore,
    RejectedStore,
    RollupSink,
    SeriesStore,
    Site,
    SiteDay,
    SiteDirectory,
    Topic,
    VisitPolicy,
)
from hitmesh.stream_columns import STREAM_GENERATION
from hitmesh.telemetry import Metrics, unmeasured
from hitmesh.telemetry.labels import SettledResult
from hitmesh.zones import DAY_MS
from processor.carry import Carry
from processor.collisions import collision_refusals
from processor.drift import drift_of
from processor.duplicates import COPY_WINDOW_MS
from processor.metering import count_not_settled, count_settled, count_store_error
from processor.orders import seen_claims
from processor.rollups import RowOwner
from processor.settlement import DERIVE_MS, DayInputs, Settled, settle
from processor.window import Window, read_window

_SETTLEMENT: Final = PartitionId(SETTLEMENT_LOG, 0)
_FOLLOW_MS: Final = (7_200_000, DAY_MS)  # how far behind its day visits are followed: first try, second try
_UNKNOWN_ZONE: Final = "UTC"


@dataclass(frozen=True, slots=True)
class SettlerStores:
    """What a settler reads and writes."""

    raw: RawStore
    rejected: RejectedStore
    dirty: DirtyDays
    generations: Generations
    claims: OrderClaims
    sink: RollupSink
    progress: ProgressReader
    directory: SiteDirectory
    series: SeriesStore


@dataclass(frozen=True, slots=True)
class Pace:
    """How hard a settler works.

    Attributes:
        take_site_days: dirty site-days looked at per pass.
        pass_ms: a pass stops taking on work after this long.
        resettle_after_ms: a site-day that stays dirty is settled again no sooner; nor sooner than it took.
        retry_after_ms: a site-day that cannot be settled is tried again no sooner.
        keep_superseded_ms: how long rows stay readable after their successor was published.
        ingest_timeout_s: how long written rows may take to become readable.
    """

    take_site_days: int = 2_000
    pass_ms: int = 5_000
    resettle_after_ms: int = 2_000
    retry_after_ms: int = 60_000
    keep_superseded_ms: int = 60_000
    ingest_timeout_s: float = 30.0


class Settler:
    """Settles dirty site-days. Confined to one thread."""

    def __init__(
        self,
        stores: SettlerStores,
        clock: Clock,
        pace: Pace | None = None,
        stop: threading.Event | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        self._stores = stores
        self._metrics = metrics or unmeasured()
        self._clock = clock
        self._pace = pace or Pace()
        self._stop = stop or threading.Event()
        self._paced: dict[SiteDay, int] = {}
        self._broken: dict[SiteDay, int] = {}
        self._last_mark = 0
        self._last_site = ""

    def run(self, *, pause_s: float = 0.5) -> None:
        """Work through passes until stopped; wait where a store asks to be tried later."""
        while not self._stop.is_set():
            wait_s = pause_s
            try:
                self.run_once()
            except RetryError as error:
                logger().warning("settler_waits", reason=error.reason, message=error.message)
                count_store_error(self._metrics, error)
                wait_s = max(pause_s, error.retry_after_s)
            self._stop.wait(wait_s)

    def run_once(self) -> int:
        """Settle what is dirty, as far as one pass goes; return how many site-days were done.

        Raises:
            RetryError: a store does not answer; what is not done stays dirty.
        """
        started = self._clock.now()
        self._paced = {day: until for day, until in self._paced.items() if until > started}
        self._broken = {day: until for day, until in self._broken.items() if until > started}
        closed_before = self._closed_before()
        taken = self._stores.dirty.take(self._pace.take_site_days, closed_before)
        self._note_marks(taken)
        # Read after the marks: the intake commits positions after it has marked.
        hits_before = _offsets(self._stores.progress, Topic.HITS)
        before = {**hits_before, **_offsets(self._stores.progress, Topic.REJECTED), _SETTLEMENT: self._last_mark + 1}
        waiting = {entry.site_day for entry in taken}
        done = 0
        for entry in self._in_turn(taken):
            if self._stop.is_set() or self._clock.now() - started > self._pace.pass_ms:
                break
            self._last_site = entry.site_day.site
            covered = _covered(entry, before)
            if covered is not None and not self._must_wait(covered):
                waiting.discard(entry.site_day)
                done += self._settle_if_possible(covered, hits_before, before, waiting, closed_before)
        self._remove_superseded()
        return done

    def _closed_before(self) -> int:
        """Return the first day that is not closed for every declared partition, as far as partials are stored.

        What the stream said of a day is compared with its settlement, so all of it must be there.
        """
        flushed = self._stores.series.flushed()
        declared = self._stores.progress.progress(Topic.HITS)
        return first_open_day(min((flushed[name].log_time if name in flushed else 0 for name in declared), default=0))

    def _must_wait(self, covered: DirtySiteDay) -> bool:
        """Return whether it is too early: what settlement itself marked is never slowed down, new hits are."""
        by_settlement = any(marks.partition == _SETTLEMENT for marks in covered.marks)
        return covered.site_day in self._broken or (covered.site_day in self._paced and not by_settlement)

    def _in_turn(self, taken: Iterable[DirtySiteDay]) -> list[DirtySiteDay]:
        """Return the site-days site by site, days ascending; the site worked on last comes last."""
        return sorted(taken, key=lambda entry: (entry.site_day.site <= self._last_site, entry.site_day))

    def _settle_if_possible(
        self,
        covered: DirtySiteDay,
        hits_before: Mapping[PartitionId, int],
        before: Mapping[PartitionId, int],
        waiting: set[SiteDay],
        closed_before: int,
    ) -> bool:
        """Settle one site-day; where that cannot be, leave it dirty for later and let the others go on."""
        site_day = covered.site_day
        started = self._clock.now()
        try:
            attempt = _Attempt(self._stores, site_day, hits_before, before)
            settled = attempt.settle()
            if settled is not None:
                self._publish(attempt, settled, waiting, closed_before)
            self._stores.dirty.clear(covered)
        except StaleGeneration as error:
            logger().warning("settlement_was_overtaken", message=error.message)
            count_not_settled(self._metrics, SettledResult.STALE)
            waiting.add(site_day)
            return False
        except FatalError as error:
            logger().error("site_day_cannot_be_settled", site_day=list(site_day), message=error.message)
            count_not_settled(self._metrics, SettledResult.BROKEN)
            waiting.add(site_day)
            self._broken[site_day] = self._clock.now() + self._pace.retry_after_ms
            return False
        ended = self._clock.now()
        if settled is not None:
            self._paced[site_day] = ended + max(self._pace.resettle_after_ms, ended - started)
            logger().info(
                "settled",
                day=site_day.day,
                hits=settled.ledger.accepted,
                rows=settled.traffic.height + settled.visits.height,
                took_ms=ended - started,
            )
        return True

    def _publish(self, attempt: _Attempt, settled: Settled, waiting: set[SiteDay], closed_before: int) -> None:
        """Make a settlement current. The order of effects of step S, written once.

        1. rows, invisible until published, unless the stream's own rows are confirmed; 2. collisions; 3. marks on the
        days that this settlement changes, before it becomes current, since afterwards nothing would show that it did;
        4. generation, ledger, carry and drift, if no one else published; 5. duplicate flags of claims. The caller
        clears the marks it took last.
        """
        stores, site_day = self._stores, attempt.site_day
        drift = attempt.drift(settled)
        if drift is None or not drift.confirmed:
            stores.sink.write(settled.traffic, settled.visits)
            self._await_ingestion(site_day, attempt.generation)
        if settled.collisions:
            stores.rejected.put(collision_refusals(stores.raw, settled.collisions))
        disturbed = attempt.disturbed_days(settled) - {one.day for one in waiting if one.site == site_day.site}
        # A day that is not closed is settled anyway when it closes; until then the stream answers for it.
        disturbed = {day for day in disturbed if day < closed_before}
        if disturbed:
            stores.dirty.mark(list(self._marks(site_day.site, disturbed)))
        stores.generations.publish(
            site_day,
            attempt.generation,
            logic_version=LOGIC_VERSION,
            read_through=attempt.read_through,
            seen_sequence=attempt.seen_sequence,
            ledger=settled.ledger,
            carry=settled.carry.to_bytes(),
            now=self._clock.now(),
            drift=drift,
        )
        count_settled(self._metrics, drift)
        if settled.orders.changed_flags:
            stores.claims.set_duplicates(site_day.site, settled.orders.changed_flags)

    def _await_ingestion(self, site_day: SiteDay, generation: int) -> None:
        """Wait until reports can read the rows: only then may they become current (decision A9)."""
        deadline = self._clock.now() + int(self._pace.ingest_timeout_s * 1000)
        while not self._stores.sink.ingested(site_day, generation):
            if self._stop.wait(0.05) or self._clock.now() > deadline:
                raise Unavailable(f"rows of {site_day} generation {generation} are not readable yet")

    def _marks(self, site: str, days: Iterable[int]) -> Iterator[DirtyMark]:
        """Yield marks of settlement, each with an offset greater than any that was taken."""
        now = self._clock.now()
        for day in sorted(days):
            self._last_mark = max(now, self._last_mark + 1)
            yield DirtyMark(SiteDay(site, day), Position(*_SETTLEMENT, self._last_mark), now)

    def _note_marks(self, taken: Iterable[DirtySiteDay]) -> None:
        offsets = [marks.last_offset for one in taken for marks in one.marks if marks.partition == _SETTLEMENT]
        self._last_mark = max([self._last_mark, *offsets])

    def _remove_superseded(self) -> None:
        """Remove rows of generations that were replaced a while ago; no answer reads them any more."""
        gone = self._stores.generations.superseded(self._clock.now() - self._pace.keep_superseded_ms)
        if gone:
            self._stores.sink.drop(gone)
            for site_day, generation in gone:
                self._stores.generations.forget(site_day, generation)


class _Attempt:
    """One attempt at one site-day: what is known when it begins, and the settlement computed from it."""

    def __init__(
        self,
        stores: SettlerStores,
        site_day: SiteDay,
        hits_before: Mapping[PartitionId, int],
        read_through: Mapping[PartitionId, int],
    ) -> None:
        site, day = site_day
        entries: Mapping[int, GenerationEntry] = stores.generations.current(site, day, day + 2)
        before_it = stores.generations.carry(SiteDay(site, day - 1))
        handed_on = stores.generations.carry(site_day)
        self.site_day = site_day
        self.read_through = {name: offset for name, offset in read_through.items() if name != _SETTLEMENT}
        self.generation = 0
        self._stores = stores
        self._hits_before = hits_before
        self._current = entries.get(day)
        self._next_is_settled = day + 1 in entries
        self._carry = Carry.from_bytes(before_it) if before_it is not None else None
        self._handed_on = Carry.from_bytes(handed_on) if handed_on is not None else None

    @property
    def seen_sequence(self) -> int:
        """The entry seen when the scan began, 0 for none."""
        return self._current.sequence if self._current else 0

    def settle(self) -> Settled | None:
        """Return the settlement; None when there is nothing to settle: no hit, no refusal, nothing published."""
        site, day = self.site_day
        rejected = self._stores.rejected.counts(site, day)
        if not rejected and self._current is None and day not in self._stores.raw.days(site):
            return None
        known = self._stores.directory.site(site)
        self.generation = self._stores.generations.begin(self.site_day)
        for follow_ms in _FOLLOW_MS:
            settled = settle(self._inputs(known, (day + 1) * DAY_MS + follow_ms, rejected))
            if settled.complete:
                break
        return settled

    def drift(self, settled: Settled) -> Drift | None:
        """Return how the settlement differs from the stream; None where it was compared before, or never streamed."""
        if self._current is not None:
            return None
        site, day = self.site_day
        return drift_of(
            settled.traffic, settled.visits, self._stores.series.read(site, day, day + 1, STREAM_GENERATION)
        )

    def disturbed_days(self, settled: Settled) -> set[int]:
        """Return the other days that must be settled (again) because of this settlement (rule L4)."""
        day = self.site_day.day
        disturbed = {*settled.disturbed_days, *settled.orders.disturbed_days}
        if self._next_is_settled and not (self._handed_on and settled.carry.hands_on_the_same(self._handed_on)):
            disturbed.add(day + 1)
        if self._carry is not None and self._carry.followed != settled.followed:
            disturbed.add(day - 1)
        return disturbed

    def _inputs(self, site: Site | None, known_until: int, rejected: Mapping[int, int]) -> DayInputs:
        name, day = self.site_day
        reach_back = COPY_WINDOW_MS if self._carry else COPY_WINDOW_MS + DERIVE_MS
        window = self._window(name, day * DAY_MS - reach_back, known_until + COPY_WINDOW_MS)
        orders = window.rows.filter(
            (pl.col("hit_type") == HitType.ORDER)
            & pl.col("order_id").is_not_null()
            & pl.col("event_time").is_between(day * DAY_MS, known_until, closed="left")
        )["order_id"].unique()
        claims = self._stores.claims.of(name, orders.sort().to_list()) if len(orders) else ()
        return DayInputs(
            owner=RowOwner(name, day, self.generation),
            policy=site.policy if site else VisitPolicy(),
            zone=site.time_zone if site else _UNKNOWN_ZONE,
            window=window,
            known_until=known_until,
            carry=self._carry,
            claims=seen_claims(claims, self._hits_before),
            rejected=rejected,
            read_through=self._current.read_through if self._current else {},
        )

    def _window(self, site: str, start: int, end: int) -> Window:
        records = self._stores.raw.scan(site, start // DAY_MS, (end - 1) // DAY_MS + 1, self._hits_before)
        return read_window(records, site, start, end)


def _offsets(progress: ProgressReader, topic: Topic) -> dict[PartitionId, int]:
    return {partition: done.next_offset for partition, done in progress.progress(topic).items()}


def _covered(entry: DirtySiteDay, before: Mapping[PartitionId, int]) -> DirtySiteDay | None:
    """Return the marks of records that a scan with these bounds sees; None where there are marks and it sees none."""
    if not entry.marks:
        return entry  # its day has closed, that is all
    marks = tuple(
        replace(one, last_offset=min(one.last_offset, before.get(one.partition, 0) - 1))
        for one in entry.marks
        if one.first_offset < before.get(one.partition, 0)
    )
    return replace(entry, marks=marks) if marks else None
