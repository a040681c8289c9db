"""Spans of the collector: a frame, the micro-batch that admits the frame, and the appends of records to the log.

A frame's span is a child of the caller's span. Of a recorded stream, about one frame per second is recorded, because a
stream may send hundreds of frames per second, and would use up the process's traces. A micro-batch has a span if it
contains a frame that is recorded; its parent is the first such frame, and it links to the others. Each record carries
the context of its append's span, to which the span of the processor's window links.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import Final

from opentelemetry.trace import Span, SpanContext, SpanKind

from collector.outcome import BatchOutcome
from hitmesh.model.positions import LoggedPosition, Topic
from hitmesh.model.records import Record
from hitmesh.runtime.telemetry.trace_context import traceparent_of
from hitmesh.runtime.telemetry.traces import Traces, failed

FRAME: Final = "hitmesh.api.collector.v1.CollectorService/StreamHits frame"
MICRO_BATCH: Final = "micro-batch"
APPEND: Final = "append record"
FRAMES_S: Final = 1.0
"""Number of frames per second that are recorded of a stream."""


class FrameSpans:
    """Begins the spans of a stream's frames, in a single thread.

    Args:
        traces: begins spans.
        caller: the context in the metadata of the stream; None if there is none.
        per_s: maximum number of frames per second that are recorded.
        now_s: a monotonic clock, in seconds.
    """

    def __init__(
        self,
        traces: Traces,
        caller: SpanContext | None,
        per_s: float = FRAMES_S,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._traces, self._caller = traces, caller
        self._pause_s, self._now_s = 1.0 / per_s, now_s
        self._due_s = now_s()

    def begin(self, batch_seq: int, size: int) -> Span | None:
        """Begin the span of a frame; None if the frame is not recorded."""
        if not self._traces.is_on or (now_s := self._now_s()) < self._due_s:
            return None
        facts = {"hitmesh.batch_seq": batch_seq, "hitmesh.bytes": size}
        span = self._traces.begin(FRAME, SpanKind.SERVER, self._caller, facts)
        if span is not None:
            self._due_s = now_s + self._pause_s
        return span


def end_frame(span: Span | None, outcome: BatchOutcome) -> None:
    """End the span of a frame whose outcome is known."""
    if span is None:
        return
    span.set_attribute("hitmesh.accepted_hits", outcome.accepted)
    span.set_attribute("hitmesh.rejected_hits", outcome.rejected)
    span.set_attribute("hitmesh.must_retry", outcome.retry_s is not None)
    span.end()


class BatchSpans:
    """Begins the spans of micro-batches and appends. A call costs a comparison if no frame is recorded."""

    def __init__(self, traces: Traces) -> None:
        self._traces = traces

    def micro_batch(self, frames: Iterable[Span | None]) -> Span | None:
        """Begin the span of a micro-batch; None if none of its frames is recorded."""
        if not self._traces.is_on:
            return None
        causes = [span for span in frames if span is not None]
        return self._traces.follow(MICRO_BATCH, SpanKind.INTERNAL, causes, {"hitmesh.recorded_frames": len(causes)})

    def append(
        self, topic: Topic, partition: int, record: Record, micro_batches: Sequence[Span | None]
    ) -> tuple[Record, Span | None]:
        """Begin the span of an append, and return the record with the span's context."""
        causes = [span for span in micro_batches if span is not None]
        if not causes:
            return record, None
        facts = {
            "messaging.destination.name": topic.value,
            "messaging.destination.partition.id": str(partition),
            "hitmesh.rows": record.rows,
            "hitmesh.bytes": len(record.value),
        }
        span = self._traces.follow(APPEND, SpanKind.PRODUCER, causes, facts)
        return (record, None) if span is None else (replace(record, trace=traceparent_of(span)), span)


def end_append(span: Span | None, appended: Future[LoggedPosition]) -> None:
    """End the span of an append that succeeded or failed."""
    if span is None:
        return
    error = appended.exception()
    if error is not None:
        failed(span, error)
    else:
        span.set_attribute("messaging.kafka.offset", appended.result().position.offset)
    span.end()
