"""Saves the states of a runner's partitions: periodically, and before other processors take the partitions (0124)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from hitmesh.model.errors import HitmeshError
from hitmesh.model.logic import Logic
from hitmesh.model.positions import PartitionId
from hitmesh.ports import StateStore
from hitmesh.runtime.logs import logger, traceback_of
from processor.any_error import ANY_ERROR
from processor.stream.live.limits import Limits
from processor.stream.live.refusals import RefusalsState
from processor.stream.live.state import LiveState
from processor.stream.metering import StreamMeter
from processor.stream.snapshots import save_snapshot

State = LiveState | RefusalsState


@dataclass(frozen=True, slots=True)
class HandedOver:
    """The partitions that were handed over, and the partitions that were left out."""

    handed: tuple[PartitionId, ...]
    left_out: tuple[PartitionId, ...]


class StateSaver:
    """Saves snapshots, and never stores a snapshot twice under the same writer and position.

    Args:
        states: the snapshot store.
        limits: the maximum size of a chunk, and the maximum of kept hits in a snapshot.
        logic: the logic version that builds the states.
        meter: records sizes and times.
    """

    def __init__(self, states: StateStore, limits: Limits, logic: Logic, meter: StreamMeter) -> None:
        self._states = states
        self._limits = limits
        self._logic = logic
        self._meter = meter
        self._saved: dict[PartitionId, tuple[int, int, bool]] = {}

    def save(self, state: State, writer: int, *, with_kept: bool = False) -> bool:
        """Save a state at a committed position. Return whether the store has a snapshot at this position.

        Args:
            state: the state.
            writer: the writer's number.
            with_kept: whether the snapshot includes the kept hits, if there are not too many.

        Raises:
            RetryError: the store is unavailable.
        """
        if self._is_saved(state, writer):
            return True
        has_kept = with_kept and self._may_have_kept(state)
        chunk_bytes, meter = self._limits.chunk_bytes, self._meter
        is_taken = save_snapshot(
            self._states, state, writer, self._logic, chunk_bytes=chunk_bytes, meter=meter, with_kept=has_kept
        )
        if is_taken:
            self._saved[state.partition] = writer, state.next_offset, has_kept
        return is_taken

    def lacks_kept(self, states: Iterable[State], writer: int) -> bool:
        """Return whether a state was saved at its present position without the kept hits that a hand-over has.

        A hand-over then needs a new writer number, because a visible snapshot is never changed.
        """
        return any(
            self._is_saved(state, writer) and self._may_have_kept(state) and not self._saved[state.partition][2]
            for state in states
        )

    def _is_saved(self, state: State, writer: int) -> bool:
        return self._saved.get(state.partition, ())[:2] == (writer, state.next_offset)

    def _may_have_kept(self, state: State) -> bool:
        return isinstance(state, LiveState) and len(state.kept) <= self._limits.handed_hits


def hand_over_within(
    within_s: float,
    states: Iterable[State],
    save: Callable[[State, bool], bool],
    now_s: Callable[[], float] = time.monotonic,
) -> HandedOver:
    """Save the states for their next owners, in bounded time.

    Args:
        within_s: after this time in seconds, states are saved without kept hits; after twice this time, no state.
        states: the states at their committed positions.
        save: saves a state, with its kept hits if the second argument is true. Returns whether the state was saved.
        now_s: a monotonic clock, in seconds.
    """
    began_s = now_s()
    done: dict[PartitionId, bool] = {}
    for state in states:
        took_s = now_s() - began_s
        done[state.partition] = took_s < 2 * within_s and save(state, took_s < within_s)
    return HandedOver(
        tuple(partition for partition, is_saved in done.items() if is_saved),
        tuple(partition for partition, is_saved in done.items() if not is_saved),
    )


def log_hand_over(hand_over: Callable[[], HandedOver]) -> None:
    """Run a hand-over and log its result. An error is logged and not raised, because the partitions move anyway."""
    began_s = time.monotonic()
    try:
        done = hand_over()
    except HitmeshError as error:
        logger().warning("not_handed_over", reason=error.reason, message=error.message)
    except ANY_ERROR as error:
        logger().error("not_handed_over", traceback=traceback_of(error))
    else:
        took_ms = round((time.monotonic() - began_s) * 1_000)
        if done.handed:
            logger().info("handed_over", partitions=len(done.handed), took_ms=took_ms)
        if done.left_out:
            logger().warning("not_handed_over", partitions=list(map(str, done.left_out)), took_ms=took_ms)
