"""Rebuilds states from durable data (journey step 6, architecture A5).

A recovery runs when a runner starts. A recovery also runs when the states may differ from the committed positions: for
example, after a commit whose outcome is in doubt, or after partitions moved between processors.

For each partition, the recovery loads the last snapshot. The kept hits that are older than the snapshot are read from
the log again, unless the snapshot was handed over and contains the kept hits. The recovery then replays the records up
to the committed position. The replay emits no rows, because the rows were committed together with the positions. All
values of the epochs since the snapshot are written again.

If another logic version wrote the last snapshot of a hits partition, the stream's version takes over at the committed
position. The snapshot's version has emitted the rows up to the committed position. The recovery therefore computes the
values up to the committed position with the snapshot's version too, so that values and rows agree. For later records,
the stream's version builds its own state from the log.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl

from hitmesh.model.arrays import BoolArray, I64Array
from hitmesh.model.errors import StoreCorrupt
from hitmesh.model.logic import CURRENT, LOGICS, Logic
from hitmesh.model.positions import PartitionId, PartitionProgress, Topic
from hitmesh.model.records import LoggedRecord
from hitmesh.model.stream_values import SnapshotManifest
from hitmesh.runtime.logs import bound_to, logger
from processor.erase.purge import purge, rows_of_erased
from processor.erase.visitors import ErasedVisitors
from processor.rules.refunds import with_wins
from processor.stream.intake import Intake, take_in
from processor.stream.live.batch import epoch_of, epochs_of
from processor.stream.live.epochs import DueValues
from processor.stream.live.kept import KEPT_COLUMNS
from processor.stream.live.limits import PRODUCTION, Limits
from processor.stream.live.refusals import RefusalsState, take_refusals
from processor.stream.live.sites import SiteRules
from processor.stream.live.snapshot import (
    copies_of,
    joined,
    kept_log_time,
    restore_kept,
    restored,
    restored_refusals,
    unpacked,
    waiting_of,
)
from processor.stream.live.state import LiveState
from processor.stream.live.step import RecordsOf, apply, placed, prepare
from processor.stream.spilled import SpillFiles
from processor.stream.stores import StreamStores, digest_of, new_rules, rules_of, wins_of

Heartbeat = Callable[[], None]
"""Sends a heartbeat for the log reader. Raises an error if the reader's partitions moved."""


@dataclass(slots=True)
class Recovered:
    """All partitions' states at their committed positions, and the values that must be written again.

    `kept` is how many kept hits from before the snapshots were read from the log again. `replayed` is how many hits
    after the snapshots were replayed. Both are 0 if each partition was handed over at its committed position.
    `changes_logic` is true if a partition changes its logic version. If `changes_logic` is true, the caller must save
    snapshots before it commits rows. Without snapshots of the new version, the next recovery would use the previous
    version for records whose rows the new version has emitted.
    """

    hits: dict[PartitionId, LiveState] = field(default_factory=dict)
    refusals: dict[PartitionId, RefusalsState] = field(default_factory=dict)
    due: list[DueValues] = field(default_factory=list)
    kept: int = 0
    replayed: int = 0
    changes_logic: bool = False


@dataclass(frozen=True, slots=True)
class _Task:
    """The arguments of `recover` that each partition's recovery needs, and the result so far."""

    stores: StreamStores
    cache: Path
    heartbeat: Heartbeat
    limits: Limits
    logic: Logic
    recovered: Recovered
    erased: ErasedVisitors | None = None

    def empty_state(self, partition: PartitionId) -> LiveState:
        """Return a hits partition's state before its first record."""
        return LiveState(partition, SpillFiles(self.cache).spill, self.limits, digest_of(self.stores.directory))


def recover(
    stores: StreamStores,
    committed: Mapping[Topic, Mapping[PartitionId, PartitionProgress]],
    cache: Path,
    heartbeat: Heartbeat = lambda: None,
    limits: Limits = PRODUCTION,
    logic: Logic = CURRENT,
    erased: ErasedVisitors | None = None,
) -> Recovered:
    """Return the states at the committed positions.

    Args:
        stores: the live stream's stores.
        committed: the committed progress for each partition that is to be recovered.
        cache: the local directory for kept hits.
        heartbeat: called for each partition and before each batch. A replay of tens of millions of hits takes minutes.
            During the replay, the reader is not polled.
        limits: the limits on the states' tables, and how many hits are read at once.
        logic: the logic version with which the stream continues.
        erased: the erased visitors, whose hits from before the erasure are left out.

    Raises:
        RetryError: a store is unavailable, or `heartbeat` raised because the reader's partitions moved.
        StoreCorrupt: a committed record does not decode.
    """
    task = _Task(stores, cache, heartbeat, limits, logic, Recovered(), erased)
    for partition, reached in committed.get(Topic.HITS, {}).items():
        task.heartbeat()
        with bound_to(partition=partition.partition):
            other = _other_logic(task, partition)
            state = (
                _hits_state(task, partition, reached)
                if other is None
                else _changed_state(task, other, partition, reached)
            )
        task.recovered.hits[partition] = state
    for partition, reached in committed.get(Topic.REJECTED, {}).items():
        task.heartbeat()
        task.recovered.refusals[partition] = _refusals_state(task, partition, reached)
    return task.recovered


