"""Spans of a process: whether a span is recorded, and the span in which a thread works.

A span is begun per call, frame, micro-batch, record and window, but never per hit. If nothing is recorded, `begin`
returns None, so that an untraced frame costs a comparison. Nothing here sends spans (`otlp`).
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from opentelemetry.context import Context
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    StatusCode,
    Tracer,
    format_trace_id,
    set_span_in_context,
)
from structlog.contextvars import bind_contextvars, unbind_contextvars

from hitmesh.model.errors import Abandoned, RefusedError

MAX_LINKS: Final = 32
"""Maximum number of links of a span. A window may contain records of thousands of frames."""

Attributes = Mapping[str, str | int | float | bool]


class Traces:
    """Decides which traces are recorded, and begins spans. Thread-safe.

    A trace with a parent is recorded if the parent is recorded; a trace without a parent is recorded with the
    probability `ratio`. Above `per_s` traces a second, nothing further is recorded, because any client may mark all its
    calls as recorded.

    Args:
        tracer: makes the spans; None if the process records no traces.
        ratio: the share of traces without a parent that are recorded.
        per_s: maximum number of traces per second that this process begins or continues for a remote parent.
        randomly: returns a number in [0, 1).
        now_s: a monotonic clock, in seconds.
    """

    def __init__(
        self,
        tracer: Tracer | None = None,
        ratio: float = 0.0,
        per_s: float = 0.0,
        *,
        randomly: Callable[[], float] = random.random,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tracer, self._ratio, self._per_s = tracer, ratio, per_s
        self._randomly, self._now_s = randomly, now_s
        self._lock = threading.Lock()
        self._left, self._filled_s = per_s, now_s()

    @property
    def is_on(self) -> bool:
        """Whether this process records any traces."""
        return self._tracer is not None

    def begin(
        self, name: str, kind: SpanKind, parent: SpanContext | None, attributes: Attributes | None = None
    ) -> Span | None:
        """Begin the first span of this process in a trace; None if the trace is not recorded. The caller ends the span.

        Args:
            name: a name with few different values.
            kind: the span's role.
            parent: the context that the caller of this process sent; None if there is none.
            attributes: facts about the span; no payloads and no texts of clients.
        """
        if self._tracer is None:
            return None
        wanted = parent.trace_flags.sampled if parent is not None else self._randomly() < self._ratio
        if not wanted or not self._takes():
            return None
        within = Context() if parent is None else set_span_in_context(NonRecordingSpan(parent), Context())
        return self._tracer.start_span(name, within, kind, attributes=dict(attributes or {}))

    def follow(
        self,
        name: str,
        kind: SpanKind,
        causes: Sequence[Span | SpanContext],
        attributes: Attributes | None = None,
        start_ns: int | None = None,
    ) -> Span | None:
        """Begin a span that several spans cause; None without a cause.

        If the first cause is a span of this process, this span is the parent, and the other causes become links. All
        remote causes become links, and the span begins a trace.
        """
        if self._tracer is None or not causes:
            return None
        contexts = [cause.get_span_context() if isinstance(cause, Span) else cause for cause in causes]
        is_local = isinstance(causes[0], Span)
        within = set_span_in_context(causes[0], Context()) if isinstance(causes[0], Span) else Context()
        others = {(each.trace_id, each.span_id): each for each in (contexts[1:] if is_local else contexts)}
        links = list(others.values())[:MAX_LINKS]
        facts = dict(attributes or {})
        return self._tracer.start_span(
            name, within, kind, facts, links=[Link(context) for context in links], start_time=start_ns
        )

    def _takes(self) -> bool:
        """Take a trace from the budget of this second."""
        with self._lock:
            now_s = self._now_s()
            self._left = min(self._per_s, self._left + (now_s - self._filled_s) * self._per_s)
            self._filled_s = now_s
            if self._left < 1:
                return False
            self._left -= 1
            return True


_ACTIVE: Final[ContextVar[tuple[Traces, Span] | None]] = ContextVar("hitmesh_span", default=None)


def _is_no_refusal(error: BaseException) -> bool:
    return not isinstance(error, RefusedError)


@contextmanager
def active(
    traces: Traces, span: Span | None, is_fault: Callable[[BaseException], bool] = _is_no_refusal
) -> Iterator[None]:
    """Make a span the active span of this thread, and end the span at the end; do nothing without a span.

    Log lines of this thread then have `trace_id`. An error marks the span as failed if `is_fault` is true for the
    error, by default for every error that is no refusal. An abandoned call (GeneratorExit, Abandoned) is no fault.
    """
    if span is None:
        yield
        return
    before = _ACTIVE.get()
    _ACTIVE.set((traces, span))
    bind_contextvars(trace_id=format_trace_id(span.get_span_context().trace_id))
    try:
        yield
    except (GeneratorExit, Abandoned):
        raise
    except BaseException as error:
        if is_fault(error):
            failed(span, error)
        raise
    finally:
        _ACTIVE.set(before)
        if before is None:
            unbind_contextvars("trace_id")
        span.end()


def active_span() -> Span | None:
    """Return the active span of this thread."""
    found = _ACTIVE.get()
    return None if found is None else found[1]


@contextmanager
def step(name: str, attributes: Attributes, kind: SpanKind = SpanKind.CLIENT) -> Iterator[None]:
    """Record a part of the active span's work, such as a call of a store. Without an active span, do nothing."""
    found = _ACTIVE.get()
    if found is None:
        yield
        return
    traces, parent = found
    with active(traces, traces.follow(name, kind, [parent], attributes)):
        yield


def failed(span: Span, error: BaseException) -> None:
    """Mark a span as failed, with the type of the error. The error's message may quote a client's data."""
    span.set_attribute("error.type", type(error).__name__)
    span.set_status(StatusCode.ERROR)
