"""Reads and writes the trace context of a call or a record, in the format of W3C Trace Context.

A context comes from clients. A malformed or oversized context is therefore ignored, and its text is never logged.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from opentelemetry.trace import (
    INVALID_SPAN_ID,
    INVALID_TRACE_ID,
    Span,
    SpanContext,
    TraceFlags,
    format_span_id,
    format_trace_id,
)
from opentelemetry.trace.span import TraceState

TRACEPARENT: Final = "traceparent"
TRACESTATE: Final = "tracestate"
MAX_STATE_CHARS: Final = 512
"""A longer `tracestate` is ignored. W3C asks vendors to pass on at least this number of characters."""
MAX_STATE_MEMBERS: Final = 32
# A later version may append fields. All versions have the fields of version 00.
_PARENT: Final = re.compile(r"(?!ff)([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-[ -~]{0,64})?")
_MEMBER: Final = re.compile(r"([a-z0-9][a-z0-9_*/@-]{0,255})=([ -+\--<>-~]{0,255}[!-+\--<>-~])")


def parsed(traceparent: str, tracestate: str = "") -> SpanContext | None:
    """Return the context of a remote span, or None if `traceparent` is malformed.

    A malformed `tracestate` is ignored.
    """
    fields = _PARENT.fullmatch(traceparent)
    if fields is None or (fields[1] == "00" and fields[5]):
        return None
    trace_id, span_id = int(fields[2], 16), int(fields[3], 16)
    if trace_id == INVALID_TRACE_ID or span_id == INVALID_SPAN_ID:
        return None
    flags = TraceFlags(int(fields[4], 16) & TraceFlags.SAMPLED)
    return SpanContext(trace_id, span_id, is_remote=True, trace_flags=flags, trace_state=_state(tracestate))


def _state(text: str) -> TraceState:
    if not text or len(text) > MAX_STATE_CHARS:
        return TraceState()
    members = [_MEMBER.fullmatch(member.strip(" \t")) for member in text.split(",")]
    pairs = [(member[1], member[2]) for member in members if member]
    is_sound = len(pairs) == len(members) == len(dict(pairs)) <= MAX_STATE_MEMBERS
    return TraceState(pairs) if is_sound else TraceState()


def context_in(metadata: Iterable[tuple[str, str | bytes]]) -> SpanContext | None:
    """Return the context in a call's metadata; None if the context is missing, malformed or ambiguous."""
    parents = [value for name, value in metadata if name == TRACEPARENT]
    if len(parents) != 1 or not isinstance(parents[0], str):
        return None
    states = [value for name, value in metadata if name == TRACESTATE]
    return parsed(parents[0], ",".join(value for value in states if isinstance(value, str)))


def traceparent_of(span: Span | None) -> str:
    """Return the context of a span as `traceparent`, or "" without a span."""
    if span is None:
        return ""
    context = span.get_span_context()
    flags = context.trace_flags & TraceFlags.SAMPLED
    return f"00-{format_trace_id(context.trace_id)}-{format_span_id(context.span_id)}-{flags:02x}"