def _hits_state(task: _Task, partition: PartitionId, committed: PartitionProgress) -> LiveState:
    """Return the state at the committed position."""
    stores, state = task.stores, task.empty_state(partition)
    found = _snapshot(task, partition, committed)
    if found is not None:
        manifest, tables = found
        state = restored(tables, partition, state.spill, state.limits, state.digest)
        state.sites.add(rules_of(stores.directory, state.sites.names, task.logic))
        if task.erased:
            purge(state, task.erased)  # the snapshot may contain hits that were erased later
        task.heartbeat()
        if not restore_kept(tables, state, partial(_erased_rows, task, state)):
            _read_kept(task, state, manifest, tables)
    # Since the snapshot, the stream may have divided the records into other steps than the replay does. All values that
    # the stream has stored since the snapshot are therefore overwritten.
    state.sums.all_changed()
    due = list(_replay(task, state, committed.next_offset))
    # If the log no longer has all records, replayed epochs may be incomplete, so the stored values are kept.
    task.recovered.due += due if found is not None or _is_whole(stores, partition) else []
    state.sums.all_changed()
    _reach(state, committed)
    return state


def _erased_rows(task: _Task, state: LiveState, rows: pl.DataFrame) -> BoolArray:
    return rows_of_erased(rows, state.sites.names, task.erased) if task.erased else np.zeros(rows.height, np.bool_)


def _read_kept(task: _Task, state: LiveState, manifest: SnapshotManifest, tables: Mapping[str, pl.DataFrame]) -> None:
    """Read the kept hits from before the snapshot from the log."""
    copies, waiting = copies_of(tables), waiting_of(tables)
    kept = task.stores.log_scan.read(state.partition, manifest.kept_from, state.next_offset, kept_log_time(tables))
    for records in _in_batches(kept, task):
        task.recovered.kept += _keep_again(task, state, records, copies, waiting)


def _other_logic(task: _Task, partition: PartitionId) -> Logic | None:
    """Return the last snapshot's logic version if it differs from the stream's version. Otherwise, return None."""
    others = (logic for logic in LOGICS if logic.number != task.logic.number)
    return next((logic for logic in others if task.stores.states.load(partition, logic.number) is not None), None)


def _changed_state(task: _Task, other: Logic, partition: PartitionId, committed: PartitionProgress) -> LiveState:
    """Return the state at the committed position, where the stream's version replaces the version `other`.

    The stream's version has built the visits in the returned state. The returned state's sums are the sums that `other`
    has emitted in the current epoch.
    """
    task.recovered.changes_logic = True
    before, state = _hits_state(replace(task, logic=other), partition, committed), task.empty_state(partition)
    for _ in _replay(task, state, committed.next_offset):
        pass  # the values of the replay are not stored, because `other` has emitted the rows
    state.sums = before.sums
    # If the log no longer has all records, the replay may end before the committed position.
    for name in ("next_offset", "log_time", "written"):
        setattr(state, name, max(getattr(state, name), getattr(before, name)))
    return state


def _snapshot(
    task: _Task, partition: PartitionId, committed: PartitionProgress
) -> tuple[SnapshotManifest, dict[str, pl.DataFrame]] | None:
    """Return the last snapshot, or None if the snapshot is missing or unusable.

    Without a snapshot, the whole log is replayed.
    """
    found = task.stores.states.load(partition, task.logic.number)
    if found is None or found[0].position.next_offset > committed.next_offset:
        return None
    try:
        return found[0], unpacked(joined(found[1]))
    except StoreCorrupt as error:
        logger().error("snapshot_not_used", partition=partition.partition, message=error.message)
        return None


def _is_whole(stores: StreamStores, partition: PartitionId) -> bool:
    whole = stores.log_scan.first_offset(partition) == 0
    if not whole:
        logger().warning("state_rebuilt_from_trimmed_log", partition=partition.partition)
    return whole


