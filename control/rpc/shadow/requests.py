"""Change the stream table on behalf of a caller.

While a request runs, the processor and other callers may change the stream table.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Final

from google.protobuf.duration_pb2 import Duration

from control.backend import Backend, Bookkeeping
from hitmesh.access.callers import Caller
from hitmesh.api.control.v1 import shadow_pb2 as pb
from hitmesh.model.closing import first_open_day
from hitmesh.model.days import day_message
from hitmesh.model.errors import RefusedError, Unavailable
from hitmesh.model.logic import Logic
from hitmesh.model.positions import PartitionId, PartitionProgress, Topic
from hitmesh.model.reasons import ErrorReason
from hitmesh.model.streams import CAUGHT_UP_MS, Progress, ShadowState, Stream, StreamTable, lag_ms, reads_from
from hitmesh.runtime.rpc_values import timestamp

INGESTED_WITHIN_S: Final = 10.0
"""Maximum time in seconds that a call waits for Druid's first progress marks.

By default, a progress mark is used only after the mark has been visible on Druid for 5 s.
"""
_LOOK_EVERY_S: Final = 0.1
_ATTEMPTS: Final = 5
_STATES: Final = {
    ShadowState.RUNNING: pb.SHADOW_STREAM_STATE_RUNNING,
    ShadowState.PUBLISHED: pb.SHADOW_STREAM_STATE_PUBLISHED,
    ShadowState.ADOPTING: pb.SHADOW_STREAM_STATE_ADOPTING,
}


def answer_change(
    backend: Backend, caller: Caller | None, change: Callable[[StreamTable], StreamTable]
) -> pb.ShadowStream:
    """Change the stream table on behalf of the caller, and return the shadow stream as a message.

    `change` returns its argument if the table needs no change.

    Raises:
        RefusedError: raised by `change`.
        Unavailable: other callers or the processor changed the table at every attempt.
    """
    books = backend.bookkeeping()
    for _ in range(_ATTEMPTS):
        table = books.streams.read()
        changed = change(table)
        if changed is table or books.streams.replace(changed):
            return shadow_message(books, changed)
    raise Unavailable("at every attempt, another caller or the processor changed the shadow stream first: call again")


def new_stream(books: Bookkeeping, table: StreamTable, logic: Logic) -> Stream:
    """Return a stream that begins with the first day that is not closed.

    Raises:
        RefusedError: the log no longer has the records from which the stream must begin (WRONG_STATE).
    """
    live = books.stream(table.live.generation, is_shadow=False)
    hits, flushed = live.progress.progress(Topic.HITS), live.series.flushed()
    first_day = first_open_day(min((flushed[at].log_time if at in flushed else 0 for at in hits), default=0))
    began = reads_from(first_day)
    starts: dict[PartitionId, int] = {}
    for partition in (*hits, *live.progress.progress(Topic.REJECTED)):
        first = books.log_scan.first_offset(partition)
        starts[partition] = max(first, books.log_scan.offset_at(partition, began) if began else 0)
        if partition in hits and 0 < first == starts[partition]:
            raise _trimmed(partition)
    return Stream(table.newest - 1, first_day, starts, logic.name)


def shadow_message(books: Bookkeeping, table: StreamTable) -> pb.ShadowStream:
    """Return the shadow stream as a message.

    Without a shadow stream, the message has the state UNSPECIFIED.
    """
    shadow = table.shadow
    if shadow is None:
        return pb.ShadowStream()
    behind_ms = shadow_lag_ms(books, table)
    return pb.ShadowStream(
        state=_STATES[shadow.state],
        logic=shadow.stream.logic,
        live_logic=shadow.stream.replaces,
        first_utc_date=day_message(shadow.stream.first_day),
        start_time=timestamp(shadow.started_at),
        state_time=timestamp(shadow.changed_at),
        lag=_duration(behind_ms),
        caught_up=behind_ms <= CAUGHT_UP_MS and bool(shadow.stream.replaces),
    )


def shadow_lag_ms(books: Bookkeeping, table: StreamTable, *, wait_s: float = INGESTED_WITHIN_S) -> int:
    """Return the shadow stream's lag behind the live stream, in log time.

    The lag is the largest lag of the stores.

    A process needs some seconds to find Druid's progress marks for the first time. If only the progress marks are
    unknown, this function waits for the marks, at most `wait_s` seconds.
    """
    if table.shadow is None:
        return 0
    store = books.stream(table.shadow.stream.generation, is_shadow=True)
    live = books.progress.progress(Topic.HITS)
    began = reads_from(table.shadow.stream.first_day)

    def behind_ms(reached: Progress) -> int:
        return lag_ms(live, _since(began, reached, live))

    written_ms = max(map(behind_ms, (store.progress.progress(Topic.HITS), store.series.flushed())))
    ends = time.monotonic() + wait_s
    while True:
        ingested = store.ingested_through()
        ingested_ms = behind_ms(ingested)
        is_known = any(reached.next_offset for reached in ingested.values())
        if is_known or max(ingested_ms, written_ms) == written_ms or time.monotonic() >= ends:
            return max(ingested_ms, written_ms)
        time.sleep(_LOOK_EVERY_S)


def refuse_state(table: StreamTable, action: str, cure: str) -> RefusedError:
    """Return the error for a change that the shadow stream's state does not allow."""
    state = "there is no shadow stream" if table.shadow is None else f"the shadow stream is {table.shadow.state}"
    return RefusedError(
        f"{state}: {action} is not possible; {cure}", reason=ErrorReason.WRONG_STATE, state=state, work=action
    )


def refuse_behind(books: Bookkeeping, table: StreamTable, action: str) -> None:
    """Refuse a change until the shadow stream has caught up.

    Raises:
        RefusedError: the shadow stream has not caught up (WRONG_STATE).
    """
    if table.shadow is not None and not table.shadow.stream.replaces:
        raise RefusedError(
            f"the processor has not begun to run the shadow stream: {action} is not possible yet; try again in some "
            "seconds",
            reason=ErrorReason.WRONG_STATE,
            state=f"the shadow stream is {table.shadow.state}",
            work=action,
        )
    behind_ms = shadow_lag_ms(books, table)
    if behind_ms > CAUGHT_UP_MS:
        raise RefusedError(
            f"the shadow stream is {behind_ms // 1_000:,} s behind the live stream: {action} is possible once it is "
            f"at most {CAUGHT_UP_MS // 1_000} s behind",
            reason=ErrorReason.WRONG_STATE,
            count=behind_ms // 1_000,
            limit=CAUGHT_UP_MS // 1_000,
            work=action,
        )


def _duration(ms: int) -> Duration:
    message = Duration()
    message.FromMilliseconds(ms)
    return message


def _since(began: int, reached: Progress, declared: Iterable[PartitionId]) -> Progress:
    """Return the progress in the declared partitions; a partition without records has the log time `began`."""
    found = {partition: reached.get(partition, PartitionProgress(0, 0)) for partition in declared}
    return {at: PartitionProgress(each.next_offset, max(each.log_time, began)) for at, each in found.items()}


def _trimmed(partition: PartitionId) -> RefusedError:
    return RefusedError(
        f"the log of partition {partition.partition} no longer has all hits since the day before the first open day, "
        "so a shadow stream would lack visits: keep the log longer (HITMESH_PROCESSOR_KEEP_LOG_DAYS), and start the "
        "shadow stream once the log has these days",
        reason=ErrorReason.WRONG_STATE,
        partition=partition.partition,
    )
