"""The settler: scans, settles and publishes closed site-days (architecture A8, rules L3 and L4).

A day is settled when it is closed in every partition. The first settlement takes place if the stream counted hits on
the day. A further settlement takes place if history hits mark the day dirty. A store takes seconds to make even a few
rows readable. Site-days are therefore settled in groups, called waves. The settler writes all rows of a wave, and then
waits once until the rows are readable. The site-days are then published one by one.

The settler schedules the work and performs the effects. `Settler._publish_wave` documents the order in which effects
become durable. Every effect before a publication is idempotent. Dirty marks are cleared last. A crash at any point
therefore costs only repeated work. Each day needs the carry from the day before. Only one settler works on a site at a
time (`share`). A settler may be suspended while another settler takes over the site. The suspended settler's
publication is then refused: a publication requires that no day of the site was published since the attempt began.
`settlement` computes the results.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

import polars as pl

from hitmesh.model.days import date_text
from hitmesh.model.errors import FatalError, RetryError, StaleGeneration, StoreCorrupt
from hitmesh.model.generations import SETTLEMENT_LOG, DirtySiteDay
from hitmesh.model.limits import LG_K_CELL
from hitmesh.model.logic import CURRENT, Logic, logic_named
from hitmesh.model.site_buckets import site_bucket
from hitmesh.model.sites import SiteDay
from hitmesh.ports import Clock
from hitmesh.runtime.logs import bound_to, logger, traceback_of
from hitmesh.runtime.telemetry import Metrics, unmeasured
from hitmesh.runtime.telemetry.labels import SettledResult
from processor.any_error import ANY_ERROR
from processor.settle.attempt import Attempt
from processor.settle.drift import not_confirmed, sums_of_streams, with_stored_rows
from processor.settle.loop import run_in_turns
from processor.settle.memory import DEFAULT_MEMORY, SettleMemory
from processor.settle.overtaken import mark_if_overtaken, refuse_changed_streams, refuse_lost_lease
from processor.settle.pace import SettlePace
from processor.settle.reached import ScanBounds, closed_before, rows_closed_before, scan_bounds
from processor.settle.readable import ReadableRows
from processor.settle.removal import remove_superseded
from processor.settle.resorting import Resorting
from processor.settle.series import series_of_days
from processor.settle.settlement_marks import SettlementMarks
from processor.settle.share import Share, WholeShare
from processor.settle.skipped_rules import SkippedRules
from processor.settle.sorted_hits import SortedHits
from processor.settle.stores import SettlerStores
from processor.settle.wave import Computed, Pass, covered_by
from processor.stream.collisions import collision_refusals
from processor.stream.metering import count_not_settled, count_settled
from processor.stream.stores import digest_of

_MAX_DOUBLINGS: Final = 20


class Settler:
    """Settle dirty site-days. An instance must be used by one thread only.

    Args:
        stores: the stores to read and write.
        clock: measures delays before retries. The results do not depend on the clock.
        pace: the limits and delays.
        stop: ends the work when set.
        metrics: receives the counts.
        marks: the partition number for dirty marks that this settler makes (SettlementMarks).
        lg_k: log2 of the visitor sketches' size, the same as in the stream (processor.stream.live.limits.Limits).
        logic: the logic version for site-days that were never settled. A settled site-day keeps its version.
        share: the sites that this settler settles; None: all sites.
        memory: the limits that bound the memory.
    """

    def __init__(
        self,
        stores: SettlerStores,
        clock: Clock,
        pace: SettlePace | None = None,
        stop: threading.Event | None = None,
        metrics: Metrics | None = None,
        *,
        marks: int = 0,
        lg_k: int = LG_K_CELL,
        logic: Logic = CURRENT,
        share: Share | None = None,
        memory: SettleMemory = DEFAULT_MEMORY,
    ) -> None:
        self._stores = stores
        self._metrics = metrics or unmeasured()
        self._clock = clock
        self._pace = pace or SettlePace()
        self._stop = stop or threading.Event()
        self._paced: dict[SiteDay, int] = {}
        self._broken: dict[SiteDay, int] = {}
        self._failures: dict[SiteDay, int] = {}
        self._marks = SettlementMarks(clock, marks)
        self._rows = ReadableRows(stores.sink, clock, self._stop, self._pace.ingest_timeout_s, rest=memory.rest)
        self._lg_k = lg_k
        self._logic = logic
        self._memory = memory
        self._last_site = ""
        self._skipped_rules = SkippedRules()
        self._share = share or WholeShare()
        self._resorting = Resorting(stores.raw, stores.dirty, clock, self._pace, memory)

    def run(self, *, pause_s: float = 0.5) -> None:
        """Run settlement passes until `stop` is set (`run_in_turns`)."""
        run_in_turns((self.run_once,), self._stop, self._metrics, pause_s=pause_s)

    def run_once(self) -> int:
        """Run one pass over dirty site-days. Return how many site-days are no longer dirty.

        Raises:
            RetryError: a store is unavailable. Site-days that are not finished remain dirty.
        """
        started = self._clock.now()
        self._paced = {day: until for day, until in self._paced.items() if until > started}
        self._broken = {day: until for day, until in self._broken.items() if until > started}
        buckets = self._share.begin()
        if not buckets:
            return 0
        streams = self._stores.streams.read()
        closed = closed_before(self._stores, streams)
        waiting = self._stores.dirty.take(self._pace.take_site_days, closed, buckets)
        self._marks.note(waiting)
        taken = self._marks.without_young_intents(waiting, started - self._pace.intent_ms)
        self._share.note("settle", Counter(site_bucket(day.site_day.site) for day in taken if not self._must_wait(day)))
        # Positions must be read after dirty marks, because the stream stores marks before it commits positions.
        bounds = scan_bounds(self._stores.progress)
        this = Pass(started, closed, streams)
        self._resorting.prepare(taken, bounds, closed, buckets)
        sorted_at = self._clock.now()
        for entry in self._in_turn(taken):
            if self._stop.is_set() or self._clock.now() - sorted_at > self._pace.pass_ms:
                break
            self._last_site = entry.site_day.site
            sorted_hits = self._resorting.of(entry)
            within = sorted_hits.bounds if sorted_hits else bounds
            covered = covered_by(entry, within.all)
            if covered is not None and not self._must_wait(covered):
                with bound_to(site=covered.site_day.site):
                    self._compute_if_possible(this, covered, within, sorted_hits)
            if (
                len(this.wave) >= self._pace.wave_site_days
                or sum(computed.rows for computed in this.wave) > self._pace.wave_rows
            ):
                self._publish_wave(this)
        self._publish_wave(this)
        before, limit = self._clock.now() - self._pace.keep_superseded_ms, self._pace.remove_generations
        remove_superseded(self._stores, before, limit, buckets)
        return this.done

    def _must_wait(self, covered: DirtySiteDay) -> bool:
        """Return whether the site-day must wait before it is settled.

        A site-day must wait if its last attempt failed a short time ago. A site-day that was settled a short time ago
        must wait too, unless settlement itself marked the site-day.
        """
        by_settlement = any(marks.partition.log == SETTLEMENT_LOG for marks in covered.marks)
        return covered.site_day in self._broken or (covered.site_day in self._paced and not by_settlement)

    def _in_turn(self, taken: Iterable[DirtySiteDay]) -> list[DirtySiteDay]:
        """Return the site-days by site and day, beginning with the site that follows the last settled site."""
        return sorted(taken, key=lambda entry: (entry.site_day.site <= self._last_site, entry.site_day))

    def _compute_if_possible(
        self, this: Pass, covered: DirtySiteDay, bounds: ScanBounds, sorted_hits: SortedHits | None
    ) -> None:
        """Settle a site-day, and add the result to the current wave. After an error, leave the site-day dirty."""
        site_day = covered.site_day
        started = self._clock.now()
        try:
            handed = this.handed(site_day)
            attempt = Attempt(
                self._stores,
                site_day,
                bounds.hits,
                bounds.all,
                handed,
                lg_k=self._lg_k,
                fallback=logic_named(this.streams.current_logic(self._logic.name)),
                memory=self._memory,
                sorted_hits=sorted_hits,
                streams=this.streams,
            )
            for damaged in attempt.damaged_carries:
                logger().warning("carry_is_damaged", site=damaged.site, date=date_text(damaged.day))
            settled = attempt.settle()
            self._skipped_rules.note(site_day, attempt.skipped_rules)
            if settled is not None:
                this.wave.append(Computed(covered, attempt, settled, attempt.drift(settled), started))
                return
            self._stores.dirty.clear(covered)
            this.done += 1
        except RetryError:
            raise
        except ANY_ERROR as error:
            self._put_off(site_day, error)

    def _publish_wave(self, this: Pass) -> None:
        """Publish the settlements in a wave. The order of a settlement's effects is defined only here.

        First, the stream's rows in the metric store are compared with the stream's counts, to decide which days are
        confirmed. Then:
        1. write the rows of all days that are not confirmed (these rows are invisible until publication).

        For each site-day, days ascending:
        2. write the series;
        3. write the collisions;
        4. mark the days that this settlement changes. The marks must be stored before the publication. After a crash
           between the two steps, the repeated settlement would otherwise compare itself with the published result, and
           find no change;
        5. publish generation, ledger, carry and drift, unless another settler published a day of the site first;
        6. store an intent, a mark that remains if this process dies before step 8. Then the day is settled again, in
           case step 7 replaced the flags of another settler;
        7. set duplicate flags of claims;
        8. clear the dirty marks that this pass read, the intent, and the marks on this day that step 4 stored for the
           site's earlier days (the settlement of this day has already used their results).

        If a site-day fails, the site's later site-days in the wave fail too, because each settlement needs the carry
        from the day before. If the lease on a site has ended, the site fails before its next publication. If the lease
        ends during a publication, the site fails after this publication. Another settler may have settled the day
        again, so this settler sets no flags and clears no marks.
        """
        wave, this.wave = this.wave, []
        try:
            wave = self._readable(this, wave)
            series = self._series_of(wave)
        except RetryError:
            raise
        except ANY_ERROR as error:
            self._publish_apart(this, wave, error)
            return
        for computed in wave:
            site_day = computed.attempt.site_day
            if site_day.site in this.failed:
                continue
            try:
                self._publish(this, computed, series[site_day])
            except RetryError:
                raise
            except ANY_ERROR as error:
                this.failed.add(site_day.site)
                self._put_off(site_day, error)
                continue
            self._stores.dirty.clear(this.with_marks(computed.covered))
            this.done += 1
            self._note_done(computed)

    def _readable(self, this: Pass, wave: Sequence[Computed]) -> list[Computed]:
        """Write a wave's rows, and wait until reports can read them.

        Return the wave with its final drifts: the differences between the stream's rows and the settled rows.
        """
        compared = self._compared(this, wave)
        written = [computed for computed in compared if not computed.is_confirmed]
        if written:
            self._rows.write(
                [(computed.attempt.site_day, computed.attempt.generation, computed.settled) for computed in written]
            )
        return compared

    def _publish_apart(self, this: Pass, wave: Sequence[Computed], error: BaseException) -> None:
        """Publish the site-days of a failed wave one by one. Only site-days that fail again are postponed."""
        if len(wave) == 1:
            this.failed.add(wave[0].attempt.site_day.site)
            self._put_off(wave[0].attempt.site_day, error)
            return
        for computed in wave:
            this.wave = [computed] if computed.attempt.site_day.site not in this.failed else []
            self._publish_wave(this)

    def _series_of(self, wave: Sequence[Computed]) -> Mapping[SiteDay, pl.DataFrame]:
        rows = {computed.attempt.site_day: computed.settled.rows for computed in wave}
        return series_of_days(rows, digest_of(self._stores.directory), self._lg_k) if rows else {}

    def _publish(self, this: Pass, computed: Computed, series: pl.DataFrame) -> None:
        stores, site_day, settled = self._stores, computed.attempt.site_day, computed.settled
        refuse_lost_lease(self._share, site_day)
        if computed.attempt.current is None:
            refuse_changed_streams(stores.streams, this.streams)
        stores.series.put_settled(site_day, computed.generation, series)
        if settled.collisions:
            stores.rejected.put(collision_refusals(stores.raw, settled.collisions))
        # An open day need not be marked, because an open day is settled when it closes. Until the day closes, reports
        # read the stream's rows.
        disturbed = {day for day in computed.attempt.disturbed_days(settled) if day < this.closed_before}
        if disturbed:
            marks = self._marks.on(site_day.site, disturbed)
            stores.dirty.mark(marks)
            this.note_marked(marks)
        entry = stores.generations.publish(
            site_day,
            computed.attempt.generation,
            logic_version=computed.attempt.logic.number,
            read_through=computed.attempt.read_through,
            seen_sequence=computed.attempt.seen_sequence,
            ledger=settled.ledger,
            carry=settled.carry.to_bytes(),
            now=self._clock.now(),
            drift=computed.drift,
            keep_until=self._keep_until(computed),
            seen_site_sequence=this.seen_sequence(computed.attempt),
            rules_version=computed.attempt.rules_version,
            streams=tuple(dict.fromkeys((computed.attempt.stream, *this.streams.generations()))),
        )
        this.note_published(computed.attempt, entry)
        count_settled(self._metrics, computed.drift)
        refuse_lost_lease(self._share, site_day)
        if settled.orders.changed_flags:
            intent = self._marks.intent(site_day)
            stores.dirty.mark([intent])
            this.note_marked([intent])
            stores.claims.set_duplicates(site_day.site, settled.orders.changed_flags)
            mark_if_overtaken(stores.generations, stores.dirty, self._marks, site_day, entry.sequence, disturbed)

    def _keep_until(self, computed: Computed) -> int:
        """Return the time until which the replaced generation is kept.

        If the settled rows replace the stream's rows, return 0. Reports never read replaced stream rows, because only
        settled days can be read at an earlier data version.
        """
        return self._clock.now() + self._pace.keep_replaced_ms if computed.attempt.current is not None else 0

    def _put_off(self, site_day: SiteDay, error: BaseException) -> None:
        """Leave a site-day dirty. Retry immediately if another settler published first, else after a growing delay."""
        if isinstance(error, StaleGeneration):
            logger().warning("settlement_overtaken", message=error.message)
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

    def _note_done(self, computed: Computed) -> None:
        self._failures.pop(computed.attempt.site_day, None)
        ended = self._clock.now()
        self._paced[computed.attempt.site_day] = ended + max(self._pace.resettle_after_ms, ended - computed.started)
        logger().info(
            "settled",
            site=computed.attempt.site_day.site,
            date=date_text(computed.attempt.site_day.day),
            logic=computed.attempt.logic.name,
            hits=computed.settled.ledger.accepted,
            rows=computed.settled.rows.height,
            took_ms=ended - computed.started,
        )

    def _compared(self, this: Pass, wave: Sequence[Computed]) -> list[Computed]:
        """Add to each drift the differences between the stream's rows in the metric store and the stream's counts.

        Partials are in another store, so partials cannot show whether the metric store has lost or duplicated rows. If
        a day's rows differ or are damaged, the day is not confirmed.
        """
        streamed = [computed for computed in wave if computed.drift is not None]
        if not streamed:
            return list(wave)
        last_day = max(computed.attempt.site_day.day for computed in streamed)
        self._rows.wait(
            lambda: rows_closed_before(self._stores, self._stores.metrics, this.streams) > last_day,
            f"the stream's rows up to {date_text(last_day)}",
        )
        try:
            sums = sums_of_streams(
                self._stores.metrics, {each.attempt.site_day: each.attempt.stream for each in streamed}
            )
        except StoreCorrupt:
            if len(wave) > 1:
                raise  # the caller then repeats the wave, one site-day at a time
            return [replace(computed, drift=not_confirmed(computed.drift)) for computed in wave]
        return [_with_stored_rows(computed, sums) for computed in wave]


def _with_stored_rows(computed: Computed, sums: Mapping[SiteDay, Mapping[str, int]]) -> Computed:
    site_day, settled = computed.attempt.site_day, computed.settled
    if computed.drift is None:
        return computed
    drift = with_stored_rows(computed.drift, settled.rows, sums[site_day])
    if drift.row_measures:
        logger().error(
            "stream_rows_differ",
            site=site_day.site,
            date=date_text(site_day.day),
            stored_minus_counted=dict(drift.row_measures),
        )
    return replace(computed, drift=drift)
