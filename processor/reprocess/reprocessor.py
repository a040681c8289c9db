"""The reprocessor does the work that reprocessings request, portion by portion (architecture A9).

A portion has a time limit. Portions run in the settler's thread, between two settler passes. A settler and its
reprocessor therefore never work on a site at the same time. Late hits are settled between portions. Several settlers
may work on the same reprocessing at the same time, each on a part (`parts`). Each settler works on the sites in the
buckets that it leases. All work is idempotent. After a crash at any point, the next portion continues with the
site-days that are not finished yet.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import Final, Protocol

from hitmesh.model.errors import FatalError, HitmeshError, RetryError, StaleGeneration, StoreCorrupt
from hitmesh.model.limits import LG_K_CELL
from hitmesh.model.plan import KEEP_FINISHED_DAYS, Kind
from hitmesh.model.reprocessings import Part, Reprocessing, State, Work
from hitmesh.model.site_buckets import site_bucket
from hitmesh.model.zones import DAY_MS
from hitmesh.ports import Clock, Reprocessings
from hitmesh.runtime.logs import logger, traceback_of
from hitmesh.runtime.telemetry import Metrics, unmeasured
from hitmesh.runtime.telemetry.labels import ReprocessedResult
from hitmesh.runtime.telemetry.registry import PROCESSOR_REPROCESSED
from processor.any_error import ANY_ERROR
from processor.erase.erasing import Erasing, is_erasing
from processor.reprocess.beginning import begun
from processor.reprocess.cancelling import Cancelling
from processor.reprocess.chain import Chain
from processor.reprocess.failures import SiteDayFailed
from processor.reprocess.moving import Moving
from processor.reprocess.pace import ReprocessPace
from processor.reprocess.parts import buckets_left, loads_of, narrowed, new_part, parts_of, with_part
from processor.reprocess.rebuilder import Rebuilder
from processor.reprocess.recomputing import Recomputing
from processor.reprocess.restoring import Restoring
from processor.reprocess.schedule import expired, removable, to_work_on
from processor.settle.memory import DEFAULT_MEMORY, SettleMemory
from processor.settle.settlement_marks import SettlementMarks
from processor.settle.share import Share, WholeShare
from processor.settle.stores import SettlerStores

_MAX_DOUBLINGS: Final = 20
_MAX_NOTED: Final = 1_000
_MAX_TRIES: Final = 50
_RESULTS: Mapping[Work, ReprocessedResult] = {
    Work.RECOMPUTE: ReprocessedResult.RECOMPUTED,
    Work.PUBLISH: ReprocessedResult.PUBLISHED,
    Work.ROLL_BACK: ReprocessedResult.ROLLED_BACK,
    Work.CANCEL: ReprocessedResult.CANCELLED,
}


class _Steps(Protocol):
    """Executes one kind of reprocessing work, such as PUBLISH."""

    def begin(self, reprocessing: Reprocessing, chain: Chain) -> Chain:
        """Return the chain with which the work continues: the given chain, possibly extended by finished site-days."""

    def advance(self, reprocessing: Reprocessing, chain: Chain, is_over: Callable[[], bool]) -> tuple[Chain, bool]:
        """Work on at least one site-day. Return the chain with the finished site-days, and whether the work is done."""


@dataclass(frozen=True, slots=True)
class _Progress:
    """A part's progress.

    `began_at` is the time at which this process began the part. `began_count` is the number of site-days that were done
    before this time.

    `erases` is true if the work is an erasure's PUBLISH.
    """

    id: str
    part: Part
    chain: Chain
    began_at: int
    erases: bool
    began_count: int | None = None

    def at(self, chain: Chain) -> _Progress:
        """Return the progress with the given chain.

        When `at` is called for the first time, the chain contains the site-days that were done before this process
        began.
        """
        began_count = chain.count if self.began_count is None else self.began_count
        return replace(self, chain=chain, began_count=began_count)


class Reprocessor:
    """Does the work that reprocessings request. An instance must be used by the settler's thread only.

    Args:
        stores: the settler's stores.
        reprocessings: the stored reprocessings.
        clock: measures how long portions take. The results do not depend on the clock.
        pace: the limits and delays.
        stop: ends the work when set.
        metrics: receives the counts.
        marks: the partition number for dirty marks that this reprocessor makes (SettlementMarks).
        lg_k: log2 of the visitor sketches' size, the same as in the settler.
        share: the sites on which this settler works; None: all sites.
        memory: the limits that bound the memory for a site-day's settlement.
    """

    def __init__(
        self,
        stores: SettlerStores,
        reprocessings: Reprocessings,
        clock: Clock,
        pace: ReprocessPace | None = None,
        stop: threading.Event | None = None,
        metrics: Metrics | None = None,
        *,
        marks: int = 0,
        lg_k: int = LG_K_CELL,
        share: Share | None = None,
        memory: SettleMemory = DEFAULT_MEMORY,
    ) -> None:
        self._share = share or WholeShare()
        self._reprocessings = reprocessings
        self._clock = clock
        self._pace = pace or ReprocessPace()
        self._stop = stop or threading.Event()
        self._metrics = metrics or unmeasured()
        self._progress: _Progress | None = None
        self._set_aside: dict[str, _Progress] = {}
        self._noted: set[str] = set()
        self._not_before = 0
        self._unavailable = 0
        self._restoring = Restoring(stores, clock, self._pace)
        rebuilder = Rebuilder(stores, reprocessings, clock, self._pace, self._stop, lg_k, memory)
        dirty = SettlementMarks(clock, marks)
        moving = Moving(stores, reprocessings, rebuilder, clock, self._pace, dirty)
        # For an erasure, replaced rows are not kept.
        keeping_none = Moving(stores, reprocessings, rebuilder, clock, replace(self._pace, keep_replaced_ms=0), dirty)
        self._erasing = Erasing(stores, reprocessings, keeping_none, clock, self._pace, dirty, self._replace)
        self._steps: Mapping[Work, _Steps] = {
            Work.RECOMPUTE: Recomputing(
                stores.generations, reprocessings, rebuilder, self._restoring, self._pace.page_site_days
            ),
            Work.PUBLISH: moving,
            Work.ROLL_BACK: moving,
            Work.CANCEL: Cancelling(stores.generations, reprocessings, stores.sink, clock, self._pace.page_site_days),
        }

    def run_once(self) -> int:
        """Do one work portion. Return how many site-days this portion has finished.

        If a reprocessing's work fails, the reprocessing becomes FAILED. After any other error, the next portion is
        delayed, and settlement continues.

        Raises:
            RetryError: a store is unavailable. The reprocessing remains RUNNING, and the next portion is delayed
            (`_back_off`).
        """
        if self._stop.is_set() or self._clock.now() < self._not_before:
            return 0
        try:
            stored = self._reprocessings.all(self._note_damage)
            self._expire(stored)
            return self._turn(stored)
        except RetryError:
            self._back_off()
            raise
        except ANY_ERROR as error:
            self._progress = None
            self._not_before = self._clock.now() + self._pace.retry_after_ms
            logger().error("reprocessing_waits", error=type(error).__name__, traceback=traceback_of(error))
            return 0

    def _note_damage(self, error: StoreCorrupt) -> None:
        """Log once that a stored reprocessing is damaged, so that work on the other reprocessings can continue."""
        if error.message not in self._noted and len(self._noted) < _MAX_NOTED:
            self._noted.add(error.message)
            logger().error("reprocessing_is_damaged", message=error.message)

    def _turn(self, stored: Sequence[Reprocessing]) -> int:
        """Do one work portion on the oldest reprocessing that has work for this process."""
        held = self._share.begin()
        running = list(to_work_on(stored, self._waiting_erasures(stored, held)))
        loads = Counter[int]()
        for reprocessing in running:
            loads.update(loads_of(reprocessing, held))
        self._share.note("reprocess", loads)
        for reprocessing in running:
            left = buckets_left(reprocessing)
            if left & held or not left:
                return self._portion(reprocessing, left & held, stored)
        return 0

    def _waiting_erasures(self, stored: Sequence[Reprocessing], held: Set[int]) -> frozenset[str]:
        """Return the waiting erasures' ids. Forget the progress of erasures that this process no longer does."""
        waiting = self._erasing.waiting(each for each in stored if is_erasing(each) and buckets_left(each) & held)
        in_progress = self._erasing.in_progress
        self._set_aside = {id_: at for id_, at in self._set_aside.items() if not at.erases or id_ in in_progress}
        return waiting

    def _take_up(self, id_: str) -> None:
        """Make the given reprocessing's progress current, and keep the previous work's progress for later.

        Erasures often wait, so erasures and other work take turns. Without the kept progress, the work would be claimed
        again and would restart at each turn.
        """
        begun = self._progress
        if begun is not None and begun.id != id_:
            self._set_aside[begun.id] = begun
        if begun is None or begun.id != id_:
            self._progress = self._set_aside.pop(id_, None)

    def _begin_other_work(self) -> None:
        """When new work begins, forget the progress of all other work except erasures."""
        self._restoring.forget()
        self._set_aside = {id_: at for id_, at in self._set_aside.items() if at.erases}

    def _portion(self, reprocessing: Reprocessing, buckets: frozenset[int], stored: Sequence[Reprocessing]) -> int:
        """If this settler has no part of the work, claim a part. Then do one portion of the part.

        The control service withdraws a request if another reprocessing has the same site-days. A claim and a withdrawal
        each replace the stored version of the reprocessing, so only one of the two can succeed. If the work would undo
        a later publication, this function withdraws the request.
        """
        if reprocessing.work is None:
            self._fail(
                reprocessing,
                FatalError(
                    "the reprocessing is RUNNING, but the store does not say which command it runs: restore the store "
                    "from a backup"
                ),
            )
            return 0
        self._take_up(reprocessing.id)
        if self._is_in_hand(reprocessing, buckets):
            return self._do_portion(reprocessing)
        now = self._clock.now()
        reprocessing = begun(reprocessing, stored, now)
        if reprocessing.work is None:
            logger().warning("reprocessing_not_begun", id=reprocessing.id, message=reprocessing.error)
            self._replace(reprocessing)
            return 0
        part = new_part(reprocessing, reprocessing.work, buckets, now)
        claimed = self._replace(with_part(reprocessing, part, now))
        if claimed is None or claimed.work is None:
            return 0
        if not is_erasing(claimed):
            self._begin_other_work()
        self._progress = _Progress(claimed.id, part, Chain(), now, is_erasing(claimed))
        return self._do_portion(claimed)

    def _do_portion(self, reprocessing: Reprocessing) -> int:
        begun = self._progress
        assert begun is not None  # the caller has claimed a part
        ends_at = self._clock.now() + self._pace.portion_ms
        steps, part = self._steps_of(reprocessing, begun.part.work), narrowed(reprocessing, begun.part)
        of_buckets = {site_bucket(site): site for site in part.sites}.values()

        def is_over() -> bool:
            is_late = self._stop.is_set() or self._clock.now() > ends_at
            return is_late or not all(map(self._share.holds, of_buckets))

        try:
            begun = self._progress = begun.at(steps.begin(part, begun.chain))
            chain, is_done = steps.advance(part, begun.chain, is_over)
        except RetryError:
            raise
        except StaleGeneration as error:
            self._erasing.drop(reprocessing.id)
            logger().warning("reprocessing_was_overtaken", id=reprocessing.id, message=error.message)
            return 0
        except ANY_ERROR as error:
            self._fail(reprocessing, error)
            return 0
        self._unavailable = 0
        reprocessing = self._erasing.latest(reprocessing)
        count = chain.count - begun.chain.count
        repair = self._restoring.repair_of(part)
        done = replace(
            begun.part,
            done=chain.count,
            is_finished=is_done,
            raw_repair=repair,
            following=chain.following,
            reach_day=chain.reach_day,
            open_hits=chain.open_hits,
        )
        self._progress = None if is_done else replace(begun, part=done, chain=chain)
        if not is_done and chain is begun.chain and done == begun.part:
            return 0  # an erasure that only waited has nothing to store
        self._metrics.add(PROCESSOR_REPROCESSED, count, result=_RESULTS[begun.part.work])
        self._log(reprocessing, begun, done)
        self._change(reprocessing, lambda stored: with_part(stored, done, self._clock.now()))
        return count

    def _back_off(self) -> None:
        """Delay the next portion.

        A portion may wait long until its rows are readable, and the settler settles nothing during this wait.
        """
        after_ms = self._pace.unavailable_ms << min(self._unavailable, _MAX_DOUBLINGS)
        self._unavailable += 1
        self._not_before = self._clock.now() + min(after_ms, self._pace.max_unavailable_ms)

    def _is_in_hand(self, reprocessing: Reprocessing, buckets: frozenset[int]) -> bool:
        """Return whether the current progress belongs to a stored part, and this settler still leases all its buckets.

        A new request removes all unfinished parts, so parts are claimed anew for each request.
        """
        begun = self._progress
        if begun is None or begun.id != reprocessing.id or not buckets.issuperset(begun.part.buckets):
            return False
        unfinished = [part.buckets for part in parts_of(reprocessing) if not part.is_finished]
        return begun.part.work is reprocessing.work and begun.part.buckets in unfinished

    def _steps_of(self, reprocessing: Reprocessing, work: Work) -> _Steps:
        is_erasure = reprocessing.kind is Kind.ERASE and work is Work.PUBLISH
        return self._erasing if is_erasure else self._steps[work]

    def _expire(self, stored: Sequence[Reprocessing]) -> None:
        now = self._clock.now()
        for reprocessing in expired(stored, now - self._pace.keep_plan_ms):
            self._reprocessings.replace(self._next_version(replace(reprocessing, state=State.EXPIRED)))
        for reprocessing in removable(stored, now - self._pace.keep_expired_ms, now - KEEP_FINISHED_DAYS * DAY_MS):
            self._reprocessings.remove(reprocessing.id)

    def _fail(self, reprocessing: Reprocessing, error: BaseException) -> None:
        self._progress = None
        reprocessing = self._erasing.latest(reprocessing)
        self._erasing.drop(reprocessing.id)
        message = error.message if isinstance(error, HitmeshError) else f"{type(error).__name__}: {error}"
        cause = error.__cause__ if isinstance(error, SiteDayFailed) else error
        logger().error(
            "reprocessing_failed",
            id=reprocessing.id,
            work=reprocessing.work,
            message=message,
            traceback="" if cause is None or isinstance(cause, HitmeshError) else traceback_of(cause),
        )
        self._metrics.add(PROCESSOR_REPROCESSED, 1, result=ReprocessedResult.FAILED)
        self._change(reprocessing, lambda stored: replace(stored, state=State.FAILED, error=message))

    def _change(self, reprocessing: Reprocessing, change: Callable[[Reprocessing], Reprocessing]) -> None:
        """Change the stored reprocessing. If another settler changes the reprocessing at the same time, try again.

        If the work is no longer requested, for example because it was cancelled, change nothing.
        """
        stored: Reprocessing | None = reprocessing
        for _ in range(_MAX_TRIES):
            if stored is None or (stored.state, stored.work) != (State.RUNNING, reprocessing.work):
                break
            if self._reprocessings.replace(self._next_version(change(stored))):
                return
            stored = self._reprocessings.get(reprocessing.id)
        self._progress = None
        logger().warning("reprocessing_was_changed", id=reprocessing.id)

    def _next_version(self, reprocessing: Reprocessing) -> Reprocessing:
        return replace(reprocessing, updated_at=self._clock.now(), version=reprocessing.version + 1)

    def _replace(self, reprocessing: Reprocessing) -> Reprocessing | None:
        """Replace the stored reprocessing, and return the new version.

        If another process has already replaced the given version, return None. The next pass then reads the newer
        version.
        """
        changed = self._next_version(reprocessing)
        if self._reprocessings.replace(changed):
            return changed
        self._progress = None
        logger().warning("reprocessing_was_changed", id=reprocessing.id, version=changed.version)
        return None

    def _log(self, reprocessing: Reprocessing, begun: _Progress, done: Part) -> None:
        """Log all parts' progress together, and this settler's rate."""
        seconds = max(self._clock.now() - begun.began_at, 1) / 1_000
        rate = (done.done - (begun.began_count or 0)) / seconds
        site_days = with_part(reprocessing, done, begun.began_at).done
        left = max(reprocessing.site_days + reprocessing.following - site_days, 0)
        logger().info(
            "reprocessed",
            id=reprocessing.id,
            work=done.work,
            site_days=site_days,
            of=reprocessing.site_days + reprocessing.following,
            per_s=round(rate, 2),
            left_s=round(left / rate) if rate else None,
        )
