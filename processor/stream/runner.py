"""Steps 4 to 6 of the journey: poll the log, let the stream take each window, commit, flush, snapshot (decision A6).

Decides when a window is full, when values are flushed and when a snapshot is taken; the order of effects stands in
`commit`. Whenever it is not certain what was committed, or partitions moved between the processors of the group, the
state of every partition is thrown away and made again from what is durable: `recovery`.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl

from hitmesh.model.errors import HitmeshError, PartitionsMoved, RetryError, as_disk_full
from hitmesh.model.limits import AHEAD_TOLERANCE_MS
from hitmesh.model.positions import PartitionId, PartitionProgress, Position, Topic
from hitmesh.model.records import LoggedRecord
from hitmesh.model.rows.columns import LOGIC_VERSION
from hitmesh.model.rows.stream_columns import EPOCH_MS
from hitmesh.model.stream_values import SnapshotManifest
from hitmesh.ports import Clock, LogReader
from hitmesh.runtime.logs import logger
from hitmesh.runtime.telemetry import unmeasured
from hitmesh.runtime.telemetry.labels import Stage
from processor.stream.clock_ahead import ClockAhead
from processor.stream.collisions import collision_refusals
from processor.stream.commit import CommitStep, note_waiting, store_before_transaction
from processor.stream.intake import Intake, PartitionIntake, never_back, take_in, windows
from processor.stream.live.epochs import DueValues
from processor.stream.live.limits import PRODUCTION, Limits
from processor.stream.live.refusals import RefusalsState, take_refusals
from processor.stream.live.snapshot import chunked, packed, refusals_tables, state_tables
from processor.stream.live.state import LiveState, PathCounts
from processor.stream.live.step import Prepared, RecordsOf, Stepped, apply, prepare
from processor.stream.metering import StreamMeter
from processor.stream.recovery import recover
from processor.stream.stores import StreamStores, rules_of, wins_of
from processor.stream.turns import Turns

KEPT_DIRECTORY: Final = "kept-hits"
_HEARTBEAT_S: Final = 5.0  # a reader skips the calls that come too early


@dataclass(frozen=True, slots=True)
class Pace:
    """How much a runner does at once.

    Attributes:
        max_hits: of a window, about.
        window_ms: how long a window gathers records at most, from the first one on.
        quiet_ms: a window ends sooner when no record came for so long: whoever sends little need not wait.
        flush_ms: partials and ledger are written this often, and when nothing comes.
        snapshot_ms: the state of a partition is saved this often at most (`processor.stream.turns`).
        ahead_tolerance_ms: log time that is further ahead of the clock is told in the log (`clock_ahead`).
    """

    max_hits: int = 50_000
    window_ms: int = 0
    quiet_ms: int = 250
    flush_ms: int = 10_000
    snapshot_ms: int = 180_000
    ahead_tolerance_ms: int = AHEAD_TOLERANCE_MS


class Runner:
    """Runs the live stream over the partitions that the group gives it. Confined to one thread.

    Args:
        stores: where everything is.
        clock: says when to flush and to save; numbers do not depend on it.
        pace: how much at once.
        home: directory of a local disk; kept hits are in one of its own in it, and nothing else is touched.
        meter: counts and times; is told of each step of a commit.
        limits: when the tables of a partition grow, spill and are tidied.

    Raises:
        RetryError: a store does not answer.
    """

    def __init__(
        self,
        stores: StreamStores,
        clock: Clock,
        pace: Pace | None = None,
        *,
        home: Path,
        meter: StreamMeter | None = None,
        limits: Limits = PRODUCTION,
    ) -> None:
        self._stores = stores
        self._clock = clock
        self._pace = pace or Pace()
        self._kept = home / KEPT_DIRECTORY
        self._limits = limits
        self._meter = meter or StreamMeter(unmeasured())
        self._ahead = ClockAhead(clock, self._pace.ahead_tolerance_ms)
        self._readers: dict[Topic, LogReader] = {}
        self._hits: dict[PartitionId, LiveState] = {}
        self._refusals: dict[PartitionId, RefusalsState] = {}
        self._waiting: list[list[LoggedRecord]] = []
        self._due: list[DueValues] = []
        self._flushed: dict[PartitionId, PartitionProgress] = {}
        self._is_certain = False
        self._can_go_on = False  # readers that are there begin at what is committed already
        self._flushed_at = clock.now()
        self._turns = Turns(self._pace.snapshot_ms)
        self.counts = PathCounts()
        self.recoveries = 0
        self._writer = stores.outbox.take_over()
        try:
            self._recover()
        except HitmeshError:
            self.close()
            raise

    def step(self, timeout_s: float) -> int:
        """Take the next window through all effects; return how many records it had, 0 when nothing came.

        Raises:
            RetryError: a store does not answer; call again.
            Fenced: another writer took over.
        """
        if not self._is_certain:
            self._recover()
        self._meter.begin()
        if not self._waiting:
            reached = {one.partition: one.log_time for one in self._states()}
            polled = never_back(self._polled(timeout_s), reached)
            self._waiting = windows(self._ahead.passed(polled, reached), EPOCH_MS)
            self._meter.did(Stage.POLL)
        taken = len(self._waiting[0]) if self._waiting else 0
        if taken:
            self._take(self._waiting[0])
            self._waiting.pop(0)
        self._save_what_is_due(is_idle=taken == 0)
        return taken

    def run(self, stop: threading.Event, *, poll_s: float = 0.2) -> None:
        """Step until `stop` is set, then save; wait where a store asks to be tried later."""
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
        if self._is_certain:
            self.snapshot()

    def _wait(self, stop: threading.Event, wait_s: float) -> None:
        """Wait before the next try; heartbeats keep the place in the group however long a store is away."""
        ends = time.monotonic() + wait_s
        is_over = False
        while not is_over:
            self._heartbeat()
            left_s = ends - time.monotonic()
            is_over = stop.wait(max(0.0, min(left_s, _HEARTBEAT_S))) or left_s <= _HEARTBEAT_S

    def _heartbeat(self) -> None:
        """Send heartbeats while a window may be in hand; where partitions moved, the next step begins anew."""
        try:
            for reader in self._readers.values():
                reader.stay()
        except RetryError as error:
            logger().warning("heartbeat_refused", reason=error.reason, message=error.message)
            self._is_certain = self._can_go_on = False

    def flush(self) -> None:
        """Write partials and ledger as they are now."""
        states = self._states()
        values = [*self._due, *(one.sums.take(one.partition, one.written) for one in states if one.sums.has_changed)]
        positions = {one.partition: one.position for one in states}
        self._flushed_at = self._clock.now()
        if not values and positions == self._flushed:
            return
        try:
            if values:
                self._stores.series.put_partials(pl.concat([one.partials for one in values]))
                self._stores.ledger.put(pl.concat([one.ledger for one in values]))
            self._stores.series.note_flushed(positions)
        except HitmeshError:
            for one in states:
                one.sums.all_changed()
            raise
        self._due, self._flushed = [], positions
        self._meter.holds(
            sum(len(one.timelines) for one in self._hits.values()), sum(len(one.kept) for one in self._hits.values())
        )
        self._meter.reached(CommitStep.PARTIALS)

    def snapshot(self) -> None:
        """Save the state of every partition, after what it has added up so far."""
        self.flush()
        for name in [*self._hits, *self._refusals]:
            self._save_state(name)

    @property
    def states(self) -> Sequence[LiveState]:
        """The states of the partitions of hits, for those who measure them."""
        return list(self._hits.values())

    def close(self) -> None:
        """Let go of the readers. A second call changes nothing."""
        for reader in self._readers.values():
            reader.close()
        self._readers = {}

    def _take(self, records: Sequence[LoggedRecord]) -> None:
        """Take a window through all effects. Up to `apply` nothing depends on it, and it may be taken again."""
        stores = self._stores
        self._meter.window(records)
        intake = take_in(records)
        self._meter.did(Stage.DECODE)
        store_before_transaction(intake, stores.raw, stores.rejected, stores.dirty, stores.claims, self._meter.reached)
        prepared = self._prepared(intake)
        self._keep_collisions(prepared)
        wins = wins_of(prepared, intake.claims, stores.claims)
        self._meter.did(Stage.COPIES)
        self._is_certain = False  # from here on the states are ahead of what is committed
        stepped = [apply(self._hits[name], one, wins[name]) for name, one in prepared.items()]
        stepped += [
            take_refusals(self._refusals[name], own.ends, own.refused, own.siteless)
            for name, own in intake.partitions.items()
            if name in self._refusals
        ]
        self._meter.did(Stage.VISITS)
        note_waiting(self._stores.ledger, (one.waiting for one in stepped))
        self._commit(stepped)
        self._is_certain = True

    def _commit(self, stepped: Sequence[Stepped]) -> None:
        positions = {one.partition: one.position for one in self._states()}
        moved = {one.rows.partition: positions[one.rows.partition] for one in stepped}
        rows = [one.rows for one in stepped if one.rows.traffic.height or one.rows.visits.height]
        began = time.perf_counter()
        try:
            self._stores.outbox.transaction(self._writer, rows, moved)
        except HitmeshError as error:
            self._meter.not_committed(error)
            raise
        took_s = time.perf_counter() - began
        self._meter.reached(CommitStep.TRANSACTION)
        counts = PathCounts()
        for one in stepped:
            counts.add(one.counts)
            if one.due is not None:
                self._due.append(one.due)
        self.counts.add(counts)
        self._meter.committed(rows, counts, took_s)
        self._meter.reached(CommitStep.STATE)

    def _prepared(self, intake: Intake) -> dict[PartitionId, Prepared]:
        return {
            name: self._prepare(self._hits[name], own) for name, own in intake.partitions.items() if name in self._hits
        }

    def _prepare(self, state: LiveState, own: PartitionIntake) -> Prepared:
        unknown = state.sites.unknown(own.hits["site"].unique().to_list())
        return prepare(state, RecordsOf(own.ends, own.hits, own.siteless), rules_of(self._stores.directory, unknown))

    def _keep_collisions(self, prepared: Mapping[PartitionId, Prepared]) -> None:
        """Keep copies with another content where people look for refusals (rule D1)."""
        collisions = [
            (Position(name.log, name.partition, offset), row)
            for name, one in prepared.items()
            for offset, row in one.rows.select("offset", "row")[np.flatnonzero(one.collides)].iter_rows()
        ]
        if collisions:
            self._stores.rejected.put(collision_refusals(self._stores.raw, collisions))

    def _poll(self, timeout_s: float) -> list[LoggedRecord]:
        """Return records of both topics: the first within the time-out, more while the window is open."""
        hits, rejected = self._readers[Topic.HITS], self._readers[Topic.REJECTED]
        room = self._pace.max_hits
        records: list[LoggedRecord] = []
        ends = 0.0
        while room > 0:
            before = len(records)
            left = min(ends - time.monotonic(), self._pace.quiet_ms / 1_000) if before else timeout_s
            if left < 0:
                break
            for reader, wait_s in ((hits, left), (rejected, 0.0)):
                try:
                    records += reader.poll(room, wait_s)
                except PartitionsMoved:
                    # With nothing in hand both readers stand at what is committed: the one that moved, and the other.
                    self._can_go_on = not records
                    raise
            if len(records) == before:
                break
            if not before:
                ends = time.monotonic() + self._pace.window_ms / 1_000
            room = self._pace.max_hits - sum(one.record.rows for one in records)
        return records

    def _polled(self, timeout_s: float) -> list[LoggedRecord]:
        try:
            return self._poll(timeout_s)
        except HitmeshError:
            # Partitions may have moved to another processor; or one topic was read and the other was not.
            self._is_certain = False
            raise

    def _save_what_is_due(self, *, is_idle: bool) -> None:
        now = self._clock.now()
        name = self._turns.due(now)
        if name is not None or is_idle or now - self._flushed_at >= self._pace.flush_ms:
            self.flush()
        while name is not None:
            self._save_state(name)
            name = self._turns.due(self._clock.now())

    def _save_state(self, name: PartitionId) -> None:
        began = self._clock.now()
        if name in self._hits:
            state = self._hits[name]
            kept_from = state.kept.first_offset()
            self._save(state, state_tables(state), state.next_offset if kept_from is None else kept_from)
        else:
            refusals = self._refusals[name]
            self._save(refusals, refusals_tables(refusals), refusals.next_offset)
        self._turns.saved(name, began, self._clock.now())

    def _save(self, state: LiveState | RefusalsState, tables: Mapping[str, pl.DataFrame], kept_from: int) -> None:
        began = time.perf_counter()
        chunks = chunked(packed(tables), self._limits.chunk_bytes)
        states = self._stores.states
        states.save_chunks(state.partition, self._writer, state.next_offset, chunks)
        self._meter.reached(CommitStep.CHUNKS)
        manifest = SnapshotManifest(
            partition=state.partition,
            writer=self._writer,
            position=state.position,
            logic_version=LOGIC_VERSION,
            kept_from=kept_from,
            chunks=len(chunks),
        )
        if not states.save_manifest(manifest):
            logger().warning("snapshot_not_newest", partition=state.partition.partition, offset=state.next_offset)
        self._meter.reached(CommitStep.MANIFEST)
        self._meter.saved(sum(map(len, chunks)), time.perf_counter() - began)

    def _recover(self) -> None:
        """Throw the states away and make them again; read on from what is committed."""
        began = time.perf_counter()
        if not self._can_go_on:
            self.close()  # rewinding loses records; a new reader begins where it was committed
        self._can_go_on = False
        self._waiting = []
        shutil.rmtree(self._kept, ignore_errors=True)
        # Before the readers ask what was committed: nothing of this writer may be pending then.
        self._stores.outbox.resolve(self._writer)
        for topic in (Topic.HITS, Topic.REJECTED):
            if topic not in self._readers:
                self._readers[topic] = self._stores.log_reader(topic)
        committed = {topic: reader.positions() for topic, reader in self._readers.items()}
        recovered = recover(self._stores, committed, self._kept, self._stay, self._limits)
        self._hits, self._refusals, self._due = recovered.hits, recovered.refusals, recovered.due
        self._turns.begin([*self._hits, *self._refusals], self._clock.now())
        self._is_certain = True
        self.recoveries += 1
        took_s = time.perf_counter() - began
        self._meter.recovered(recovered.replayed, took_s)
        logger().info(
            "recovered",
            partitions=sorted(name.partition for name in self._hits),
            hits=recovered.replayed,
            took_ms=round(took_s * 1_000),
        )

    def _stay(self) -> None:
        """Keep the place in the group while nothing is polled; partitions that moved meanwhile begin anew at once."""
        for reader in self._readers.values():
            try:
                reader.stay()
            except PartitionsMoved:
                self._can_go_on = True
                raise

    def _states(self) -> list[LiveState | RefusalsState]:
        return [*self._hits.values(), *self._refusals.values()]
