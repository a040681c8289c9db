"""Metrics that a test can read, from the real SDK with an in-memory reader."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from opentelemetry.sdk.metrics import AlwaysOffExemplarFilter, MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader, NumberDataPoint
from opentelemetry.sdk.resources import Resource

from hitmesh.runtime.telemetry import Metrics
from hitmesh.runtime.telemetry.kinds import Metric
from hitmesh.runtime.telemetry.metrics import METER

Point = NumberDataPoint | HistogramDataPoint


class Measured:
    """Metrics to pass to the code under test and read afterwards."""

    def __init__(self) -> None:
        self._reader = InMemoryMetricReader()
        provider = MeterProvider(
            [self._reader],
            resource=Resource.get_empty(),
            exemplar_filter=AlwaysOffExemplarFilter(),
            shutdown_on_exit=False,
        )
        self.metrics = Metrics(provider.get_meter(METER))

    def value(self, metric: Metric[Any], **labels: str) -> float | None:
        """Return the value of a counter or gauge with exactly these labels, or None if there is none."""
        for point in self._points(metric):
            if dict(point.attributes or {}) == labels and isinstance(point, NumberDataPoint):
                return point.value
        return None

    def values(self, metric: Metric[Any]) -> dict[tuple[str, ...], float]:
        """Return all non-zero values of a counter or gauge, by label values."""
        return {
            tuple(str(value) for value in (point.attributes or {}).values()): point.value
            for point in self._points(metric)
            if isinstance(point, NumberDataPoint) and point.value
        }

    def recorded(self, metric: Metric[Any], **labels: str) -> tuple[int, float]:
        """Return the number and the sum of the values that a histogram with these labels contains."""
        for point in self._points(metric):
            if dict(point.attributes or {}) == labels and isinstance(point, HistogramDataPoint):
                return point.count, point.sum
        return 0, 0.0

    def _points(self, metric: Metric[Any]) -> Iterator[Point]:
        collected = self._reader.get_metrics_data()
        for resource in collected.resource_metrics if collected else ():
            for scope in resource.scope_metrics:
                for instrument in scope.metrics:
                    if instrument.name == metric.instrument:
                        for point in instrument.data.data_points:
                            assert isinstance(point, NumberDataPoint | HistogramDataPoint)
                            yield point
