"""Choose the store that answers a question, with the reason (journey step 7, architecture A11).

A single site's totals over time come from the series store, at any grain. The series store holds a site's sums for each
15 minutes. Questions with dimensions need the metric store. The metric store can answer every question, so it is also
the fallback for the series store. The choice does not depend on whether a store is available.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from reporter.question.check_filter import dimensions_in
from reporter.question.question import Question


class Path(StrEnum):
    """The kind of data that an answer is computed from."""

    SERIES = "series"
    METRICS = "metrics"


@dataclass(frozen=True, slots=True)
class Route:
    """The paths that can answer, in the order of attempts; `reason` states why the first path is the first choice."""

    paths: tuple[Path, ...]
    reason: str

    @property
    def is_fixed_shape(self) -> bool:
        """Whether the series store can answer."""
        return Path.SERIES in self.paths


def route(question: Question, sites: int) -> Route:
    """Return the route for a question about `sites` sites."""
    only_metrics = (Path.METRICS,)
    if question.dimensions:
        return Route(
            only_metrics,
            f"the series store has no dimensions; this question breaks down by {', '.join(question.dimensions)}",
        )
    if question.filter is not None:
        names = ", ".join(sorted(set(dimensions_in(question.filter))))
        return Route(only_metrics, f"the series store has no dimensions; this question filters by {names}")
    if sites != 1:
        return Route(only_metrics, f"a series covers one site; this question covers {sites} sites")
    reason = "the series store holds one site's totals over time, without dimensions and filter"
    return Route((Path.SERIES, Path.METRICS), reason)
