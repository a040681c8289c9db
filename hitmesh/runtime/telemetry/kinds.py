"""The kinds of metrics. A metric has a name, a unit, a meaning and labels.

Each metric has a function that takes keyword arguments and returns the label values. The type checker therefore rejects
labels that the metric lacks, and values that a label does not allow.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, ClassVar, Final, Generic, ParamSpec, get_args, get_origin, get_type_hints

from opentelemetry.metrics import Observation

Labels = dict[str, str]
LabelsP = ParamSpec("LabelsP")

TOTAL: Final = "_total"


class Unit(StrEnum):
    """A metric's unit. The metric's name ends with the unit, followed by `_total` for a counter."""

    BUCKETS = "buckets"
    BYTES = "bytes"
    COLLECTORS = "collectors"
    ERRORS = "errors"
    FAILURES = "failures"
    HITS = "hits"
    INFO = "info"
    ISSUES = "issues"
    RECORDS = "records"
    RECOVERIES = "recoveries"
    ROWS = "rows"
    SECONDS = "seconds"
    SITE_DAYS = "site_days"
    STREAMS = "streams"
    TRANSACTIONS = "transactions"
    VISITS = "visits"

    @property
    def ucum(self) -> str:
        """The unit in UCUM notation, for OpenTelemetry.

        A unit that counts objects becomes an annotation such as `{hits}`.
        """
        return {Unit.SECONDS: "s", Unit.BYTES: "By"}.get(self, f"{{{self}}}")


@dataclass(frozen=True, slots=True, eq=False)
class Metric(Generic[LabelsP]):
    """A metric. `name` is the Prometheus name, without the suffixes that a histogram adds."""

    name: str
    unit: Unit
    meaning: str
    labels: Callable[LabelsP, Labels]

    kind: ClassVar[str]

    @property
    def instrument(self) -> str:
        """The name of the OpenTelemetry instrument, from which the exporter derives `name`."""
        return self.name.removesuffix(TOTAL)

    def of(self, value: float, /, *args: LabelsP.args, **labels: LabelsP.kwargs) -> Observation:
        """Return a value of this metric with its labels, as functions registered with `Metrics.observe` return it."""
        return Observation(value, self.labels(*args, **labels))

    def label_values(self) -> dict[str, tuple[str, ...] | str]:
        """Return the allowed values per label.

        If a label's values are not enumerated, return a text that describes the values.
        """
        hints = get_type_hints(self.labels, include_extras=True)
        return {name: _values_of(hint) for name, hint in hints.items() if name != "return"}

    def label_sets(self) -> Iterator[Labels]:
        """Yield every combination of label values, or nothing if a label's values are not enumerated."""
        values = self.label_values()
        if any(isinstance(named, str) for named in values.values()):
            return
        for combination in itertools.product(*values.values()):
            yield dict(zip(values, combination, strict=True))


def _values_of(hint: object) -> tuple[str, ...] | str:
    if get_origin(hint) is Annotated:
        bounds = get_args(hint)[1]
        return tuple(map(str, bounds)) if isinstance(bounds, tuple) else str(bounds)
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return tuple(member.value for member in hint)
    raise TypeError(f"label type {hint!r} has no bounds: use a StrEnum, or Annotated with the values or bounds")


class Counter(Metric[LabelsP]):
    """A count that only increases."""

    kind = "counter"


class ReadCounter(Metric[LabelsP]):
    """A counter whose value another component keeps. The value is read each time the metrics are collected."""

    kind = "counter"


class Gauge(Metric[LabelsP]):
    """A current value.

    A service sets the value, or a function returns the value at each collection.
    """

    kind = "gauge"


@dataclass(frozen=True, slots=True, eq=False)
class Histogram(Metric[LabelsP]):
    """The distribution of values over buckets.

    A value that equals a bound belongs to the bucket below the bound.
    """

    bounds: tuple[float, ...]

    kind = "histogram"
