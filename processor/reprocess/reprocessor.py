"""The reprocessor: do the work that reprocessings request, portion by portion (architecture A9).

A portion is bounded in time and runs between two settler passes, in the settler's thread, so that the two never
work on a site at the same time and late hits are settled meanwhile. All work is idempotent: after a crash at any point,
the next portion continues with the site-days that are not done.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

from hitmesh.model.errors import FatalError, HitmeshError, RetryError, StaleGeneration, StoreCorrupt
from hitmesh.model.limits import LG_K_CELL
from hitmesh.model.plan import KEEP_FINISHED_DAYS, Kind
from hitmesh.model.reprocessings import Reprocessing, State, Work, next_state
from hitmesh.model.zones import DAY_MS
from hitmesh.ports import Clock, Reprocessings
from hitmesh.runtime.logs import logger, traceback_of
from hitmesh.runtime.telemetry import Metrics, unmeasured
from hitmesh.runtime.telemetry.labels import ReprocessedResult
from hitmesh.runtime.telemetry.registry import PROCESSOR_REPROCESSED
from processor.erase.erasing import Erasing
from processor.reprocess.cancelling import Cancelling
from processor.reprocess.chain import Chain
from processor.reprocess.failures import SiteDayFailed
from processor.reprocess.moving import Moving
from processor.reprocess.pace import ReprocessPace
from processor.reprocess.recomputing import Rebuilder, Recomputing
from processor.reprocess.restoring import Restoring
from processor.reprocess.schedule import expired, next_to_work_on, removable
from processor.settle.attempt import SettlerStores
from processor.settle.memory import DEFAULT_MEMORY, SettleMemory
from processor.settle.settlement_marks import SettlementMarks
from processor.settle.settler import ANY_ERROR

_MAX_DOUBLINGS: Final = 20
_MAX_NOTED: Final = 1_000
_RESULTS: Mapping[Work, ReprocessedResult] = {
    Work.RECOMPUTE: ReprocessedResult.RECOMPUTED,
    Work.PUBLISH: ReprocessedResult.PUBLISHED,
    Work.ROLL_BACK: ReprocessedResult.ROLLED_BACK,
    Work.CANCEL: ReprocessedResult.CANCELLED,
}


class _Steps(Protocol):
    """The execution for a kind of work."""

    def begin(self, id_: str, chain: Chain) -> Chain:
        """Return where the work continues: the given chain, or further."""

    def advance(self, reprocessing: Reprocessing, chain: Chain, is_over: Callable[[], bool]) -> tuple[Chain, bool]:
        """Do one or more site-days; return where the work continues, and whether the work is done."""


@dataclass(frozen=True, slots=True)
class _Progress:
    """Where the current work continues, and where this process began it."""

    id: str
    work: Work
    chain: Chain
    began_at: int
    began_count: int

    def is_of(self, id_: str, work: Work | None) -> bool:
        """Return whether this is the progress of a reprocessing's work."""
        return (self.id, self.work) == (id_, work)


