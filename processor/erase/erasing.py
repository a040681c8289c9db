"""Erases a visitor, which is the publication of a reprocessing of kind ERASE.

The stages are done in a fixed order. Each stage can be repeated. After a crash, the next process begins with the first
stage, and skips the work that is already finished. Before any hit is removed, the receipt is stored with the
reprocessing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Set
from dataclasses import dataclass, field, replace

from hitmesh.model.days import date_text
from hitmesh.model.erasures import Receipt
from hitmesh.model.errors import StaleGeneration
from hitmesh.model.plan import Kind
from hitmesh.model.reprocessings import Reprocessing, State, Work
from hitmesh.model.sites import SiteDay
from hitmesh.ports import Clock, Reprocessings
from hitmesh.runtime.logs import logger
from processor.erase.blanking import Blanking
from processor.erase.carries import rebuilt_of
from processor.erase.cleaning import Step, clean_carries, clean_refusals, unread_refusals
from processor.erase.proof import Proof, with_following
from processor.erase.visitors import ErasedVisitors
from processor.reprocess.chain import Chain
from processor.reprocess.moving import Moving
from processor.reprocess.pace import ReprocessPace
from processor.settle.settlement_marks import SettlementMarks
from processor.settle.stores import SettlerStores

IsOver = Callable[[], bool]
Save = Callable[[Reprocessing], Reprocessing | None]


@dataclass(slots=True)
class _Run:
    """An erasure that is in progress.

    Attributes:
        reprocessing: the stored reprocessing.
        receipt: its receipt.
        visitors: the visitor who is erased.
        began_at: when this process began the erasure, UTC ms.
        moved: the days that the reprocessing publishes.
        stage: the current stage's number.
        days: the days whose raw records the current stage has not read yet; None until the stage begins.
        chain: the site-days that have been published.
        portion_at: when the current portion began, UTC ms.
        not_before: the erasure continues at this time or later, UTC ms.
        steps: the current stage's remaining steps; None until the stage begins.
    """

    reprocessing: Reprocessing
    receipt: Receipt
    visitors: ErasedVisitors
    began_at: int
    moved: frozenset[int]
    stage: int = 0
    days: list[int] | None = None
    chain: Chain = field(default_factory=Chain)
    portion_at: int = 0
    not_before: int = 0
    steps: Iterator[Step] | None = None

    @property
    def site(self) -> str:
        """The site."""
        return self.reprocessing.sites[0]


def is_erasing(reprocessing: Reprocessing) -> bool:
    """Return whether the reprocessing is an erasure whose PUBLISH is running."""
    return (reprocessing.kind, reprocessing.work, reprocessing.state) == (Kind.ERASE, Work.PUBLISH, State.RUNNING)


class Erasing:
    """Performs erasures. An instance must be used by one thread only.

    An erasure often waits for streams and for the settler. While an erasure waits, other work continues. Up to
    `pace.erasures` erasures are in progress at the same time. An erasure that is in progress continues with its current
    stage. When an erasure has ended, a further erasure begins.

    Args:
        stores: the settler's stores.
        reprocessings: the stored reprocessings.
        moving: publishes site-days, without keeping replaced rows.
        clock: decides when the stores are scanned again.
        pace: the limits and delays.
        marks: creates dirty marks.
        save: replaces the stored reprocessing, and returns the new version. If another process has already replaced the
            stored version, `save` returns None.
    """

    def __init__(
        self,
        stores: SettlerStores,
        reprocessings: Reprocessings,
        moving: Moving,
        clock: Clock,
        pace: ReprocessPace,
        marks: SettlementMarks,
        save: Save,
    ) -> None:
        self._stores = stores
        self._reprocessings = reprocessings
        self._moving = moving
        self._clock = clock
        self._pace = pace
        self._blanking = Blanking(stores, marks, pace.blanked_records)
        self._proof = Proof(stores, reprocessings)
        self._save = save
        self._runs: dict[str, _Run] = {}
        self._stages = (
            self._store_marks,
            self._blank,
            self._move,
            self._retire,
            self._clean_carries,
            self._scan,
            self._clean_refusals,
            self._prove,
        )

    def begin(self, reprocessing: Reprocessing, chain: Chain) -> Chain:
        """Return the chain of site-days that the erasure has published.

        Erasing does not read stored progress, because every stage can be repeated.
        """
        return self._run_of(reprocessing).chain

    def advance(self, reprocessing: Reprocessing, chain: Chain, is_over: IsOver) -> tuple[Chain, bool]:
        """Do further stages until the work portion is over. Return the chain, and whether the erasure is proven."""
        run = self._run_of(reprocessing)
        run.portion_at = self._clock.now()
        while self._clock.now() >= run.not_before:
            stage = self._stages[run.stage]
            if not stage(run, is_over):
                break
            logger().info("erased", id=reprocessing.id, stage=stage.__name__.strip("_"))
            run.stage += 1
            run.days = None
            self._store_receipt(run, replace(run.receipt, waiting=""))
            if run.stage == len(self._stages):
                return run.chain, True
            if is_over():
                break
        return run.chain, False

    def latest(self, reprocessing: Reprocessing) -> Reprocessing:
        """Return the newest stored version of the erasure, which has the current receipt.

        If this process does not have the erasure in progress, return the given version.
        """
        run = self._runs.get(reprocessing.id)
        return reprocessing if run is None else max(reprocessing, run.reprocessing, key=lambda each: each.version)

    @property
    def in_progress(self) -> Set[str]:
        """The ids of the erasures in progress."""
        return self._runs.keys()

    def waiting(self, erasures: Iterable[Reprocessing]) -> frozenset[str]:
        """Return the ids of the erasures that wait, or that cannot begin because too many erasures are in progress.

        Forget the progress of all erasures that are not in `erasures`.

        Args:
            erasures: the erasures (`is_erasing`) that this process may continue now.
        """
        ids = [erasure.id for erasure in erasures]
        self._runs = {id_: self._runs[id_] for id_ in ids if id_ in self._runs}
        is_full, now = len(self._runs) >= self._pace.erasures, self._clock.now()
        not_before = {id_: run.not_before for id_, run in self._runs.items()}
        return frozenset(id_ for id_ in ids if (now < not_before[id_] if id_ in not_before else is_full))

    def drop(self, id_: str) -> None:
        """Forget an erasure's progress, because the stored reprocessing may have changed."""
        self._runs.pop(id_, None)

    def _run_of(self, reprocessing: Reprocessing) -> _Run:
        run = self._runs.get(reprocessing.id)
        if run is None or run.reprocessing.receipt != reprocessing.receipt:
            secret = self._stores.directory.mesh_secret()
            run = _Run(
                reprocessing,
                Receipt.from_text(reprocessing.receipt),
                ErasedVisitors(secret, reprocessing.marks),
                self._clock.now(),
                frozenset(
                    rebuilt.site_day.day
                    for rebuilt in rebuilt_of(self._reprocessings, reprocessing.id, reprocessing.sites[0])
                ),
            )
        run.reprocessing = reprocessing
        self._runs[reprocessing.id] = run
        return run

    def _store_marks(self, run: _Run, is_over: IsOver) -> bool:
        """Store the erasure marks, so that streams and settlements refuse the hits that the marks cover."""
        now = self._clock.now()
        self._stores.erasures.put([replace(mark, created_at=now) for mark in run.reprocessing.marks])
        run.began_at = now
        return True

    def _blank(self, run: _Run, is_over: IsOver) -> bool:
        """Erase the visitor's hits on the days that this erasure publishes.

        Also erase the visitor's hits on days that are not settled, are dirty, or were published after the erasure was
        planned.
        """
        if run.days is None:
            run.days = self._days_to_blank(run)
        return self._over_days(run, is_over)

    def _move(self, run: _Run, is_over: IsOver) -> bool:
        """Publish the recomputed site-days."""
        run.chain, is_done = self._moving.advance(run.reprocessing, run.chain, is_over)
        if is_done:
            run.receipt = replace(run.receipt, site_days=run.chain.count)
        return is_done

    def _retire(self, run: _Run, is_over: IsOver) -> bool:
        """Retire all replaced generations on the days that had hits from the visitor, and on each following day.

        The settler removes a retired generation's rows when no query reads the generation any more. Unpublished
        generations that began before the marks were stored are abandoned. If such a generation were not abandoned, a
        settler that has lost its lease might still publish the generation, with the visitor's hits.
        """
        now = self._clock.now()
        first_day, end_day = run.reprocessing.first_day, run.reprocessing.end_day
        self._stores.generations.abandon(run.site, first_day, end_day, now=now)
        days = with_following(self._days(run))
        count = sum(len(self._stores.generations.retire(SiteDay(run.site, day), now)) for day in days)
        run.receipt = replace(run.receipt, generations=max(run.receipt.generations, count))
        return True

    def _clean_carries(self, run: _Run, is_over: IsOver) -> bool:
        """Remove the visitor's visits from the carries in all the site's reprocessings."""
        id_ = run.reprocessing.id
        return self._in_steps(run, is_over, lambda: clean_carries(self._reprocessings, id_, run.site, run.visitors))

    def _clean_refusals(self, run: _Run, is_over: IsOver) -> bool:
        """Remove texts from the visitor's refused hits.

        The removal waits until streams have stored all refusals that were logged before the erasure.
        """
        unread = 0 if run.steps else unread_refusals(self._stores, run.began_at + self._pace.marks_known_ms)
        if unread:
            self._wait(run, f"refused hits in {unread} partitions of the log are not stored yet")
            return False
        return self._in_steps(run, is_over, lambda: clean_refusals(self._stores, run.reprocessing))

    def _scan(self, run: _Run, is_over: IsOver) -> bool:
        """When every stream has loaded the marks, read all raw hits from the site again, and erase the remaining hits.

        If hits remained on a day, the day is read again later. A process whose clock is ahead may have written hits of
        the visitor after they were erased.
        """
        if self._clock.now() < run.began_at + self._pace.marks_known_ms:
            run.not_before = run.began_at + self._pace.marks_known_ms
            self._note_waiting(run, "the running streams have not yet loaded the erasure marks")
            return False
        if run.days is None:
            run.days = list(self._stores.raw.days(run.site))
            run.receipt = run.receipt.seen(raw_days=len(run.days))
        return self._over_days(run, is_over, is_proof=True)

    def _prove(self, run: _Run, is_over: IsOver) -> bool:
        """Search the other stores for the visitor.

        If a stream or the settler has not finished yet, wait and search again later. The search takes a single portion,
        because only the days that had hits from the visitor are read.
        """
        self._stores.log_eraser.overwrite()
        found = self._proof.look(run.site, run.visitors, self._days(run), self._clock.now())
        if found.left:
            self._wait(run, found.left)
            return False
        newest = run.receipt.newest_log_time
        run.receipt = replace(
            run.receipt.seen(**found.scanned),
            log_until=self._stores.log_eraser.kept_until(newest) if newest else 0,
            pending=(),
            proven_at=self._clock.now(),
        )
        return True

    def _in_steps(self, run: _Run, is_over: IsOver, begin: Callable[[], Iterator[Step]]) -> bool:
        """Do the stage's further steps until the work portion is over. Return whether the stage has no step left.

        After an error, the stage begins again with its first step.
        """
        steps, run.steps = run.steps or begin(), None
        for step in steps:
            run.receipt = run.receipt.plus(**step.removed).seen(**step.scanned)
            if is_over():
                run.steps = steps
                self._store_receipt(run, run.receipt)
                return False
        return True

    def _wait(self, run: _Run, left: str) -> None:
        """Delay the next search for the visitor's values.

        The delay leaves time for other work between the searches of all erasures.
        """
        logger().info("erasure_waits", id=run.reprocessing.id, left=left)
        self._note_waiting(run, left)
        now = self._clock.now()
        run.not_before = now + (now - run.portion_at + self._pace.proof_wait_ms) * len(self._runs)

    def _note_waiting(self, run: _Run, left: str) -> None:
        """Store the reason why the erasure waits. If the same reason is already stored, do nothing."""
        if run.receipt.waiting != left:
            self._store_receipt(run, replace(run.receipt, waiting=left))

    def _over_days(self, run: _Run, is_over: IsOver, *, is_proof: bool = False) -> bool:
        """Erase hits day by day until the work portion is over. Return whether all days are finished.

        If `is_proof` is true, a day is finished only if a read of the day finds none of the visitor's hits.
        """
        while run.days:
            found = False
            for group in self._blanking.groups(run.site, run.days[0], run.visitors):
                found = True
                run.receipt = self._blanking.erase(
                    run.site, group, run.visitors, run.receipt, run.moved, lambda each: self._store_receipt(run, each)
                )
            if found and is_proof:
                self._wait(run, f"the last search found and erased hits on the UTC day {date_text(run.days[0])}")
                break
            run.days.pop(0)
            if is_over():
                break
        return not run.days

    def _days_to_blank(self, run: _Run) -> list[int]:
        stores, since = self._stores, run.reprocessing.created_at
        entries = stores.generations.current(run.site, run.reprocessing.first_day, run.reprocessing.end_day)
        waiting = {entry.site_day.day for entry in stores.dirty.pending(run.site)}
        unseen = {day for day in stores.raw.days(run.site) if day not in entries or day in waiting}
        unseen |= {day for day, entry in entries.items() if entry.published_at >= since}
        return sorted(run.moved | unseen)

    def _days(self, run: _Run) -> list[int]:
        """Return the days that had hits from the visitor."""
        return sorted(run.moved.union(run.receipt.days))

    def _store_receipt(self, run: _Run, receipt: Receipt) -> None:
        saved = self._save(replace(run.reprocessing, receipt=receipt.to_text()))
        if saved is None:
            self.drop(run.reprocessing.id)
            raise StaleGeneration(f"reprocessing {run.reprocessing.id} was changed by another process; read it again")
        run.reprocessing, run.receipt = saved, receipt
