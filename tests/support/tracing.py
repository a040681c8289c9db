"""Traces that a test can read, from the real SDK with an exporter in memory."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

from hitmesh.runtime.telemetry.traces import Traces


class Traced:
    """Traces to pass to the code under test. By default, every trace is recorded."""

    def __init__(
        self,
        *,
        ratio: float = 1.0,
        per_s: float = 10_000.0,
        randomly: Callable[[], float] = random.random,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._exporter = InMemorySpanExporter()
        provider = TracerProvider(ALWAYS_ON, shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.traces = Traces(provider.get_tracer("test"), ratio, per_s, randomly=randomly, now_s=now_s)

    @property
    def ended(self) -> Sequence[ReadableSpan]:
        """The spans that have ended, in the order of their ends."""
        return self._exporter.get_finished_spans()
