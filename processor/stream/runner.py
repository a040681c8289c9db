"""Runs the live stream's loop (steps 4 to 6 of the journey): poll, apply, commit, flush, snapshot (architecture A6).

Decides when a window is full, when values are flushed and when a snapshot is taken. The module `commit` defines the
order of effects. If the outcome of a commit is in doubt, the states of all partitions are discarded and rebuilt from
durable data (`recovery`). The states are also rebuilt if partitions moved between the processors of the consumer group.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol

import polars as pl

from hitmesh.model.errors import HitmeshError, PartitionsMoved, RetryError, as_disk_full
from hitmesh.model.logic import CURRENT, Logic
from hitmesh.model.positions import PartitionId, PartitionProgress, Topic
from hitmesh.model.records import LoggedRecord
from hitmesh.model.rows.stream_columns import EPOCH_MS
from hitmesh.ports import Clock, LogReader
from hitmesh.runtime.logs import logger
from hitmesh.runtime.telemetry import unmeasured
from hitmesh.runtime.telemetry.labels import Stage
from processor.erase.known import KnownErasures
from processor.erase.late_writes import take_back
from processor.erase.purge import partitions_with, purge
from processor.stream.clock_ahead import ClockAhead
from processor.stream.collisions import keep_collisions
from processor.stream.commit import CommitStep, new_writer, note_waiting, store_before_transaction
from processor.stream.handing_over import HandedOver, State, StateSaver, hand_over_within, log_hand_over
from processor.stream.intake import Intake, PartitionIntake, never_back, take_in, windows
from processor.stream.live.epochs import DueValues
from processor.stream.live.limits import PRODUCTION, Limits
from processor.stream.live.refusals import RefusalsState, take_refusals
from processor.stream.live.state import LiveState, PathCounts
from processor.stream.live.step import Prepared, RecordsOf, Stepped, apply, prepare
from processor.stream.metering import StreamMeter
from processor.stream.pace import StreamPace
from processor.stream.polling import collect
from processor.stream.recovery import recover
from processor.stream.stores import StreamStores, new_rules, wins_of
from processor.stream.turns import Turns

KEPT_DIRECTORY: Final = "kept-hits"
_HEARTBEAT_S: Final = 5.0  # readers ignore a heartbeat that comes too soon after another heartbeat


class Stop(Protocol):
    """Tells a runner to stop. A threading.Event has this interface."""

    def is_set(self) -> bool:
        """Return whether the runner must stop."""

    def wait(self, timeout: float) -> bool:
        """Wait until the runner must stop, for at most `timeout` s. Return whether the runner must stop."""


class Runner:
    """Runs the live stream over the partitions that the consumer group assigns. A Runner belongs to one thread.

    Args:
        stores: the live stream's stores.
        clock: decides when values are flushed and snapshots are taken. The results do not depend on the clock.
        pace: the limits and intervals.
        home: a local directory. Kept hits are stored in a subdirectory, and nothing else in `home` is changed.
        meter: records counts and times, and is told of each commit step.
        limits: decides when a partition's tables grow, are written to files, and lose their unused entries.
        logic: the logic version that builds the visits.

    Raises:
        RetryError: a store is unavailable.
    """

    def __init__(
        self,
        stores: StreamStores,
        clock: Clock,
        pace: StreamPace | None = None,
        *,
        home: Path,
        meter: StreamMeter | None = None,
        limits: Limits = PRODUCTION,
        logic: Logic = CURRENT,
    ) -> None:
        self._stores = stores
        self._clock = clock
        self._pace = pace or StreamPace()
        self._kept = home / KEPT_DIRECTORY
        self._limits = limits
        self._logic = logic
        self._meter = meter or StreamMeter(unmeasured())
        self._ahead = ClockAhead(clock, self._pace.ahead_tolerance_ms)
        self._readers: dict[Topic, LogReader] = {}
        self._hits, self._refusals = dict[PartitionId, LiveState](), dict[PartitionId, RefusalsState]()
        self._waiting: list[list[LoggedRecord]] = []
        self._due: list[DueValues] = []
        self._flushed: dict[PartitionId, PartitionProgress] = {}
        self._is_certain = False
        self._can_go_on = False  # whether the readers are at the committed positions, so that a recovery can keep them
        self._flushed_at = clock.now()
        self._turns = Turns(self._pace.snapshot_ms)
        self._saver = StateSaver(stores.states, limits, logic, self._meter)
        self._erasures = KnownErasures(stores.erasures, stores.directory, clock, self._pace.erasures_ms)
        self.counts = PathCounts()
        self.recoveries = 0
        self.recovered = (0, 0)
        self._writer = stores.outbox.take_over()
        try:
            self._recover()
        except HitmeshError:
            self.close()
            raise

    def step(self, timeout_s: float) -> int:
        """Apply the next window and store all its effects. Return how many records arrived; 0 if no records arrived.

        Raises:
            RetryError: a store is unavailable; the caller should call again later.
            Fenced: another writer took over.
        """
        self._forget_erased()
        if not self._is_certain:
            self._recover()
        self._meter.begin()
        if not self._waiting:
            reached = {state.partition: state.log_time for state in self._states()}
            polled = never_back(self._polled(timeout_s), reached)
            self._waiting = windows(self._ahead.passed(polled, reached), EPOCH_MS)
            self._meter.record_stage(Stage.POLL)
        if taken := len(self._waiting[0]) if self._waiting else 0:
            with self._meter.tracing(self._waiting[0]):
                self._take(self._waiting[0])
            self._waiting.pop(0)
        self._save_due(is_idle=taken == 0)
        self._meter.stepped()
        return taken

    def run(self, stop: Stop, *, poll_s: float = 0.2) -> None:
        """Run steps until `stop` is set, then hand the partitions over. Wait after a retryable error."""
        while not stop.is_set():
            try:
                self.step(poll_s)
            except (RetryError, OSError) as error:
                again = error if isinstance(error, RetryError) else as_disk_full(error)
                if again is None:
                    raise
                logger().warning("stream_waits", reason=again.reason, message=again.message)
                self._meter.failed(again)
                self._wait(stop, again.retry_after_s)
        self.hand_over()

    def _wait(self, stop: Stop, wait_s: float) -> None:
        """Wait before a retry. During the wait, heartbeats keep the runner's membership in the consumer group."""
        ends = time.monotonic() + wait_s
        is_over = False
        while not is_over:
            self.heartbeat()
            left_s = ends - time.monotonic()
            is_over = stop.wait(max(0.0, min(left_s, _HEARTBEAT_S))) or left_s <= _HEARTBEAT_S

    def heartbeat(self) -> None:
        """Send heartbeats, even while polled records wait. If partitions moved, the next step begins a recovery."""
        self._meter.waits()
        try:
            for reader in self._readers.values():
                reader.heartbeat()
        except RetryError as error:
            logger().warning("heartbeat_refused", reason=error.reason, message=error.message)
            self._is_certain = self._can_go_on = False

    def flush(self) -> None:
        """Write the current partials and ledger, and then the positions up to which these values are complete."""
        states = self._states()
        values = [
            *self._due,
            *(state.sums.take(state.partition, state.written) for state in states if state.sums.has_changed),
        ]
        positions = {state.partition: state.position for state in states}
        self._flushed_at = self._clock.now()
        if not values and positions == self._flushed:
            return
        try:
            if values:
                self._stores.series.put_partials(pl.concat([due.partials for due in values]))
                if self._stores.stores_hits:
                    self._stores.ledger.put(pl.concat([due.ledger for due in values]))
            self._stores.series.note_flushed(positions)
        except HitmeshError:
            for state in states:
                state.sums.all_changed()
            raise
        self._due, self._flushed = [], positions
        self._meter.holds(
            sum(len(state.timelines) for state in self._hits.values()),
            sum(len(state.kept) for state in self._hits.values()),
        )
        self._meter.reached(CommitStep.PARTIALS)

    def snapshot(self) -> None:
        """Flush, then save every partition's state."""
        self.flush()
        for state in self._states():
            self._save(state)

    def hand_over(self) -> None:
        """Flush, then save the states for the next owners of the partitions, who then need nothing from the log.

        Nothing is saved if the states may be ahead of the committed positions, or have not changed since `hand_over`.
        After an error or a time-out (`hand_over_s`), the next owners read more from the log.
        """
        if self._is_certain:
            log_hand_over(self._hand_over)

    def _hand_over(self) -> HandedOver:
        self.flush()
        states = self._states()
        if self._saver.lacks_kept(states, self._writer):
            self._writer = new_writer(self._stores.outbox, self._writer)
        return hand_over_within(self._pace.hand_over_s, states, self._save)

    @property
    def states(self) -> Sequence[LiveState]:
        """Each hits partition's state, for measurements."""
        return list(self._hits.values())

    def standing(self) -> Mapping[PartitionId, int] | None:
        """Send heartbeats. Return each assigned partition's committed offset, or None if a recovery is due."""
        self.heartbeat()
        return {state.partition: state.next_offset for state in self._states()} if self._is_certain else None

    def close(self) -> None:
        """Close the readers. Idempotent."""
        for reader in self._readers.values():
            reader.close()
        self._readers = {}

    def _take(self, records: Sequence[LoggedRecord]) -> None:
        """Apply a window and store its effects. After an error before `apply`, the window can be applied again."""
        stores = self._stores
        self._meter.window(records)
        intake = take_in(records, self._erasures.visitors)
        self._meter.record_stage(Stage.DECODE)
        if stores.stores_hits:
            store_before_transaction(
                intake, stores.raw, stores.rejected, stores.dirty, stores.claims, self._meter.reached
            )
        prepared = self._prepared(intake)
        if stores.stores_hits:
            collisions = {of: (step.rows, step.collides) for of, step in prepared.items()}
            keep_collisions(stores.rejected, stores.raw, collisions)
        self._forget_erased(intake)
        if not self._is_certain:
            return  # the window is applied again after the recovery
        wins = wins_of(prepared, intake.claims, stores.claims)
        self._meter.record_stage(Stage.COPIES)
        self._is_certain = False  # from now on, the states are ahead of the committed positions
        stepped = [apply(self._hits[partition], step, wins[partition]) for partition, step in prepared.items()]
        stepped += [
            take_refusals(self._refusals[partition], taken.ends, taken.refused, taken.siteless)
            for partition, taken in intake.partitions.items()
            if partition in self._refusals
        ]
        self._meter.record_stage(Stage.VISITS)
        if stores.stores_hits:
            note_waiting(stores.ledger, (result.waiting for result in stepped))
        self._commit(stepped)
        self._is_certain = True

    def _forget_erased(self, stored: Intake | None = None) -> None:
        """Apply new erasure marks: remove erased hits from a stored window, save states without these hits, recover."""
        visitors, was_certain = self._erasures.refresh(), self._is_certain
        held = partitions_with(self._hits, visitors) if visitors and was_certain else []
        self._is_certain = was_certain and not visitors  # if a later statement fails, a recovery applies the marks
        is_late = stored is not None and self._stores.stores_hits and take_back(self._stores, stored, visitors)
        if held:
            self.flush()
        if held or is_late or (visitors and not was_certain):
            self._writer, self._can_go_on = new_writer(self._stores.outbox, self._writer), False
        else:
            self._is_certain = was_certain
        for partition in held:
            purge(self._hits[partition], visitors)
            self._save(self._hits[partition])

    def _commit(self, stepped: Sequence[Stepped]) -> None:
        positions = {state.partition: state.position for state in self._states()}
        moved = {result.rows.partition: positions[result.rows.partition] for result in stepped}
        rows = [result.rows for result in stepped if result.rows.traffic.height or result.rows.visits.height]
        began = time.perf_counter()
        try:
            self._stores.outbox.transaction(self._writer, rows, moved)
        except HitmeshError as error:
            self._meter.not_committed(error)
            raise
        took_s = time.perf_counter() - began
        self._meter.reached(CommitStep.TRANSACTION)
        counts = PathCounts()
        for result in stepped:
            counts.add(result.counts)
            if result.due is not None:
                self._due.append(result.due)
        self.counts.add(counts)
        self._meter.committed(rows, counts, took_s)
        self._meter.reached(CommitStep.STATE)

    def _prepared(self, intake: Intake) -> dict[PartitionId, Prepared]:
        return {
            partition: self._prepare(self._hits[partition], partition_intake)
            for partition, partition_intake in intake.partitions.items()
            if partition in self._hits
        }

    def _prepare(self, state: LiveState, partition_intake: PartitionIntake) -> Prepared:
        return prepare(
            state,
            RecordsOf(partition_intake.ends, partition_intake.hits, partition_intake.siteless),
            new_rules(self._stores.directory, state.sites, partition_intake.hits, self._logic),
        )

    def _polled(self, timeout_s: float) -> list[LoggedRecord]:
        records: list[LoggedRecord] = []
        try:
            collect(records, self._readers[Topic.HITS], self._readers[Topic.REJECTED], self._pace, timeout_s)
        except BaseException as error:
            # Partitions may have moved, or the records of only one topic were read. If partitions have moved and this
            # window has no records yet, both readers are at the committed positions.
            self._is_certain = False
            if isinstance(error, PartitionsMoved):
                self._can_go_on = not records
            raise
        return records

    def _save_due(self, *, is_idle: bool) -> None:
        now = self._clock.now()
        partition = self._turns.due(now)
        if partition is not None or is_idle or now - self._flushed_at >= self._pace.flush_ms:
            self.flush()
        while partition is not None:
            self._save(self._hits[partition] if partition in self._hits else self._refusals[partition])
            partition = self._turns.due(self._clock.now())

    def _save(self, state: State, with_kept: bool = False) -> bool:
        began = self._clock.now()
        is_saved = self._saver.save(state, self._writer, with_kept=with_kept)
        self._turns.saved(state.partition, began, self._clock.now())
        return is_saved

    def _recover(self) -> None:
        """Discard the states and rebuild them. Resume reading at the committed positions."""
        began = time.perf_counter()
        self._meter.recovers()
        self._erasures.refresh()
        if not self._can_go_on:
            self.close()  # rewinding a reader would lose records; a new reader starts at the committed position
        self._can_go_on, self._waiting = False, []
        shutil.rmtree(self._kept, ignore_errors=True)
        # Pending transactions are resolved first, because they may still change the committed positions.
        self._stores.outbox.resolve(self._writer)
        for topic in (Topic.HITS, Topic.REJECTED):
            self._meter.recovers()
            if topic not in self._readers:
                self._readers[topic] = self._stores.log_reader(topic)
                self._readers[topic].before_moves(self.hand_over)
        committed = {topic: reader.positions() for topic, reader in self._readers.items()}
        # Only a number that is taken now exceeds the number under which the previous owner has saved its states.
        self._writer = new_writer(self._stores.outbox, self._writer)
        heartbeat, erased = self._heartbeat_in_recovery, self._erasures.visitors
        recovered = recover(self._stores, committed, self._kept, heartbeat, self._limits, self._logic, erased)
        self._hits, self._refusals, self._due = recovered.hits, recovered.refusals, recovered.due
        self._turns.begin([*self._hits, *self._refusals], self._clock.now())
        if recovered.changes_logic:
            logger().warning("logic_changed", logic=self._logic.name)
            self.snapshot()  # without a snapshot, the next recovery would use the previous logic version
        self._is_certain = True
        self.recoveries += 1
        took_s, self.recovered = time.perf_counter() - began, (recovered.kept, recovered.replayed)
        self._meter.recovered(sum(self.recovered), took_s)
        logger().info(
            "recovered",
            partitions=sorted(partition.partition for partition in self._hits),
            kept=recovered.kept,
            replayed=recovered.replayed,
            took_ms=round(took_s * 1_000),
        )

    def _heartbeat_in_recovery(self) -> None:
        """Send heartbeats, because a recovery polls no records. Raise PartitionsMoved if partitions moved."""
        self._meter.recovers()
        for reader in self._readers.values():
            try:
                reader.heartbeat()
            except PartitionsMoved:
                self._can_go_on = True
                raise

    def _states(self) -> list[State]:
        return [*self._hits.values(), *self._refusals.values()]
