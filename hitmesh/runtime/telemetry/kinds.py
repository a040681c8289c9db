"""What a metric is: name, unit, meaning, labels. Decides nothing about which there are, nor where numbers go.

A metric's labels are a function from keyword arguments to label values, so that the type checker refuses a label the
metric does not have and a value the label does not know.
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
    """What is counted; the end of every name."""

    BYTES = "bytes"
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
        """The unit as OpenTelemetry writes it: things that are no unit of measure are an annotation."""
        return {Unit.SECONDS: "s", Unit.BYTES: "By"}.get(self, f"{{{self}}}")


@dataclass(frozen=True, slots=True, eq=False)
class Metric(Generic[LabelsP]):
    """One metric. `name` is what Prometheus shows, without suffixes that a histogram adds."""

    name: str
    unit: Unit
    meaning: str
    labels: Callable[LabelsP, Labels]

    kind: ClassVar[str]

    @property
    def instrument(self) -> str:
        """The name of the OpenTelemetry instrument, from which the exporter makes `name`."""
        return self.name.removesuffix(TOTAL)

    def of(self, value: float, /, *args: LabelsP.args, **labels: LabelsP.kwargs) -> Observation:
        """Returns what a reader of this metric answers (Metrics.observe)."""
        return Observation(value, self.labels(*args, **labels))

    def label_values(self) -> dict[str, tuple[str, ...] | str]:
        """Returns label → its values; a text says which they are where they are not named one by one."""
        hints = get_type_hints(self.labels, include_extras=True)
        return {name: _values_of(hint) for name, hint in hints.items() if name != "return"}

    def label_sets(self) -> Iterator[Labels]:
        """Yields every combination of label values; none when a label's values are not named one by one."""
        values = self.label_values()
        if any(isinstance(named, str) for named in values.values()):
            return
        for combination in itertools.product(*values.values()):
            yield dict(zip(values, combination, strict=True))


def _values_of(hint: object) -> tuple[str, ...] | str:
    if get_origin(hint) is Annotated:
        return str(get_args(hint)[1])
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return tuple(member.value for member in hint)
    raise TypeError(f"{hint!r} has no bounds: a label is a StrEnum, or Annotated with what it may be")


class Counter(Metric[LabelsP]):
    """Only grows; starts at 0 for every combination of labels."""

    kind = "counter"


class ReadCounter(Metric[LabelsP]):
    """A counter that is kept elsewhere and read when somebody looks."""

    kind = "counter"


class Gauge(Metric[LabelsP]):
    """A value of now: set, or read when somebody looks."""

    kind = "gauge"


@dataclass(frozen=True, slots=True, eq=False)
class Histogram(Metric[LabelsP]):
    """How values are distributed; a value on a bound belongs below it."""

    bounds: tuple[float, ...]

    kind = "histogram"
