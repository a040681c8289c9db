"""The methods with which services record metrics.

Each metric of the registry is an OpenTelemetry instrument.

`exposition` serves the metrics. A method call takes about 4 µs (`set`: 1 µs), so services must call these methods per
batch, call or step, never per hit. All methods may be called from any thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from opentelemetry.metrics import CallbackOptions, Meter, NoOpMeterProvider, Observation

from hitmesh.runtime.telemetry.kinds import Counter, Gauge, Histogram, LabelsP, ReadCounter
from hitmesh.runtime.telemetry.registry import REGISTRY
from hitmesh.runtime.telemetry.traces import Traces

METER: Final = "hitmesh"

Read = Callable[[], Iterable[Observation]]


class Metrics:
    """The metrics of a process, as instruments of `meter`.

    Attributes:
        traces: begins the spans of the process.
    """

    def __init__(self, meter: Meter, traces: Traces | None = None) -> None:
        self.traces = traces or Traces()
        self._counters = {
            metric.name: meter.create_counter(metric.instrument, metric.unit.ucum, metric.meaning)
            for metric in REGISTRY
            if isinstance(metric, Counter)
        }
        self._histograms = {
            metric.name: meter.create_histogram(
                metric.instrument, metric.unit.ucum, metric.meaning, explicit_bucket_boundaries_advisory=metric.bounds
            )
            for metric in REGISTRY
            if isinstance(metric, Histogram)
        }
        self._reads: dict[str, list[Read]] = {}
        self._set: dict[str, dict[tuple[str, ...], Observation]] = {}
        for metric in REGISTRY:
            if isinstance(metric, Gauge | ReadCounter):
                self._reads[metric.name], self._set[metric.name] = [], {}
                create = meter.create_observable_gauge if isinstance(metric, Gauge) else meter.create_observable_counter
                create(metric.instrument, [self._reader(metric.name)], metric.unit.ucum, metric.meaning)

    def add(self, counter: Counter[LabelsP], amount: float, /, *args: LabelsP.args, **labels: LabelsP.kwargs) -> None:
        """Add to a counter; `amount` must not be negative."""
        self._counters[counter.name].add(amount, counter.labels(*args, **labels))

    def record(
        self, histogram: Histogram[LabelsP], value: float, /, *args: LabelsP.args, **labels: LabelsP.kwargs
    ) -> None:
        """Record a value in a histogram."""
        self._histograms[histogram.name].record(value, histogram.labels(*args, **labels))

    def set(self, gauge: Gauge[LabelsP], value: float, /, *args: LabelsP.args, **labels: LabelsP.kwargs) -> None:
        """Set a gauge; the gauge keeps the value until the next call with the same labels."""
        values = gauge.labels(*args, **labels)
        self._set[gauge.name][tuple(values.values())] = Observation(value, values)

    def observe(self, metric: Gauge[LabelsP] | ReadCounter[LabelsP], read: Read) -> None:
        """Register `read`, which returns a metric's current values at each collection.

        `read` is called from another thread. `read` must return observations (`metric.of(value, label=…)`) and must not
        block.
        """
        self._reads[metric.name].append(read)

    def start_counters(self, prefix: str) -> None:
        """Start the counters with this name prefix at 0 for all label values.

        Counters whose label values are not enumerated are left out.

        If a counter starts at 0, its time series exists before the first event. Prometheus therefore sees the first
        event as an increase.
        """
        for metric in REGISTRY:
            if isinstance(metric, Counter) and metric.name.startswith(prefix):
                for labels in metric.label_sets():
                    self._counters[metric.name].add(0, labels)

    def _reader(self, name: str) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def read(_: CallbackOptions) -> Iterable[Observation]:
            yield from list(self._set[name].values())
            for observe in list(self._reads[name]):
                yield from observe()

        return read


def unmeasured() -> Metrics:
    """Return metrics that record nothing, for a process without a metrics address."""
    return Metrics(NoOpMeterProvider().get_meter(METER))
