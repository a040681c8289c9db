"""Saves a partition's state in the last two steps of a commit (journey step 6). `recovery` loads the saved states."""

from __future__ import annotations

import time

from hitmesh.model.logic import Logic
from hitmesh.model.stream_values import SnapshotManifest
from hitmesh.ports import StateStore
from hitmesh.runtime.logs import logger
from processor.stream.commit import CommitStep
from processor.stream.live.refusals import RefusalsState
from processor.stream.live.snapshot import chunked, kept_tables, packed, refusals_tables, state_tables
from processor.stream.live.state import LiveState
from processor.stream.metering import StreamMeter


def save_snapshot(
    states: StateStore,
    state: LiveState | RefusalsState,
    writer: int,
    logic: Logic,
    *,
    chunk_bytes: int,
    meter: StreamMeter,
    with_kept: bool = False,
) -> bool:
    """Store a state's chunks, then the manifest, which makes the snapshot visible to readers.

    Return whether the snapshot became visible: a snapshot of a later writer stays.

    Args:
        states: the snapshot store.
        state: the state at a committed position.
        writer: the writer's number. A snapshot never replaces a snapshot of a later writer.
        logic: the logic version that built the state.
        chunk_bytes: a chunk's maximum size.
        with_kept: whether the snapshot includes the kept hits.
        meter: records the two commit steps (chunks, manifest), the snapshot's size, and the time in seconds.

    Raises:
        RetryError: the store is unavailable.
    """
    kept_from = state.kept.first_offset() if isinstance(state, LiveState) else None
    tables = state_tables(state) if isinstance(state, LiveState) else refusals_tables(state)
    if with_kept and isinstance(state, LiveState):
        tables |= kept_tables(state)
    began = time.perf_counter()
    chunks = chunked(packed(tables), chunk_bytes)
    states.save_chunks(state.partition, writer, state.next_offset, chunks)
    meter.reached(CommitStep.CHUNKS)
    manifest = SnapshotManifest(
        partition=state.partition,
        writer=writer,
        position=state.position,
        logic_version=logic.number,
        kept_from=state.next_offset if kept_from is None else kept_from,
        chunks=len(chunks),
    )
    is_taken = states.save_manifest(manifest)
    if not is_taken:
        logger().warning("snapshot_not_newest", partition=state.partition.partition, offset=state.next_offset)
    meter.reached(CommitStep.MANIFEST)
    meter.saved(sum(map(len, chunks)), time.perf_counter() - began)
    return is_taken
