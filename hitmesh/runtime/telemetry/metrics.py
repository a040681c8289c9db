"""What services count with. Decides how a metric of the registry becomes an OpenTelemetry instrument.

Refuses to know where numbers go. A call costs about 4 µs (a gauge that is set, 1 µs): per batch, call or step, never
per hit. All methods may be called from any thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Final

from opentelemetry.metrics import CallbackOptions, Meter, NoOpMeterProvider, Observation

from hitmesh.runtime.telemetry.kinds import Counter, Gauge, Histogram, LabelsP, ReadCounter
from hitmesh.runtime.telemetry.registry import REGISTRY

METER: Final = "hitmesh"

Read = Callable[[], Iterable[Observation]]


class Metrics:
    """The metrics of one process. `meter` is the only source of instruments of these names."""

    def __init__(self, meter: Meter) -> None:
        self._counters = {
            one.name: meter.create_counter(one.instrument, one.unit.ucum, one.meaning)
            for one in REGISTRY
            if isinstance(one, Counter)
        }
        self._histograms = {
            one.name: meter.create_histogram(
                one.instrument, one.unit.ucum, one.meaning, explicit_bucket_boundaries_advisory=one.bounds
            )
            for one in REGISTRY
            if isinstance(one, Histogram)
        }
        self._reads: dict[str, list[Read]] = {}
        self._set: dict[str, dict[tuple[str, ...], Observation]] = {}
        for one in REGISTRY:
            if isinstance(one, Gauge | ReadCounter):
                self._reads[one.name], self._set[one.name] = [], {}
                create = meter.create_observable_gauge if isinstance(one, Gauge) else meter.create_observable_counter
                create(one.instrument, [self._reader(one.name)], one.unit.ucum, one.meaning)

    def add(self, counter: Counter[LabelsP], amount: float, /, *args: LabelsP.args, **labels: LabelsP.kwargs) -> None:
        """Adds to a counter; `amount` is not negative."""
        self._counters[counter.name].add(amount, counter.labels(*args, **labels))

    def record(
        self, histogram: Histogram[LabelsP], value: float, /, *args: LabelsP.args, **labels: LabelsP.kwargs
    ) -> None:
        """Records one value of a distribution."""
        self._histograms[histogram.name].record(value, histogram.labels(*args, **labels))

    def set(self, gauge: Gauge[LabelsP], value: float, /, *args: LabelsP.args, **labels: LabelsP.kwargs) -> None:
        """Sets a gauge, which keeps the value until it is set again."""
        values = gauge.labels(*args, **labels)
        self._set[gauge.name][tuple(values.values())] = Observation(value, values)

    def observe(self, metric: Gauge[LabelsP] | ReadCounter[LabelsP], read: Read) -> None:
        """Asks `read` for values whenever somebody looks: for what changes, or goes away, by itself.

        `read` is called from another thread, answers with `metric.of(value, label=…)` and does not block.
        """
        self._reads[metric.name].append(read)

    @contextmanager
    def timed(self, histogram: Histogram[LabelsP], /, *args: LabelsP.args, **labels: LabelsP.kwargs) -> Iterator[None]:
        """Records the seconds that the block took, also when it fails."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.record(histogram, time.perf_counter() - began, *args, **labels)

    def start_counters(self, prefix: str) -> None:
        """Sets the counters whose names start so to 0, so that the first error is a rise and not a new series."""
        for one in REGISTRY:
            if isinstance(one, Counter) and one.name.startswith(prefix):
                for labels in one.label_sets():
                    self._counters[one.name].add(0, labels)

    def _reader(self, name: str) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def read(_: CallbackOptions) -> Iterable[Observation]:
            yield from list(self._set[name].values())
            for one in list(self._reads[name]):
                yield from one()

        return read


def unmeasured() -> Metrics:
    """Returns metrics that nobody reads: a process without an address for them."""
    return Metrics(NoOpMeterProvider().get_meter(METER))
