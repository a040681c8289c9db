"""Step S of the journey: closed site-days are scanned, settled and published (decision A8, rules L3 and L4).

A day is taken once it is closed for every partition: first because the stream counted it, later again when history
marked it. Site-days are settled in waves: their rows are written and awaited together, since a store takes seconds to
make rows readable however few they are; then they are published one by one. Decides what is settled when, and in
which order effects become durable: `Settler._publish_wave` is the one place. Every effect before a publication may be
repeated, marks are cleared last, so a crash at any point costs a repetition. One settler at a time works on a site: a
carry is handed from day to day. Refuses to know what a settlement says: that is `settlement`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import polars as pl

from hitmesh.model.closing import first_open_day
from hitmesh.model.days import date_text
from hitmesh.model.errors import FatalError, RetryError, StaleGeneration, Unavailable
from hitmesh.model.generations import SETTLEMENT_LOG, DirtyMark, DirtySiteDay
from hitmesh.model.positions import PartitionId, PartitionProgress, Position, Topic
from hitmesh.model.rows.columns import LOGIC_VERSION
from hitmesh.model.rows.stream_columns import STREAM_GENERATION
from hitmesh.model.sites import SiteDay
from hitmesh.model.sketches.unions import LG_K_CELL
from hitmesh.ports import Clock, ProgressReader
from hitmesh.runtime.logs import logger, traceback_of
from hitmesh.runtime.telemetry import Metrics, unmeasured
from hitmesh.runtime.telemetry.labels import SettledResult
from processor.settle.attempt import Attempt, SettlerStores
from processor.settle.drift import with_stored_rows
from processor.settle.wave import Computed, Pass, covered_by
from processor.stream.collisions import collision_refusals
from processor.stream.metering import count_not_settled, count_settled, count_store_error

_LOOK_EVERY_S: Final = 0.05
_MAX_DOUBLINGS: Final = 20
# Polars panics with an exception that is no Exception.
ANY_ERROR: Final = (Exception, pl.exceptions.PanicException)


@dataclass(frozen=True, slots=True)
class Pace:
    """How hard a settler works.

    Attributes:
        take_site_days: dirty site-days looked at per pass.
        pass_ms: a pass stops taking on work after this long.
        resettle_after_ms: a site-day that stays dirty is settled again no sooner; nor sooner than it took.
        retry_after_ms: a site-day that cannot be settled is tried again no sooner; twice as late after each failure.
        max_retry_after_ms: but no later.
        keep_superseded_ms: how long rows stay readable after their successor was published.
        ingest_timeout_s: how long written rows may take to become readable.
        wave_site_days: settled before the first of them is published, at most.
        wave_rows: written at once, about.
    """

    take_site_days: int = 2_000
    pass_ms: int = 5_000
    resettle_after_ms: int = 2_000
    retry_after_ms: int = 60_000
    max_retry_after_ms: int = 3_600_000
    keep_superseded_ms: int = 360_000
    ingest_timeout_s: float = 120.0
    wave_site_days: int = 64
    wave_rows: int = 200_000


class Settler:
    """Settles dirty site-days. Confined to one thread.

    Args:
        stores: where everything is.
        clock: says when to try again; numbers do not depend on it.
        pace: how much at once.
        stop: ends the work when it is set.
        metrics: counts.
        marks: the partition of its own marks, for each settler another: a mark is cleared by its offset, from a clock.
        lg_k: of the sketches of visitors (processor.stream.live.limits.Limits); the same as the stream's.
    """

    def __init__(
        self,
        stores: SettlerStores,
        clock: Clock,
        pace: Pace | None = None,
        stop: threading.Event | None = None,
        metrics: Metrics | None = None,
        *,
        marks: int = 0,
        lg_k: int = LG_K_CELL,
    ) -> None:
        self._stores = stores
        self._metrics = metrics or unmeasured()
        self._clock = clock
        self._pace = pace or Pace()
        self._stop = stop or threading.Event()
        self._paced: dict[SiteDay, int] = {}
        self._broken: dict[SiteDay, int] = {}
        self._failures: dict[SiteDay, int] = {}
        self._own_marks = PartitionId(SETTLEMENT_LOG, marks)
        self._last_mark = 0
        self._lg_k = lg_k
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
        before = {**hits_before, **_offsets(self._stores.progress, Topic.REJECTED)}
        this = Pass(started, closed_before, hits_before, before, {entry.site_day for entry in taken})
        for entry in self._in_turn(taken):
            if self._stop.is_set() or self._clock.now() - started > self._pace.pass_ms:
                break
            self._last_site = entry.site_day.site
            covered = covered_by(entry, before)
            if covered is not None and not self._must_wait(covered):
                this.waiting.discard(entry.site_day)
                self._compute_if_possible(this, covered)
            if len(this.wave) >= self._pace.wave_site_days or sum(one.rows for one in this.wave) > self._pace.wave_rows:
                self._publish_wave(this)
        self._publish_wave(this)
        self._remove_superseded()
        return this.done

    def _closed_before(self) -> int:
        """Return the first day that is not closed for every declared partition, as far as partials are stored.

        What the stream said of a day is compared with its settlement, so all of it must be there.
        """
        return _closed_before(self._stores.series.flushed(), self._stores.progress.progress(Topic.HITS))

    def _must_wait(self, covered: DirtySiteDay) -> bool:
        """Return whether it is too early: what settlement itself marked is never slowed down, new hits are."""
        by_settlement = any(marks.partition.log == SETTLEMENT_LOG for marks in covered.marks)
        return covered.site_day in self._broken or (covered.site_day in self._paced and not by_settlement)

    def _in_turn(self, taken: Iterable[DirtySiteDay]) -> list[DirtySiteDay]:
        """Return the site-days site by site, days ascending; the site worked on last comes last."""
        return sorted(taken, key=lambda entry: (entry.site_day.site <= self._last_site, entry.site_day))

    def _compute_if_possible(self, this: Pass, covered: DirtySiteDay) -> None:
        """Settle one site-day into the wave; where that cannot be, leave it dirty and let the others go on."""
        site_day = covered.site_day
        started = self._clock.now()
        try:
            handed = this.handed(site_day)
            attempt = Attempt(self._stores, site_day, this.hits_before, this.before, handed, lg_k=self._lg_k)
            settled = attempt.settle()
            if settled is not None:
                this.wave.append(Computed(covered, attempt, settled, attempt.drift(settled), started))
                return
            self._stores.dirty.clear(covered)
            this.done += 1
        except RetryError:
            raise
        except ANY_ERROR as error:
            self._put_off(this, site_day, error)

    def _publish_wave(self, this: Pass) -> None:
        """Make the settlements of a wave current. The order of effects of step S, written once.

        First the stream's rows are compared with what the metric store has of them, which decides what is confirmed.
        1. the rows of all, invisible until published, unless the stream's own rows are confirmed. Then of each
        site-day, days ascending: 2. its series; 3. collisions; 4. marks on the days that this settlement changes,
        before it becomes current, since afterwards nothing would show that it did; 5. generation, ledger, carry and
        drift, if no one else published; 6. duplicate flags of claims; 7. the marks that were taken are cleared.
        A site-day that fails takes those of its site behind it with it: they were computed from its carry.
        """
        wave, this.wave = this.wave, []
        try:
            wave = self._readable(wave)
        except RetryError:
            raise
        except ANY_ERROR as error:
            self._publish_apart(this, wave, error)
            return
        for one in wave:
            site_day = one.attempt.site_day
            if site_day.site in this.failed:
                this.waiting.add(site_day)
                continue
            try:
                self._publish(this, one)
            except RetryError:
                raise
            except ANY_ERROR as error:
                this.failed.add(site_day.site)
                self._put_off(this, site_day, error)
                continue
            self._stores.dirty.clear(one.covered)
            this.done += 1
            self._note_done(one)

    def _readable(self, wave: Sequence[Computed]) -> list[Computed]:
        """Write the rows of a wave and wait until reports can read them; return the wave with what is confirmed."""
        compared = self._compared(wave)
        written = [one for one in compared if not one.is_confirmed]
        if written:
            self._stores.sink.write(
                pl.concat([one.settled.traffic for one in written]), pl.concat([one.settled.visits for one in written])
            )
            self._await_ingestion(written)
        return compared

    def _publish_apart(self, this: Pass, wave: Sequence[Computed], error: BaseException) -> None:
        """Publish the site-days of a wave that failed as a whole one by one: only those at fault are put off."""
        if len(wave) == 1:
            this.failed.add(wave[0].attempt.site_day.site)
            self._put_off(this, wave[0].attempt.site_day, error)
            return
        for one in wave:
            this.wave = [one] if one.attempt.site_day.site not in this.failed else []
            this.waiting |= {one.attempt.site_day} if not this.wave else set()
            self._publish_wave(this)

    def _publish(self, this: Pass, one: Computed) -> None:
        stores, site_day, settled = self._stores, one.attempt.site_day, one.settled
        generation = STREAM_GENERATION if one.is_confirmed else one.attempt.generation
        stores.series.put_settled(site_day, generation, one.attempt.series_of(settled))
        if settled.collisions:
            stores.rejected.put(collision_refusals(stores.raw, settled.collisions))
        disturbed = one.attempt.disturbed_days(settled) - {day.day for day in this.waiting if day.site == site_day.site}
        # A day that is not closed is settled anyway when it closes; until then the stream answers for it.
        disturbed = {day for day in disturbed if day < this.closed_before}
        if disturbed:
            stores.dirty.mark(list(self._marks(site_day.site, disturbed)))
        stores.generations.publish(
            site_day,
            one.attempt.generation,
            logic_version=LOGIC_VERSION,
            read_through=one.attempt.read_through,
            seen_sequence=one.attempt.seen_sequence,
            ledger=settled.ledger,
            carry=settled.carry.to_bytes(),
            now=self._clock.now(),
            drift=one.drift,
        )
        count_settled(self._metrics, one.drift)
        if settled.orders.changed_flags:
            stores.claims.set_duplicates(site_day.site, settled.orders.changed_flags)

    def _put_off(self, this: Pass, site_day: SiteDay, error: BaseException) -> None:
        """Leave a site-day dirty: at once again where another settlement came first, ever later where it is broken."""
        this.waiting.add(site_day)
        if isinstance(error, StaleGeneration):
            logger().warning("settlement_was_overtaken", message=error.message)
            count_not_settled(self._metrics, SettledResult.STALE)
            return
        self._failures[site_day] = failures = self._failures.get(site_day, 0) + 1
        after_ms = min(self._pace.retry_after_ms << min(failures - 1, _MAX_DOUBLINGS), self._pace.max_retry_after_ms)
        logger().error(
            "site_day_cannot_be_settled",
            site=site_day.site,
            date=date_text(site_day.day),
            error=type(error).__name__,
            message=str(error),
            failures=failures,
            retry_after_s=after_ms // 1_000,
            traceback="" if isinstance(error, FatalError) else traceback_of(error),
        )
        count_not_settled(self._metrics, SettledResult.BROKEN)
        self._broken[site_day] = self._clock.now() + after_ms

    def _note_done(self, one: Computed) -> None:
        self._failures.pop(one.attempt.site_day, None)
        ended = self._clock.now()
        self._paced[one.attempt.site_day] = ended + max(self._pace.resettle_after_ms, ended - one.started)
        logger().info(
            "settled",
            site=one.attempt.site_day.site,
            date=date_text(one.attempt.site_day.day),
            hits=one.settled.ledger.accepted,
            rows=one.settled.traffic.height + one.settled.visits.height,
            took_ms=ended - one.started,
        )

    def _compared(self, wave: Sequence[Computed]) -> list[Computed]:
        """Return the wave with the drift of the stream's rows in the metric store: rows it lost or has twice.

        Partials cannot tell: they are stored elsewhere. A day whose rows differ is not confirmed.
        """
        streamed = [one for one in wave if one.drift is not None]
        if not streamed:
            return list(wave)
        last_day = max(one.attempt.site_day.day for one in streamed)
        self._await(lambda: self._rows_closed_before() > last_day, f"rows of the stream of day {last_day}")
        sums = self._stores.metrics.stream_sums([one.attempt.site_day for one in streamed])
        return [_with_stored_rows(one, sums) for one in wave]

    def _rows_closed_before(self) -> int:
        """Return the first day of which the metric store may lack rows of the stream."""
        return _closed_before(self._stores.metrics.ingested_through(), self._stores.progress.progress(Topic.HITS))

    def _await_ingestion(self, written: Sequence[Computed]) -> None:
        """Wait until reports can read the rows: only then may they become current (decision A9)."""
        waiting = [(one.attempt.site_day, one.attempt.generation) for one in written]

        def are_ingested() -> bool:
            while waiting and self._stores.sink.ingested(*waiting[0]):
                waiting.pop(0)
            return not waiting

        self._await(are_ingested, f"rows of {len(waiting)} site-days, {waiting[0][0]} and later")

    def _await(self, are_readable: Callable[[], bool], rows: str) -> None:
        """Wait until rows are readable.

        Raises:
            Unavailable: they are not in time, or this settler was stopped.
        """
        deadline = self._clock.now() + int(self._pace.ingest_timeout_s * 1000)
        while not are_readable():
            if self._stop.wait(_LOOK_EVERY_S) or self._clock.now() > deadline:
                raise Unavailable(f"{rows} are not readable yet", retry_after_s=5.0)

    def _marks(self, site: str, days: Iterable[int]) -> Iterator[DirtyMark]:
        """Yield marks of settlement, each with an offset greater than any that was taken."""
        now = self._clock.now()
        for day in sorted(days):
            self._last_mark = max(now, self._last_mark + 1)
            yield DirtyMark(SiteDay(site, day), Position(*self._own_marks, self._last_mark), now)

    def _note_marks(self, taken: Iterable[DirtySiteDay]) -> None:
        offsets = [marks.last_offset for one in taken for marks in one.marks if marks.partition == self._own_marks]
        self._last_mark = max([self._last_mark, *offsets])

    def _remove_superseded(self) -> None:
        """Remove rows of generations that were replaced a while ago; no answer reads them any more."""
        gone = self._stores.generations.superseded(self._clock.now() - self._pace.keep_superseded_ms)
        if gone:
            self._stores.sink.drop(gone)
            for site_day, generation in gone:
                self._stores.generations.forget(site_day, generation)


def _with_stored_rows(one: Computed, sums: Mapping[SiteDay, Mapping[str, int]]) -> Computed:
    site_day, settled = one.attempt.site_day, one.settled
    if one.drift is None:
        return one
    drift = with_stored_rows(one.drift, settled.traffic, settled.visits, sums[site_day])
    if drift.row_measures:
        logger().error(
            "stream_rows_differ",
            site=site_day.site,
            date=date_text(site_day.day),
            stored_minus_counted=dict(drift.row_measures),
        )
    return replace(one, drift=drift)


def _closed_before(reached: Mapping[PartitionId, PartitionProgress], declared: Iterable[PartitionId]) -> int:
    """Return the first day that is not closed by these positions for every declared partition."""
    return first_open_day(min((reached[one].log_time if one in reached else 0 for one in declared), default=0))


def _offsets(progress: ProgressReader, topic: Topic) -> dict[PartitionId, int]:
    return {partition: done.next_offset for partition, done in progress.progress(topic).items()}