class Reprocessor:
    """Does the requested work. Confined to one thread, which must be the settler's.

    Args:
        stores: the settler's stores.
        reprocessings: the stored reprocessings.
        clock: times portions; results do not depend on the clock.
        pace: limits and delays.
        stop: ends the work when set.
        metrics: counters.
        marks: partition number for the reprocessor's own dirty marks (SettlementMarks).
        lg_k: the visitor sketches' size, as log2; must equal the settler's.
        memory: the limits that bound the memory of a site-day's settlement.
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
        memory: SettleMemory = DEFAULT_MEMORY,
    ) -> None:
        self._reprocessings = reprocessings
        self._clock = clock
        self._pace = pace or ReprocessPace()
        self._stop = stop or threading.Event()
        self._metrics = metrics or unmeasured()
        self._progress: _Progress | None = None
        self._noted: set[str] = set()
        self._not_before = 0
        self._unavailable = 0
        self._restoring = Restoring(stores, clock, self._pace)
        rebuilder = Rebuilder(stores, reprocessings, clock, self._pace, self._stop, lg_k, memory)
        dirty = SettlementMarks(clock, marks)
        moving = Moving(stores, reprocessings, rebuilder, clock, self._pace, dirty)
        # An erasure keeps no replaced rows.
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
        """Do a portion; return how many site-days are done.

        A reprocessing whose work fails becomes FAILED. Other errors never end the settler's process: the next portion
        waits, and settlement continues.

        Raises:
            RetryError: a store is unavailable; the reprocessing stays RUNNING, the next portion waits (`_back_off`).
        """
        if self._stop.is_set() or self._clock.now() < self._not_before:
            return 0
        try:
            stored = self._reprocessings.all(self._note_damage)
            self._expire(stored)
            reprocessing = next_to_work_on(stored, self._erasing.waiting)
            return self._portion(reprocessing) if reprocessing else 0
        except RetryError:
            self._back_off()
            raise
        except ANY_ERROR as error:
            self._progress = None
            self._not_before = self._clock.now() + self._pace.retry_after_ms
            logger().error("reprocessing_waits", error=type(error).__name__, traceback=traceback_of(error))
            return 0

    def _note_damage(self, error: StoreCorrupt) -> None:
        """Log once that a stored reprocessing is damaged, and go on with the others."""
        if error.message not in self._noted and len(self._noted) < _MAX_NOTED:
            self._noted.add(error.message)
            logger().error("reprocessing_is_damaged", message=error.message)

    def _portion(self, reprocessing: Reprocessing) -> int:
        """Claim the work if the work is not in hand, then do a portion.

        The control service takes a request back if another reprocessing has the same site-days. The claim is a new
        version of the stored value, so that either the claim or the taking back fails.
        """
        if reprocessing.work is None:
            self._fail(reprocessing, FatalError("the reprocessing runs without a work: request the work again"))
            return 0
        claimed = reprocessing if self._is_in_hand(reprocessing) else self._replace(reprocessing)
        return self._do_portion(claimed, reprocessing.work) if claimed else 0

    def _do_portion(self, reprocessing: Reprocessing, work: Work) -> int:
        ends_at = self._clock.now() + self._pace.portion_ms
        try:
            begun = self._begun(reprocessing, work)
            chain, is_done = self._steps_of(reprocessing, begun.work).advance(
                reprocessing, begun.chain, lambda: self._stop.is_set() or self._clock.now() > ends_at
            )
        except RetryError:
            raise
        except StaleGeneration as error:
            self._erasing.drop()
            logger().warning("reprocessing_was_overtaken", id=reprocessing.id, message=error.message)
            return 0
        except ANY_ERROR as error:
            self._fail(reprocessing, error)
            return 0
        self._unavailable = 0
        reprocessing = self._erasing.latest(reprocessing)
        self._progress = None if is_done else replace(begun, chain=chain)
        count = chain.count - begun.chain.count
        if not is_done and chain is begun.chain:
            return 0  # an erasure that waits changes nothing
        self._metrics.add(PROCESSOR_REPROCESSED, count, result=_RESULTS[begun.work])
        self._log(reprocessing, begun, chain)
        done = replace(reprocessing, done=chain.count, raw_repair=self._restoring.repair_of(reprocessing))
        if is_done:
            took_ms = self._recompute_ms(reprocessing, begun)
            state = next_state(reprocessing.kind, begun.work)
            done = replace(done, state=state, work=None, error="", recompute_ms=took_ms)
        self._replace(done)
        return count

    def _back_off(self) -> None:
        """Delay the next portion: each portion may wait long for its rows, and settlement waits meanwhile."""
        after_ms = self._pace.unavailable_ms << min(self._unavailable, _MAX_DOUBLINGS)
        self._unavailable += 1
        self._not_before = self._clock.now() + min(after_ms, self._pace.max_unavailable_ms)

    def _recompute_ms(self, reprocessing: Reprocessing, begun: _Progress) -> int:
        """Return how long RECOMPUTE took; the stored value for other work, or if another process did a part."""
        if begun.work is not Work.RECOMPUTE or begun.began_count:
            return reprocessing.recompute_ms
        return max(self._clock.now() - begun.began_at, 1)

    def _is_in_hand(self, reprocessing: Reprocessing) -> bool:
        return self._progress is not None and self._progress.is_of(reprocessing.id, reprocessing.work)

    def _begun(self, reprocessing: Reprocessing, work: Work) -> _Progress:
        """Return the current work's progress, including site-days that an interrupted portion stored."""
        in_hand, id_, steps = self._progress, reprocessing.id, self._steps_of(reprocessing, work)
        if in_hand is None or not in_hand.is_of(id_, work):
            self._restoring.forget()
            chain = steps.begin(id_, Chain())
            in_hand = _Progress(id_, work, chain, self._clock.now(), chain.count)
        self._progress = replace(in_hand, chain=steps.begin(id_, in_hand.chain))
        return self._progress

    def _steps_of(self, reprocessing: Reprocessing, work: Work) -> _Steps:
        is_erasure = reprocessing.kind is Kind.ERASE and work is Work.PUBLISH
        return self._erasing if is_erasure else self._steps[work]

    def _expire(self, stored: Sequence[Reprocessing]) -> None:
        now = self._clock.now()
        for reprocessing in expired(stored, now - self._pace.keep_plan_ms):
            self._replace(replace(reprocessing, state=State.EXPIRED))
        for reprocessing in removable(stored, now - self._pace.keep_expired_ms, now - KEEP_FINISHED_DAYS * DAY_MS):
            self._reprocessings.remove(reprocessing.id)

    def _fail(self, reprocessing: Reprocessing, error: BaseException) -> None:
        self._progress = None
        reprocessing = self._erasing.latest(reprocessing)
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
        self._replace(replace(reprocessing, state=State.FAILED, error=message))

    def _replace(self, reprocessing: Reprocessing) -> Reprocessing | None:
        """Replace the stored value and return the new version.

        If another process replaced the value since, return None: the next pass reads the other process's value.
        """
        changed = replace(reprocessing, updated_at=self._clock.now(), version=reprocessing.version + 1)
        if self._reprocessings.replace(changed):
            return changed
        self._progress = None
        logger().warning("reprocessing_was_changed", id=reprocessing.id, version=changed.version)
        return None

    def _log(self, reprocessing: Reprocessing, begun: _Progress, chain: Chain) -> None:
        seconds = max(self._clock.now() - begun.began_at, 1) / 1_000
        rate = (chain.count - begun.began_count) / seconds
        left = max(reprocessing.site_days - chain.count, 0)
        logger().info(
            "reprocessed",
            id=reprocessing.id,
            work=begun.work,
            site_days=chain.count,
            of=reprocessing.site_days,
            per_s=round(rate, 2),
            left_s=round(left / rate) if rate else None,
        )