def _keep_again(
    task: _Task,
    state: LiveState,
    records: Sequence[LoggedRecord],
    copies: Mapping[int, I64Array],
    waiting: Mapping[int, I64Array],
) -> int:
    """Restore the kept hits from before a snapshot, and return how many hits were restored.

    According to the snapshot, the hits in `copies` are copies, and the hits in `waiting` wait for settlement.
    """
    intake = take_in(records, task.erased)
    known = placed(state, _records_of(intake, state.partition), _new_rules(task, state, intake))
    rows = known.rows.with_columns(_among(known.rows, copies).alias("is_copy"))
    known = replace(known, rows=rows)
    wins = wins_of({state.partition: known}, intake.claims, task.stores.claims)[state.partition]
    kept = with_wins(rows, wins).with_columns(_among(rows, waiting).alias("waits")).select(*KEPT_COLUMNS)
    kept = state.texts.again(kept, records[0].log_time)
    state.kept.add(kept, epoch_of(records[0].log_time))
    epochs = epochs_of(kept["log_time"].to_numpy())
    for epoch in np.unique(epochs).tolist():
        state.ids.add(known.ids[epochs == epoch], epoch)
    return kept.height


def _among(rows: pl.DataFrame, copies: Mapping[int, I64Array]) -> pl.Series:
    """Return whether each row is in `copies`. `copies` contains row numbers, keyed by record offset."""
    offsets, numbers = rows["offset"].to_numpy(), rows["row"].to_numpy()
    found = np.zeros(rows.height, np.bool_)
    for offset in np.unique(offsets).tolist():
        if offset in copies:
            of_record = offsets == offset
            found[of_record] = np.isin(numbers[of_record], copies[offset])
    return pl.Series(found)


def _replay(task: _Task, state: LiveState, end_offset: int) -> Iterator[DueValues]:
    """Replay the records from the state's position to `end_offset`, without emitting rows.

    Yield each ending epoch's values.
    """
    since = task.stores.log_scan.read(state.partition, state.next_offset, end_offset, state.log_time)
    for records in _in_batches(since, task):
        intake = take_in(records, task.erased)
        prepared = prepare(state, _records_of(intake, state.partition), _new_rules(task, state, intake))
        wins = wins_of({state.partition: prepared}, intake.claims, task.stores.claims)
        stepped = apply(state, prepared, wins[state.partition], is_redo=True)
        task.recovered.replayed += prepared.rows.height
        if stepped.due is not None:
            yield stepped.due


def _refusals_state(task: _Task, partition: PartitionId, committed: PartitionProgress) -> RefusalsState:
    """Return the state at the committed position.

    A snapshot from any logic version can be used, because refusals form no visits.
    """
    found = _snapshot(replace(task, logic=_other_logic(task, partition) or task.logic), partition, committed)
    digest = digest_of(task.stores.directory)
    state = RefusalsState(partition, digest=digest) if found is None else restored_refusals(found[1], partition, digest)
    since = task.stores.log_scan.read(partition, state.next_offset, committed.next_offset, state.log_time)
    for records in _in_batches(since, task):
        partition_intake = take_in(records).partitions[partition]
        stepped = take_refusals(state, partition_intake.ends, partition_intake.refused, partition_intake.siteless)
        if stepped.due is not None:
            task.recovered.due.append(stepped.due)
    state.sums.all_changed()
    _reach(state, committed)
    return state


def _reach(state: LiveState | RefusalsState, committed: PartitionProgress) -> None:
    """Move a state to the committed position, if the replay ended earlier.

    The replay ends earlier if the log has no record before the committed position that the stream reads: the stream
    began at a later position and its partition is quiet, or the log no longer has the records.
    """
    state.next_offset = max(state.next_offset, committed.next_offset)
    state.log_time = max(state.log_time, committed.log_time)


def _records_of(intake: Intake, partition: PartitionId) -> RecordsOf:
    partition_intake = intake.partitions[partition]
    return RecordsOf(partition_intake.ends, partition_intake.hits, partition_intake.siteless)


def _new_rules(task: _Task, state: LiveState, intake: Intake) -> Mapping[str, SiteRules]:
    return new_rules(task.stores.directory, state.sites, intake.partitions[state.partition].hits, task.logic)


def _in_batches(records: Iterator[LoggedRecord], task: _Task) -> Iterator[list[LoggedRecord]]:
    """Yield a partition's records in batches of bounded size. Each batch is from a single epoch.

    Send a heartbeat before each batch.
    """
    group: list[LoggedRecord] = []
    hits = 0
    for record in records:
        is_other_epoch = bool(group) and epoch_of(group[0].log_time) != epoch_of(record.log_time)
        if group and (is_other_epoch or hits + record.record.rows > task.limits.replay_hits):
            task.heartbeat()
            yield group
            group, hits = [], 0
        group.append(record)
        hits += record.record.rows
    if group:
        task.heartbeat()
        yield group
