"""Makes recomputed generations current (PUBLISH), or makes the replaced generations current again (ROLL_BACK).

Site-days are moved one by one, earliest day first. The wanted generation is the generation that the work makes
current. Usually, the site-day's entry has not changed since the reprocessing stored or read it. One conditional write
then publishes or restores the wanted generation. If the settler has settled the site-day again, for example because
late hits arrived, the wanted generation does not contain these hits. The site-day is then recomputed from the raw hits
under the wanted logic, so that both generations and the ledger contain the late hits.

If raw hits are missing, the recomputation finds fewer accepted hits than the current generation has. The work then
fails, and the site-day keeps its current generation.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from hitmesh.model.days import date_text
from hitmesh.model.errors import StaleGeneration, StoreCorrupt
from hitmesh.model.generations import DirtySiteDay, GenerationEntry
from hitmesh.model.logic import Logic, logic_numbered
from hitmesh.model.plan import Kind
from hitmesh.model.reprocessings import Rebuilt, Reprocessing, Work
from hitmesh.model.sites import SiteDay
from hitmesh.ports import Clock, Reprocessings
from hitmesh.runtime.logs import logger
from processor.reprocess.chain import Chain
from processor.reprocess.failures import naming
from processor.reprocess.pace import ReprocessPace
from processor.reprocess.pages import page_of
from processor.reprocess.rebuilder import Rebuilder, Recomputed
from processor.reprocess.sides import (
    Standing,
    flags_to_set,
    hand_on_the_same,
    is_result_of,
    refuse_fewer_hits,
    standing,
    wanted,
)
from processor.reprocess.versions import logic_for, rules_for
from processor.settle.attempt import Handed
from processor.settle.reached import ScanBounds, closed_before
from processor.settle.settlement_marks import SettlementMarks, range_of
from processor.settle.stores import SettlerStores


@dataclass(frozen=True, slots=True)
class _Page:
    """The inputs that are needed to move a page of site-days.

    Attributes:
        reprocessing: the reprocessing.
        work: PUBLISH or ROLL_BACK.
        recomputed: the page's site-days, and the next site-day after the page.
        closed_before: the first day that is not closed.
        bounds: scan bounds.
    """

    reprocessing: Reprocessing
    work: Work
    recomputed: Collection[SiteDay]
    closed_before: int
    bounds: ScanBounds

    def standing(self, rebuilt: Rebuilt, entry: GenerationEntry) -> Standing:
        """Return how the current entry relates to the recomputed site-day.

        A publication must not treat another reprocessing's generation as its own result. If another reprocessing may
        have produced `Rebuilt.after` or the generation in the current entry, this function returns STALE. For example,
        a generation with the wanted logic may have been published before this reprocessing's work began.
        """
        stands = standing(rebuilt, self.work, entry)
        if self.work is Work.ROLL_BACK:
            return stands
        is_older = stands is Standing.SETTLED_SINCE and entry.published_at < self.reprocessing.begun_at
        return Standing.STALE if is_older or not is_result_of(self.reprocessing, rebuilt) else stands

    def logic(self, rebuilt: Rebuilt) -> Logic | None:
        """Return the wanted generation's logic version."""
        if self.work is Work.ROLL_BACK:
            return logic_numbered(rebuilt.before.logic)
        return logic_for(self.reprocessing, rebuilt.site_day.day)

    def rules(self, rebuilt: Rebuilt) -> Mapping[int, int]:
        """Return the version of the exclusion rules in the wanted generation, by day.

        The result is empty if the reprocessing keeps the rules.
        """
        if self.reprocessing.kind is Kind.RULES and self.work is Work.ROLL_BACK:
            return {rebuilt.site_day.day: rebuilt.before.rules}
        return rules_for(self.reprocessing, rebuilt.site_day)


