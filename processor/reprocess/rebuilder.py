"""Recomputes a site-day into a generation that no report reads. Compares this generation with the current generation.

The site-day is settled as the settler would settle it, but under the given logic and exclusion rules.

This module does not clear the site-day's dirty marks. If only the recomputed generation counts a hit, the hit
therefore remains pending until the settler settles its day. The ledger thus balances whether the old or the recomputed
generation is current.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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
from hitmesh.ports import Clock, Reprocessings
from hitmesh.runtime.logs import logger
from processor.erase.open_hits import open_days, open_hits
from processor.erase.records import find_hits
from processor.erase.visitors import ErasedVisitors
from processor.reprocess.changes import changes_of
from processor.reprocess.failures import SiteDayFailed, naming
from processor.reprocess.pace import ReprocessPace
from processor.reprocess.reasons import reasons_of
from processor.reprocess.sides import rebuilt_of
from processor.settle.attempt import Attempt, Handed, Worked, stored_carry
from processor.settle.memory import DEFAULT_MEMORY, SettleMemory
from processor.settle.reached import ScanBounds, scan_bounds
from processor.settle.readable import ReadableRows
from processor.settle.settlement import Settled
from processor.settle.stores import SettlerStores


@dataclass(frozen=True, slots=True)
class Recomputed:
    """A site-day that is recomputed, but not stored yet."""

    attempt: Attempt
    settled: Settled
    series: pl.DataFrame
    rebuilt: Rebuilt

    @property
    def rows(self) -> int:
        """How many rows must be written for the site-day."""
        return self.settled.rows.height


class Rebuilder:
    """Recomputes site-days, and stores the results. An instance must be used by one thread only."""

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
        self._rows = ReadableRows(stores.sink, clock, stop, pace.ingest_timeout_s, rest=memory.rest)
        self._lg_k = lg_k

    def bounds(self) -> ScanBounds:
        """Return the bounds for scans that begin at this moment.

        The bounds include all hits from which the current generations were computed.
        """
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
        """Settle a site-day that has a current generation.

        If no logic is given, the current generation's logic applies.

        Args:
            site_day: the site-day.
            logic: the logic; None means the current generation's logic.
            handed: earlier days' results that the settlement needs.
            bounds: the scan's bounds.
            work: the work for which the site-day is recomputed.
            rules: new exclusion-rule versions, by day. Days without a new version keep their version.
            erasing: erasure marks for visitors that are about to be erased. Hits that an erasure mark covers do not
                count.

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
        """Raise an error if any rule in these versions does not compile, because settlement would skip the rule."""
        site = self._stores.directory.site_or_deleted(name) if versions else None
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
        """Compare a settlement with the current generation, and return the recomputed site-day with the differences."""
        current = self._current_version(attempt)
        old = self._series(attempt.site_day, current.generation)
        series = attempt.series_of(worked.settled)
        changes = changes_of(old, series)
        reasons = self._reasons(attempt, worked, current, changes, has_series=not old.is_empty())
        rebuilt = rebuilt_of(attempt, worked.settled, current, changes, work, reasons)
        return Recomputed(attempt, worked.settled, series, rebuilt)

    def concerns(self, reprocessing: Reprocessing, site_day: SiteDay, bounds: ScanBounds) -> bool:
        """Return whether a site-day must be recomputed.

        An ERASE reprocessing recomputes a site-day only if the visitor has hits on this day.
        """
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
        """Return an erasure's days that are not settled yet."""
        return open_days(self._stores, reprocessing)

    def open_hits(self, reprocessing: Reprocessing, site_day: SiteDay) -> int:
        """Return how many hits the erased visitor has on a day that is not settled yet."""
        with naming(site_day):
            return open_hits(self._stores, reprocessing, site_day)

    def store(self, id_: str, wave: Sequence[Recomputed]) -> None:
        """Store recomputed site-days. This docstring defines the effects' order.

        1. write the rows of all site-days, and wait once until all are readable;
        2. write the series;
        3. store the recomputed site-days. Site-days must be stored last, because a stored site-day may be published
           without another check of its rows. After a crash before this step, the attempt is repeated under another
           generation number, and the lost attempt's rows are removed after the site-day's next publication, or after
           CANCEL.

        If step 1 or 2 fails, for example because the rows do not become readable in time, the wave's attempts are
        abandoned. Abandoned attempts' rows are removed even if the work is never repeated.
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
        """Abandon the attempts. If the store is unavailable, the next publication or CANCEL abandons the attempts."""
        with contextlib.suppress(RetryError):
            for done in wave:
                site, day = done.attempt.site_day
                self._stores.generations.abandon(site, day, day + 1, now=self._clock.now())

    def is_full(self, wave: Sequence[Recomputed]) -> bool:
        """Return whether a wave has as many site-days or rows as allowed."""
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
        """Return the reasons why the numbers differ; None if the numbers are equal or the reasons are not known."""
        is_equal = current.ledger == worked.settled.ledger
        if is_equal and all(change.old == change.new for change in changes.values()):
            return None
        visits = changes.get("visits", Change(0, 0)).old if has_series else None
        return reasons_of(attempt, worked, current, visits, self._pace.explained_hits)

    def _series(self, site_day: SiteDay, generation: int) -> pl.DataFrame:
        """Return a generation's series.

        A damaged series counts as empty, because the recomputed generation will replace the series.
        """
        site, day = site_day
        try:
            return self._stores.series.read(site, day, day + 1, generation)
        except StoreCorrupt as error:
            logger().warning("series_is_damaged", site=site, date=date_text(day), message=error.message)
            return pl.DataFrame(schema=SERIES_COLUMNS)

    def _current_version(self, attempt: Attempt) -> GenerationVersion:
        """Return the current generation with its ledger entry and its carry.

        To restore the generation, a rollback needs the ledger entry and the carry.

        Raises:
            StaleGeneration: another settler has published the site-day since the attempt began. The stored ledger entry
            and carry belong to the other settler's generation.
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
