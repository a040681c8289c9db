"""Recompute site-days into generations that no report reads (reprocessing, step RECOMPUTE).

`Rebuilder` settles site-days as the settler does, but under a given logic, and stores the results. `Recomputing`
selects a reprocessing's site-days that are not recomputed yet. After the last day of the plan, it continues with the
following settled days as long as the visits that a day hands on change (rule L4), so that the difference shows every
day that the publication changes in this way.

Dirty marks are never cleared here: hits that a recomputed generation counts, and the current generation does not, stay
pending until the settler settles their day. So the ledger balances whichever generation is current.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import polars as pl

from hitmesh.model.change_reasons import ChangeReasons
from hitmesh.model.days import date_text
from hitmesh.model.erasures import ErasureMark
from hitmesh.model.errors import FatalError, RetryError, StaleGeneration, StoreCorrupt
from hitmesh.model.limits import LG_K_CELL
from hitmesh.model.logic import Logic
from hitmesh.model.plan import Kind
from hitmesh.model.reprocessings import Change, GenerationVersion, Rebuilt, Reprocessing, Work
from hitmesh.model.rows.rule_flags import broken_rules
from hitmesh.model.rows.stream_columns import SERIES_COLUMNS
from hitmesh.model.sites import SiteDay
from hitmesh.ports import Clock, Generations, Reprocessings
from hitmesh.runtime.logs import logger
from processor.erase.open_hits import open_days, open_hits
from processor.erase.records import find_hits
from processor.erase.visitors import ErasedVisitors
from processor.reprocess.chain import Chain, Reached
from processor.reprocess.changes import changes_of
from processor.reprocess.failures import SiteDayFailed, naming
from processor.reprocess.pace import ReprocessPace
from processor.reprocess.pages import all_of_site
from processor.reprocess.reasons import reasons_of
from processor.reprocess.restoring import Restoring
from processor.reprocess.sides import rebuilt_of, refuse_fewer_hits
from processor.reprocess.versions import logic_for, rules_for
from processor.settle.attempt import Attempt, Handed, SettlerStores, Worked, stored_carry
from processor.settle.memory import DEFAULT_MEMORY, SettleMemory
from processor.settle.reached import ScanBounds, scan_bounds
from processor.settle.readable import ReadableRows
from processor.settle.settlement import Settled


@dataclass(frozen=True, slots=True)
class Recomputed:
    """A site-day that is recomputed but not stored."""

    attempt: Attempt
    settled: Settled
    series: pl.DataFrame
    rebuilt: Rebuilt

    @property
    def rows(self) -> int:
        """The number of rows to write."""
        return self.settled.rows.height


class Rebuilder:
    """Recomputes site-days, and stores the results. Confined to one thread."""

    def __init__(
        self,
        stores: SettlerStores,
        reprocessings: Reprocessings,
        clock: Clock,
        pace: ReprocessPace,
        stop: threading.Event,
        lg_k: int = LG_K_CELL,
        memory: SettleMemory = DEFAULT_MEMORY,
    ) -> None:
        self._stores = stores
        self._reprocessings = reprocessings
        self._clock = clock
        self._pace = pace
        self._memory = memory
        self._rows = ReadableRows(stores.sink, clock, stop, pace.ingest_timeout_s)
        self._lg_k = lg_k

    def bounds(self) -> ScanBounds:
        """Return the bounds for scans that begin now; no current generation was read further."""
        return scan_bounds(self._stores.progress)

    def recompute(
        self,
        site_day: SiteDay,
        logic: Logic | None,
        handed: Handed,
        bounds: ScanBounds,
        work: Work,
        rules: Mapping[int, int],
        erasing: Sequence[ErasureMark] = (),
    ) -> Recomputed:
        """Settle a site-day that has a current generation, under this logic or the current generation's logic.

        Args:
            site_day: the site-day.
            logic: the logic; None: the current generation's logic.
            handed: results of earlier days that the settlement needs.
            bounds: the bounds for the scan.
            work: the work that recomputes.
            rules: the version of the exclusion rules by day; absent days keep their version.
            erasing: marks of visitors that are about to be erased, and whose hits do not count.

        Raises:
            SiteDayFailed: the site-day cannot be settled.
            RetryError: a store is unavailable.
        """
        with naming(site_day):
            if work is Work.RECOMPUTE:
                self._refuse_broken_rules(site_day.site, rules)
            attempt = Attempt(
                self._stores,
                site_day,
                bounds.hits,
                bounds.all,
                handed,
                lg_k=self._lg_k,
                logic=logic,
                rules=rules,
                erasing=erasing,
                memory=self._memory,
            )
            for damaged in attempt.damaged_carries:
                logger().warning("carry_is_damaged", site=damaged.site, date=date_text(damaged.day))
            worked = attempt.work()
            if worked is None:
                raise StoreCorrupt("the published generation is no longer stored")
            try:
                return self._compared(attempt, worked, work)
            finally:
                worked.close()

    def _refuse_broken_rules(self, name: str, versions: Mapping[int, int]) -> None:
        """Raise if a rule of these versions does not compile: the results would lack the rule."""
        site = self._stores.directory.site(name) if versions else None
        if site is None:
            return
        for version in sorted(set(versions.values())):
            for rule in broken_rules(site.rules.at(version)):
                value = f"{rule.id} ({rule.kind} {rule.value[:64]!r})"
                raise FatalError(
                    f"exclusion rule {value} does not compile within the limits: delete the rule, then cancel this "
                    "reprocessing and plan another",
                    value=value,
                )

    def _compared(self, attempt: Attempt, worked: Worked, work: Work) -> Recomputed:
        """Compare a settlement with the current generation."""
        current = self._current_version(attempt)
        old = self._series(attempt.site_day, current.generation)
        series = attempt.series_of(worked.settled)
        changes = changes_of(old, series)
        reasons = self._reasons(attempt, worked, current, changes, has_series=not old.is_empty())
        rebuilt = rebuilt_of(attempt, worked.settled, current, changes, work, reasons)
        return Recomputed(attempt, worked.settled, series, rebuilt)

    def concerns(self, reprocessing: Reprocessing, site_day: SiteDay, bounds: ScanBounds) -> bool:
        """Return whether a site-day must be recomputed: with kind ERASE, only if the visitor has hits on the day."""
        if reprocessing.kind is not Kind.ERASE:
            return True
        visitors = ErasedVisitors(self._stores.directory.mesh_secret(), reprocessing.marks)
        site, day = site_day
        with naming(site_day):
            records = self._stores.raw.scan(site, day, day + 1, bounds.hits)
            return any(
                found is not None and day in found.days for found in (find_hits(each, visitors) for each in records)
            )

    def open_days(self, reprocessing: Reprocessing) -> Sequence[SiteDay]:
        """Return the days of an erasure that are not settled yet."""
        return open_days(self._stores, reprocessing)

    def open_hits(self, reprocessing: Reprocessing, site_day: SiteDay) -> int:
        """Return how many of the erased visitor's hits lie on a day that is not settled yet."""
        with naming(site_day):
            return open_hits(self._stores, reprocessing, site_day)

    def store(self, id_: str, wave: Sequence[Recomputed]) -> None:
        """Store recomputed site-days. The order of the effects is defined only here.

        1. write all site-days' rows, and wait once until the rows are readable;
        2. write the series;
        3. store the recomputed site-days. This must be last, because a stored site-day may be published without another
           check of its rows. After a crash before this step, the attempt is repeated under another generation number,
           and the lost attempt's rows are removed after the site-day's next publication, or after CANCEL.

        If step 1 or 2 fails, for example because the rows do not become readable in time, the wave's attempts are
        abandoned, so that their rows are removed even if the work is never repeated.
        """
        if not wave:
            return
        first = wave[0].attempt.site_day
        try:
            with naming(first):
                self._rows.write([(done.attempt.site_day, done.attempt.generation, done.settled) for done in wave])
            for done in wave:
                with naming(done.attempt.site_day):
                    self._stores.series.put_settled(done.attempt.site_day, done.attempt.generation, done.series)
        except (RetryError, SiteDayFailed):
            self._abandon(wave)
            raise
        with naming(first):
            self._reprocessings.put(id_, [done.rebuilt for done in wave])

    def _abandon(self, wave: Sequence[Recomputed]) -> None:
        """Supersede the attempts; if the store is unavailable too, the next publication or CANCEL supersedes them."""
        with contextlib.suppress(RetryError):
            for done in wave:
                site, day = done.attempt.site_day
                self._stores.generations.abandon(site, day, day + 1, now=self._clock.now())

    def is_full(self, wave: Sequence[Recomputed]) -> bool:
        """Return whether a wave has the maximum number of site-days or rows."""
        return len(wave) >= self._pace.wave_site_days or sum(done.rows for done in wave) > self._pace.wave_rows

    def _reasons(
        self,
        attempt: Attempt,
        worked: Worked,
        current: GenerationVersion,
        changes: Mapping[str, Change],
        *,
        has_series: bool,
    ) -> ChangeReasons | None:
        """Return why the numbers differ; None if the numbers are equal, or if the reasons are not known."""
        is_equal = current.ledger == worked.settled.ledger
        if is_equal and all(change.old == change.new for change in changes.values()):
            return None
        visits = changes.get("visits", Change(0, 0)).old if has_series else None
        return reasons_of(attempt, worked, current, visits, self._pace.explained_hits)

    def _series(self, site_day: SiteDay, generation: int) -> pl.DataFrame:
        """Return a generation's series; a damaged series counts as empty, because the recomputation replaces it."""
        site, day = site_day
        try:
            return self._stores.series.read(site, day, day + 1, generation)
        except StoreCorrupt as error:
            logger().warning("series_is_damaged", site=site, date=date_text(day), message=error.message)
            return pl.DataFrame(schema=SERIES_COLUMNS)

    def _current_version(self, attempt: Attempt) -> GenerationVersion:
        """Return the current generation with ledger entry and carry, as a rollback needs.

        Raises:
            StaleGeneration: another settler has published the site-day since the attempt began; the ledger entry and
                the carry belong to that generation.
        """
        site, day = attempt.site_day
        entry = attempt.current
        ledger = self._stores.generations.ledger(site, day, day + 1).get(day)
        carry = stored_carry(self._stores.generations, attempt.site_day)
        now = self._stores.generations.current(site, day, day + 1).get(day)
        if entry is not None and now is not None and now.sequence != entry.sequence:
            raise StaleGeneration(
                f"{attempt.site_day} was published again during its recomputation; recompute it again"
            )
        if entry is None or ledger is None or carry is None:
            raise StoreCorrupt("the published generation is no longer stored")
        return GenerationVersion(
            entry.generation, entry.logic_version, entry.read_through, ledger, carry, entry.rules_version
        )


