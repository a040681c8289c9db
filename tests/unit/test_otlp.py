"""Test the exporters: a collector that is away stops nothing, and what waits at the end is sent within a deadline."""

from __future__ import annotations

import logging
import time

import pytest
import structlog
from opentelemetry.trace import SpanKind

from hitmesh.runtime.telemetry.exposition import open_telemetry
from hitmesh.runtime.telemetry.labels import Part
from hitmesh.runtime.telemetry.otlp import CLOSE_WITHIN_S, QUEUED_SPANS, LibraryLines, Otlp
from hitmesh.runtime.telemetry.registry import PROCESSOR_KEPT_HITS
from hitmesh.tools.dev import tcp_ports
from tests.support.otlp_receiver import OtlpReceiver
from tests.support.patience import patient


def otlp(port: int) -> Otlp:
    return Otlp(f"http://{tcp_ports.HOST}:{port}", "node-1", 3_600.0, 1.0, 1e6)


@pytest.mark.timeout(60)
def test_last_spans_and_metrics_are_sent_at_the_end() -> None:
    with OtlpReceiver() as receiver:
        telemetry = open_telemetry(Part.PROCESSOR, "", otlp=otlp(receiver.port))
        span = telemetry.metrics.traces.begin("window", SpanKind.CONSUMER, None)
        assert span is not None
        span.end()
        telemetry.metrics.set(PROCESSOR_KEPT_HITS, 7)
        telemetry.close()
        telemetry.close()
        (sent,) = receiver.spans
        assert (sent.service, sent.node, sent.name) == ("hitmesh-processor", "node-1", "window")
        names = receiver.metrics("hitmesh-processor")
        assert {"hitmesh_processor_kept_hits", "hitmesh_build_info", "hitmesh_processor_hits"} <= names


@pytest.mark.timeout(60)
def test_collector_that_is_away_stops_no_span_and_delays_no_end() -> None:
    with structlog.testing.capture_logs():
        telemetry = open_telemetry(Part.PROCESSOR, "", otlp=otlp(tcp_ports.any_free(1)[0]))
        traces = telemetry.metrics.traces
        began_s = time.monotonic()
        for _ in range(2 * QUEUED_SPANS):
            span = traces.begin("frame", SpanKind.SERVER, None)
            assert span is not None
            span.end()
        assert time.monotonic() - began_s < patient(10.0), "no span waits for the collector"
        began_s = time.monotonic()
        telemetry.close()
        assert time.monotonic() - began_s < patient(CLOSE_WITHIN_S + 3.0)


def test_line_of_the_library_that_cannot_be_written_raises_no_error_where_a_span_ends() -> None:
    handler = LibraryLines()
    with structlog.testing.capture_logs() as lines:
        for argument in ("no number", 3):
            handler.emit(logging.LogRecord("opentelemetry.sdk", logging.WARNING, "", 0, "%d spans", (argument,), None))
    assert [line["message"] for line in lines] == ["3 spans"]