class Moving:
    """Moves site-days to the wanted generations. An instance must be used by one thread only."""

    def __init__(
        self,
        stores: SettlerStores,
        reprocessings: Reprocessings,
        rebuilder: Rebuilder,
        clock: Clock,
        pace: ReprocessPace,
        marks: SettlementMarks,
    ) -> None:
        self._stores = stores
        self._reprocessings = reprocessings
        self._rebuilder = rebuilder
        self._clock = clock
        self._pace = pace
        self._marks = marks

    def begin(self, reprocessing: Reprocessing, chain: Chain) -> Chain:
        """Return `chain` unchanged.

        Moving reads no stored progress, because each site-day's entry shows whether the site-day is moved.
        """
        return chain

    def advance(self, reprocessing: Reprocessing, chain: Chain, is_over: Callable[[], bool]) -> tuple[Chain, bool]:
        """Move at least one site-day, then further site-days until the work portion is over.

        Return the chain, extended by the finished site-days. Also return whether all site-days are moved. Site-days
        that were recomputed again form a wave. Even if the portion is over, the whole wave is moved.
        """
        begun = chain
        while chain is begun or not is_over():
            found = page_of(self._reprocessings, reprocessing, chain.last, self._pace.page_site_days + 1)
            if not found or reprocessing.work is None:
                return chain, True
            page = _Page(
                reprocessing,
                reprocessing.work,
                {rebuilt.site_day for rebuilt in found},
                closed_before(self._stores),
                self._rebuilder.bounds(),
            )
            ready = self._up_to_date(page, found[: self._pace.page_site_days], is_over)
            # The wait until rows are readable usually takes longer than a work portion. A portion therefore ends
            # only after a whole wave; otherwise, each portion would move a single site-day.
            last = max((at for at, (_, stands) in enumerate(ready) if stands is Standing.STALE), default=0)
            for at, (rebuilt, stands) in enumerate(ready):
                if at > last and is_over():
                    break
                with naming(rebuilt.site_day):
                    self._move(page, rebuilt, stands)
                chain = Chain(rebuilt.site_day, count=chain.count + 1)
        return chain, False

    def _up_to_date(
        self, page: _Page, found: Sequence[Rebuilt], is_over: Callable[[], bool]
    ) -> list[tuple[Rebuilt, Standing]]:
        """Recompute and store stale site-days, and return one or more site-days that can now be moved."""
        ready: list[tuple[Rebuilt, Standing]] = []
        wave: list[Recomputed] = []
        chain = Chain()
        for rebuilt in found:
            stands = page.standing(rebuilt, self._entry(rebuilt.site_day))
            if stands is Standing.STALE:
                if ready and (is_over() or self._rebuilder.is_full(wave)):
                    break
                wave.append(self._recomputed(page, rebuilt, chain.handed(rebuilt.site_day)))
                rebuilt = wave[-1].rebuilt
            is_left = stands is Standing.SETTLED_SINCE
            chain = chain.past(rebuilt.site_day) if is_left else chain.then(rebuilt, page.work)
            ready.append((rebuilt, stands))
        self._rebuilder.store(page.reprocessing.id, wave)
        return ready

    def _recomputed(self, page: _Page, rebuilt: Rebuilt, handed: Handed) -> Recomputed:
        """Recompute a site-day under the wanted generation's logic.

        If the recomputation changes the carry to the next day, mark the next day, whose stored recomputation used the
        old carry. The mark must be stored before the site-day, because after a crash only the mark shows that the carry
        has changed.

        Raises:
            SiteDayFailed: raw hits are missing, or the site-day cannot be settled.
        """
        site, day = rebuilt.site_day
        done = self._rebuilder.recompute(
            rebuilt.site_day, page.logic(rebuilt), handed, page.bounds, page.work, page.rules(rebuilt)
        )
        with naming(rebuilt.site_day):
            refuse_fewer_hits(done.rebuilt, page.work)
        if not hand_on_the_same(wanted(rebuilt, page.work), wanted(done.rebuilt, page.work)):
            self._mark(page, site, {day + 1} if self._is_settled(site, day + 1) else set())
        logger().info("recomputed_again", id=page.reprocessing.id, site=site, date=date_text(day), work=page.work)
        return done

    def _move(self, page: _Page, rebuilt: Rebuilt, stands: Standing) -> None:
        """Make the wanted generation current. This docstring defines the effects' order.

        `_up_to_date` has already recomputed and stored each stale site-day. After a crash, the generation in the
        site-day's entry therefore shows whether this reprocessing has published the site-day.
        1. mark the days that the publication disturbs. If the next day is among the recomputed days, it needs no mark,
           because it is moved next. As in `Settler._publish_wave`, the marks must be stored before the publication, and
           before the flags are set, because these days depend on the flags;
        2. publish the generation, or restore a generation that was published before. The replaced generation is kept,
           so that later work can restore it;
        3. store an intent (SettlementMarks.intent), then set the duplicate flags that claims have in this generation;
        4. store the new entry's sequence, and remove the intent. If step 4 was not done, for example because of a
           crash, the next pass repeats steps 1, 3 and 4. The settler may already have settled a marked day before the
           flags were set.

        If the settler has settled the site-day again under the wanted logic, nothing is published. The site-day is only
        marked dirty. The mark is necessary because this work may have changed the previous day's carry without marking
        this site-day.

        If the lease on the site has ended, another settler may work on the site at the same time. After step 3, the
        disturbed days are therefore determined again, and new disturbed days are marked too. If any day was published
        after step 1, the settlement of this day may have read the flags before step 3 changed the flags. The site-day
        and all disturbed days are then marked again. If another generation has become current since step 2, the
        site-day is not stored as moved.
        """
        site, day = rebuilt.site_day
        if stands is Standing.SETTLED_SINCE:
            self._mark(page, site, {day})
            return
        if stands is Standing.MOVED and self._entry(rebuilt.site_day).sequence == rebuilt.sequence:
            self._abandon_unpublished(page, rebuilt)
            return
        sequence = self._stores.generations.sequence(site)
        disturbed = self._disturbed(page, rebuilt)
        self._mark(page, site, disturbed)
        if stands is not Standing.MOVED:
            rebuilt = self._made_current(page, rebuilt)
        flags = flags_to_set(rebuilt, page.work)
        intents = [self._marks.intent(rebuilt.site_day)] if flags else []
        if flags:
            self._stores.dirty.mark(intents)
            self._stores.claims.set_duplicates(site, flags)
        is_overtaken = self._stores.generations.sequence(site) != sequence + (stands is not Standing.MOVED)
        again = {day, *disturbed} if flags and is_overtaken else set()
        self._mark(page, site, again | (self._disturbed(page, rebuilt) - disturbed))
        entry = self._entry(rebuilt.site_day)
        if entry.generation != wanted(rebuilt, page.work).generation:
            raise StaleGeneration(
                f"{rebuilt.site_day} was settled again before the publication or rollback was stored; read it again"
            )
        self._reprocessings.put(page.reprocessing.id, [replace(rebuilt, sequence=entry.sequence)])
        if intents:
            self._stores.dirty.clear(DirtySiteDay(rebuilt.site_day, tuple(map(range_of, intents))))

    def _abandon_unpublished(self, page: _Page, rebuilt: Rebuilt) -> None:
        """If a failed PUBLISH is rolled back, abandon the new generation of a site-day that PUBLISH did not move.

        The abandoned generation's rows are kept for as long as replaced rows, because a later PUBLISH restores
        this generation.
        """
        if page.work is Work.ROLL_BACK:
            (site, day), now = rebuilt.site_day, self._clock.now()
            keep_until = now + self._pace.keep_replaced_ms
            self._stores.generations.abandon(site, day, day + 1, now=now, keep_until=keep_until)

    def _made_current(self, page: _Page, rebuilt: Rebuilt) -> Rebuilt:
        """Publish or restore the wanted generation.

        If the generation's rows are no longer kept, the generation is recomputed.
        """
        try:
            self._publish(rebuilt, page.work)
        except StaleGeneration:
            if self._entry(rebuilt.site_day).sequence != rebuilt.sequence:
                raise
            done = self._recomputed(page, rebuilt, Handed())
            self._rebuilder.store(page.reprocessing.id, [done])
            rebuilt = done.rebuilt
            self._publish(rebuilt, page.work)
        return rebuilt

    def _publish(self, rebuilt: Rebuilt, work: Work) -> None:
        """Publish the wanted generation, or restore it if it was published before.

        Raises:
            StaleGeneration: another entry is current, or the generation's rows are no longer kept.
        """
        to, generations, now = wanted(rebuilt, work), self._stores.generations, self._clock.now()
        keep_until = now + self._pace.keep_replaced_ms
        try:
            generations.publish(
                rebuilt.site_day,
                to.generation,
                logic_version=to.logic,
                rules_version=to.rules,
                read_through=to.read_through,
                seen_sequence=rebuilt.sequence,
                ledger=to.ledger,
                carry=to.carry,
                now=now,
                keep_until=keep_until,
            )
        except StaleGeneration:  # a generation can be published only once
            generations.restore(rebuilt.site_day, to, seen_sequence=rebuilt.sequence, now=now, keep_until=keep_until)

    def _disturbed(self, page: _Page, rebuilt: Rebuilt) -> set[int]:
        """Return the days that must be settled again when the wanted generation becomes current (rule L4)."""
        site, day = rebuilt.site_day
        disturbed = set(rebuilt.disturbed_days)
        is_moved_next = SiteDay(site, day + 1) in page.recomputed
        if not is_moved_next and not hand_on_the_same(rebuilt.before, rebuilt.after):
            disturbed |= {day + 1} if self._is_settled(site, day + 1) else set()
        return disturbed

    def _mark(self, page: _Page, site: str, days: Collection[int]) -> None:
        """Mark closed days dirty. Open days need no mark, because the settler will settle them when they close."""
        closed = [day for day in days if day < page.closed_before]
        if closed:
            self._stores.dirty.mark(self._marks.on(site, closed))

    def _is_settled(self, site: str, day: int) -> bool:
        return bool(self._stores.generations.current(site, day, day + 1))

    def _entry(self, site_day: SiteDay) -> GenerationEntry:
        site, day = site_day
        entry = self._stores.generations.current(site, day, day + 1).get(day)
        if entry is None:
            place = f"{site}, UTC day {date_text(day)}"
            raise StoreCorrupt(
                f"{place}: the published generation is no longer stored; plan another reprocessing of the day",
                place=place,
            )
        return entry
