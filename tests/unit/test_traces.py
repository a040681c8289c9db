"""Test which traces are recorded, which contexts of clients are accepted, and how spans are connected."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import grpc
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind, StatusCode

from collector.tracing import FrameSpans
from hitmesh.model.errors import Abandoned, RefusedError
from hitmesh.runtime.telemetry.call_traces import CallTracer
from hitmesh.runtime.telemetry.labels import FAULTS
from hitmesh.runtime.telemetry.trace_context import (
    MAX_STATE_CHARS,
    MAX_STATE_MEMBERS,
    context_in,
    parsed,
    traceparent_of,
)
from hitmesh.runtime.telemetry.traces import MAX_LINKS, Traces, active, active_span, step
from tests.support.tracing import Traced

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED = f"00-{TRACE}-{SPAN}-01"
UNSAMPLED = f"00-{TRACE}-{SPAN}-00"


@pytest.fixture
def traced() -> Traced:
    return Traced()


# ------------------------------------------------------------------------------------------------------- the context


@pytest.mark.parametrize("text", [SAMPLED, UNSAMPLED, f"01-{TRACE}-{SPAN}-01-later", f"00-{TRACE}-{SPAN}-ff"])
def test_context_of_a_client_is_read(text: str) -> None:
    context = parsed(text)
    assert context is not None
    assert (f"{context.trace_id:032x}", f"{context.span_id:016x}") == (TRACE, SPAN)
    assert context.is_remote
    assert context.trace_flags.sampled == (text != UNSAMPLED)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "00",
        SAMPLED.upper(),
        f" {SAMPLED}",
        f"{SAMPLED}\n",
        f"{SAMPLED}-more",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}0-{SPAN}-01",
        f"00-{TRACE[:-1]}é-{SPAN}-01",
        f"01-{TRACE}-{SPAN}-01-{'x' * 10_000}",
        "x" * 1_000_000,
    ],
)
def test_malformed_context_is_ignored(text: str) -> None:
    assert parsed(text) is None


@given(st.text(), st.text())
def test_no_text_raises_an_error(traceparent: str, tracestate: str) -> None:
    parsed(traceparent, tracestate)
    context = parsed(SAMPLED, tracestate)
    assert context is not None
    assert len(context.trace_state.to_header()) <= MAX_STATE_CHARS


def test_state_of_other_vendors_is_kept_and_a_malformed_or_long_state_is_ignored() -> None:
    def state(text: str) -> dict[str, str]:
        context = parsed(SAMPLED, text)
        assert context is not None
        return dict(context.trace_state)

    assert state("rojo=00f067aa0ba902b7, congo@x=t61rcWkgMzE") == {"rojo": "00f067aa0ba902b7", "congo@x": "t61rcWkgMzE"}
    assert state("rojo") == state("a=1,a=2") == state("a=\x00") == state("A=1") == {}
    assert state(",".join(f"a{number}=1" for number in range(MAX_STATE_MEMBERS + 1))) == {}
    assert state(f"a={'x' * MAX_STATE_CHARS}") == {}


def test_metadata_with_two_contexts_or_bytes_has_no_context() -> None:
    assert context_in([("traceparent", SAMPLED), ("tracestate", "a=1"), ("other", b"")]) is not None
    assert context_in([("traceparent", SAMPLED), ("traceparent", UNSAMPLED)]) is None
    assert context_in([("traceparent", b"00")]) is None
    assert context_in([]) is None


def test_context_that_is_written_is_the_context_that_is_read(traced: Traced) -> None:
    span = traced.traces.begin("call", SpanKind.SERVER, None)
    assert span is not None
    assert traceparent_of(span).endswith("-01"), "version 00 defines only this flag"
    context = parsed(traceparent_of(span))
    assert context is not None
    assert (context.trace_id, context.span_id) == (span.get_span_context().trace_id, span.get_span_context().span_id)
    assert context.trace_flags.sampled
    assert traceparent_of(None) == ""


# ------------------------------------------------------------------------------------------------ what is recorded


def test_process_without_tracer_records_nothing() -> None:
    traces = Traces()
    assert not traces.is_on
    assert traces.begin("call", SpanKind.SERVER, parsed(SAMPLED)) is None
    assert active_span() is None
    with step("read store", {}):
        assert active_span() is None


def test_caller_decides_and_without_a_caller_the_ratio_decides() -> None:
    draws = iter([0.0, 0.009, 0.01, 0.5])
    traced = Traced(ratio=0.01, randomly=lambda: next(draws))
    assert traced.traces.begin("call", SpanKind.SERVER, parsed(SAMPLED)) is not None
    assert traced.traces.begin("call", SpanKind.SERVER, parsed(UNSAMPLED)) is None
    recorded = [traced.traces.begin("call", SpanKind.SERVER, None) is not None for _ in range(4)]
    assert recorded == [True, True, False, False]


def test_clients_that_record_every_call_are_recorded_at_a_limited_rate() -> None:
    now_s = [0.0]
    traced = Traced(per_s=5.0, now_s=lambda: now_s[0])

    def recorded() -> int:
        calls = [traced.traces.begin("call", SpanKind.SERVER, parsed(SAMPLED)) for _ in range(100)]
        return sum(call is not None for call in calls)

    assert recorded() == 5
    assert recorded() == 0
    now_s[0] = 60.0
    assert recorded() == 5


# ------------------------------------------------------------------------------------------------------------ spans


def by_name(traced: Traced) -> dict[str, ReadableSpan]:
    return {span.name: span for span in traced.ended}


def test_steps_are_children_of_the_call_and_of_each_other(traced: Traced) -> None:
    call = traced.traces.begin("call", SpanKind.SERVER, parsed(SAMPLED, "a=1"))
    with active(traced.traces, call), step("outer", {"hitmesh.store": "s"}), step("inner", {}):
        pass
    spans = by_name(traced)
    assert {f"{span.context.trace_id:032x}" for span in spans.values()} == {TRACE}
    parents = {name: f"{span.parent.span_id:016x}" for name, span in spans.items() if span.parent}
    ids = {name: f"{span.context.span_id:016x}" for name, span in spans.items()}
    assert parents == {"call": SPAN, "outer": ids["call"], "inner": ids["outer"]}
    assert dict(spans["outer"].attributes or {}) == {"hitmesh.store": "s"}
    assert active_span() is None


def test_log_lines_of_a_recorded_call_have_the_id_of_the_trace(traced: Traced) -> None:
    call = traced.traces.begin("call", SpanKind.SERVER, parsed(SAMPLED))
    with active(traced.traces, call):
        with step("inner", {}):
            pass
        assert structlog.contextvars.get_contextvars()["trace_id"] == TRACE
    assert "trace_id" not in structlog.contextvars.get_contextvars()


def test_failed_step_names_the_error_and_no_text_of_it(traced: Traced) -> None:
    call = traced.traces.begin("call", SpanKind.SERVER, parsed(SAMPLED))
    with pytest.raises(ValueError, match="secret"), active(traced.traces, call), step("read", {}):
        raise ValueError("secret of a client")
    read = by_name(traced)["read"]
    assert read.status.status_code is StatusCode.ERROR
    assert dict(read.attributes or {}) == {"error.type": "ValueError"}
    assert not read.events


@pytest.mark.parametrize("error", [GeneratorExit(), Abandoned("gone"), RefusedError("a wrong question")])
def test_error_of_the_caller_is_no_failure_of_the_step(traced: Traced, error: BaseException) -> None:
    call = traced.traces.begin("call", SpanKind.SERVER, None)
    with pytest.raises(type(error)), active(traced.traces, call), step("read", {}):
        raise error
    assert [span.status.status_code for span in traced.ended] == [StatusCode.UNSET] * 2


class _Context:
    """A call whose status has been set, as `abort` sets the status."""

    def __init__(self, code: grpc.StatusCode | None) -> None:
        self._code = code

    def code(self) -> grpc.StatusCode | None:
        return self._code


@pytest.mark.parametrize("code", [None, *(code for code in grpc.StatusCode if code is not grpc.StatusCode.OK)])
def test_call_is_failed_only_if_the_mesh_is_the_cause(traced: Traced, code: grpc.StatusCode | None) -> None:
    def refuse(request: object, context: object) -> None:
        raise ZeroDivisionError

    details = SimpleNamespace(method="/hitmesh.api.X/Y", invocation_metadata=())
    handler: Any = CallTracer(traced.traces).intercept_service(
        lambda _: grpc.unary_unary_rpc_method_handler(refuse), cast(Any, details)
    )
    with pytest.raises(ZeroDivisionError):
        handler.unary_unary(None, _Context(code))
    (call,) = traced.ended
    is_fault = code is None or code.name in FAULTS
    assert (call.status.status_code is StatusCode.ERROR) == is_fault


def test_stream_records_about_one_frame_per_second_and_leaves_traces_to_others() -> None:
    now_s = [0.0]
    traced = Traced(per_s=5.0, now_s=lambda: now_s[0])
    frames = FrameSpans(traced.traces, parsed(SAMPLED), now_s=lambda: now_s[0])
    recorded = []
    for tick in range(1_000):
        now_s[0] = tick / 100
        if frames.begin(tick, 100) is not None:
            recorded.append(tick)
    assert recorded == list(range(0, 1_000, 100))
    others = [traced.traces.begin("call", SpanKind.SERVER, parsed(SAMPLED)) for _ in range(10)]
    assert sum(other is not None for other in others) >= 4


def test_span_with_several_local_causes_has_the_first_as_parent_and_links_to_the_others(traced: Traced) -> None:
    causes = [span for _ in range(3) if (span := traced.traces.begin("frame", SpanKind.SERVER, None)) is not None]
    batch = traced.traces.follow("batch", SpanKind.INTERNAL, causes)
    assert batch is not None
    batch.end()
    (ended,) = traced.ended
    assert ended.parent == causes[0].get_span_context()
    assert [link.context for link in ended.links] == [cause.get_span_context() for cause in causes[1:]]


def test_span_with_remote_causes_begins_a_trace_with_a_bounded_number_of_links(traced: Traced) -> None:
    contexts = [parsed(f"00-{TRACE}-{number:016x}-01") for number in range(1, 100)]
    causes = [context for context in contexts if context is not None]
    window = traced.traces.follow("window", SpanKind.CONSUMER, [causes[0], *causes])
    assert window is not None
    window.end()
    (ended,) = traced.ended
    assert ended.parent is None
    assert [link.context.span_id for link in ended.links] == [*range(1, MAX_LINKS + 1)]
    assert traced.traces.follow("window", SpanKind.CONSUMER, []) is None