class Recomputing:
    """Recomputes a reprocessing's site-days, sites and days ascending. Confined to one thread.

    A repair first restores raw records from the log. If raw hits of a site-day are still missing or damaged, the repair
    does not recompute the site-day, and keeps the published generation. A site-day after the plan keeps its logic and
    rules, and is left to the settler if its raw hits are not complete.

    Args:
        page_site_days: how many recomputed site-days are read at once.
    """

    def __init__(
        self,
        generations: Generations,
        reprocessings: Reprocessings,
        rebuilder: Rebuilder,
        restoring: Restoring,
        page_site_days: int,
    ) -> None:
        self._generations = generations
        self._reprocessings = reprocessings
        self._rebuilder = rebuilder
        self._restoring = restoring
        self._page_site_days = page_site_days

    def begin(self, reprocessing: Reprocessing, chain: Chain) -> Chain:
        """Return the chain, continued over the site-days that are stored already."""
        at = Reached(chain)
        for _, rebuilt in self._left(reprocessing, at):
            if rebuilt is None:
                break
            at.go_on(reprocessing, rebuilt)
        return at.chain

    def advance(self, reprocessing: Reprocessing, chain: Chain, is_over: Callable[[], bool]) -> tuple[Chain, bool]:
        """Recompute one or more site-days until the portion is over; return whether all are recomputed."""
        kept = self._restoring.advance(reprocessing, is_over) if reprocessing.kind is Kind.REPAIR else frozenset()
        if kept is None:
            return chain, False
        at, bounds = Reached(chain), self._rebuilder.bounds()
        wave: list[Recomputed] = []
        is_done = True
        for site_day, rebuilt in self._left(reprocessing, at):
            if rebuilt is not None:
                at.go_on(reprocessing, rebuilt)
                continue
            if is_over() and at.chain is not chain:
                is_done = False
                break
            is_wanted = site_day not in kept and self._rebuilder.concerns(reprocessing, site_day, bounds)
            done = self._recomputed(reprocessing, site_day, at.chain.handed(site_day), bounds) if is_wanted else None
            if done is None:
                at.chain = at.chain.past(site_day, is_counted=reprocessing.is_planned(site_day.day))
                continue
            at.go_on(reprocessing, done.rebuilt)
            wave.append(done)
            if self._rebuilder.is_full(wave):
                self._rebuilder.store(reprocessing.id, wave)
                wave = []
        self._rebuilder.store(reprocessing.id, wave)
        if is_done and reprocessing.kind is Kind.ERASE:
            return self._with_open_hits(reprocessing, at.chain, is_over)
        return at.chain, is_done

    def _with_open_hits(
        self, reprocessing: Reprocessing, chain: Chain, is_over: Callable[[], bool]
    ) -> tuple[Chain, bool]:
        """Count the visitor's hits on days that are not settled yet; return whether all these days are counted."""
        for site_day in self._rebuilder.open_days(reprocessing):
            if chain.counted is None or site_day > chain.counted:
                hits = self._rebuilder.open_hits(reprocessing, site_day)
                chain = replace(chain, open_hits=chain.open_hits + hits, counted=site_day)
                if is_over():
                    return chain, False
        return chain, True

    def _recomputed(
        self, reprocessing: Reprocessing, site_day: SiteDay, handed: Handed, bounds: ScanBounds
    ) -> Recomputed | None:
        """Return a recomputed site-day; None if the site-day stays as it is, because raw hits are damaged.

        Raises:
            SiteDayFailed: the site-day cannot be settled.
            RetryError: a store is unavailable.
        """
        is_planned = reprocessing.is_planned(site_day.day)
        logic, rules = logic_for(reprocessing, site_day.day), rules_for(reprocessing, site_day)
        try:
            done = self._rebuilder.recompute(site_day, logic, handed, bounds, Work.RECOMPUTE, rules, reprocessing.marks)
            if not is_planned:
                with naming(site_day):
                    refuse_fewer_hits(done.rebuilt, Work.RECOMPUTE)
            return done
        except SiteDayFailed as error:
            is_kept = reprocessing.kind is Kind.REPAIR or not is_planned
            if not is_kept or not isinstance(error.__cause__, StoreCorrupt):
                raise
        if is_planned:
            self._restoring.keep(site_day)
        return None

    def _left(self, reprocessing: Reprocessing, at: Reached) -> Iterator[tuple[SiteDay, Rebuilt | None]]:
        """Yield the site-days that are left, each with its stored recomputation, if any.

        Days without a current generation are settled when they close. Recomputations that are left are stored if other
        settlers did parts of the work before. The caller brings `at` up to each site-day before it takes the next.
        """
        last = at.chain.last
        for site in sorted(reprocessing.sites):
            if last is None or site >= last.site:
                days = sorted(self._generations.current(site, reprocessing.first_day, reprocessing.end_day))
                left = [SiteDay(site, day) for day in days if last is None or SiteDay(site, day) > last]
                stored = all_of_site(self._reprocessings, reprocessing, site, last, self._page_site_days)
                following = next(stored, None) if left else None
                for site_day in left:
                    while following is not None and following.site_day < site_day:
                        following = next(stored, None)
                    is_stored = following is not None and following.site_day == site_day
                    yield site_day, following if is_stored else None
                yield from self._following(reprocessing, site, at)

    def _following(
        self, reprocessing: Reprocessing, site: str, at: Reached
    ) -> Iterator[tuple[SiteDay, Rebuilt | None]]:
        """Yield a site's settled days after the plan, as long as the visits that are handed to the next day change."""
        while (last := at.chain.last) is not None and last.site == site and last.day >= reprocessing.end_day - 1:
            site_day = SiteDay(site, last.day + 1)
            is_settled = self._generations.current(site, site_day.day, site_day.day + 1)
            if not is_settled or not at.chain.disturbs(site_day):
                return
            stored = self._reprocessings.rebuilt(reprocessing.id, last, 1)
            yield site_day, next((each for each in stored if each.site_day == site_day), None)
