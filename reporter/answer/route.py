"""Which store answers a question, and why (step 7 of the journey, decision A11).

Decides that totals over time of one site come from its series, whatever the grain: sums per quarter of an hour that lie
together. Whatever needs dimensions comes from the metrics, which can answer the others too and stand in for the series.
Knows nothing of whether a store answers now.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from reporter.question.asked import Question
from reporter.question.check_filter import dimensions_in


class Path(StrEnum):
    """Which kind of numbers an answer is made of."""

    SERIES = "series"
    METRICS = "metrics"


@dataclass(frozen=True, slots=True)
class Route:
    """The paths that can answer, in the order in which they are tried, and why the first of them is the first."""

    paths: tuple[Path, ...]
    reason: str

    @property
    def is_fixed_shape(self) -> bool:
        """Whether the series can answer."""
        return Path.SERIES in self.paths


def route(question: Question, sites: int) -> Route:
    """Returns how to answer a question about so many sites."""
    only_metrics = (Path.METRICS,)
    if question.dimensions:
        return Route(only_metrics, f"it is broken down by {', '.join(question.dimensions)}, which series do not know")
    if question.filter is not None:
        names = ", ".join(sorted(set(dimensions_in(question.filter))))
        return Route(only_metrics, f"it is filtered by {names}, which series do not know")
    if sites != 1:
        return Route(only_metrics, f"it is about {sites} sites, and a series is of one")
    reason = "totals over time of one site, without dimensions and filter, are in its series"
    return Route((Path.SERIES, Path.METRICS), reason)
