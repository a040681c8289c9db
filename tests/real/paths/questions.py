"""Random questions, and their filters in the form that the reference model uses."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

from hitmesh.model.cells import Grain
from hitmesh.model.filters import And, Comparison, Filter, Not, Operator, Or
from reporter.question.catalogue import DIMENSIONS, METRICS, VISITORS, conflict
from reporter.question.check_filter import dimensions_in
from reporter.question.question import GapFill, Question
from tests.reference.report import METRICS as KNOWN_METRICS
from tests.reference.report import shown
from tests.reference.settled import Entry
from tests.support.dates import buckets

DATES: Final = tuple(dt.date(2025, 4, day) for day in (4, 5, 6, 7, 8))
ZONES: Final = ("UTC", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe")
GRAINS: Final = (Grain.NONE, Grain.HOUR, Grain.DAY, Grain.WEEK, Grain.MONTH)
MAX_METRICS: Final = 12
PATTERNS: Final = (
    "^/products",
    "shoes|phones",
    r"\.example$",
    "(?i)MOBILE|chrome",
    r"^\(not set\)$",
    r"\(direct\)",
    r"[^a-zA-Z0-9/ .-]",
    r"\\$",
    r"\n",
    "^two.lines$",
    "(?s)^two.lines$",
    "🛒$",
    "[א-ת]{2,}",
    "^.{1,4}$",
    '"',
    "^(?:o|g+)+",
    r"\bback\b|\d",
)
"""Patterns that RE2 and Python interpret in the same way."""
ABSENT: Final = ("/nowhere", "it's 100% \\ \"no\" one's", "ﬁ", "(not set)", "(direct)", "null")


@dataclass(frozen=True)
class SiteQuestion:
    """A question, and the sites that it is about."""

    question: Question
    sites: tuple[str, ...]

    def __str__(self) -> str:
        question = self.question
        metrics = [metric.id for metric in question.metrics]
        return (
            f"{metrics} of {self.sites} {question.dates} {question.buckets.grain} {question.zone} "
            f"by {question.dimensions} where {question.filter}, excluded {question.include_excluded}"
        )


class Dice:
    """A generator of random questions. The filters mostly use values that occur in the entries."""

    def __init__(self, seed: int, sites: Sequence[str], entries: Sequence[Entry]) -> None:
        self._dice = Random(seed)
        self._sites = sites
        self._values = {name: [shown(name, entry) for entry in entries] for name in DIMENSIONS}
        self._patterns = {name: _matching(set(values)) for name, values in self._values.items()}

    def fixed(self) -> SiteQuestion:
        """Return a random question of fixed shape about one site. The question has no dimensions and no filter."""
        return self._question((self._dice.choice(self._sites),), KNOWN_METRICS, (), None)

    def ad_hoc(self) -> SiteQuestion:
        """Return a random question that the series store cannot answer."""
        dice = self._dice
        # Most questions use no item dimensions, because item dimensions allow few metrics.
        pool = tuple(DIMENSIONS) if dice.random() < 0.4 else tuple(set(DIMENSIONS) - {"product", "category", "brand"})
        while True:
            dimensions = tuple(dice.sample(sorted(pool), dice.choice((0, 1, 1, 1, 2, 2, 3))))
            tree = self._filter(sorted(pool), 3) if dice.random() < 0.7 else None
            sites = tuple(self._sites) if dice.random() < 0.4 else (dice.choice(self._sites),)
            used = {*dimensions, *dimensions_in(tree)}
            fitting = [
                name for name in KNOWN_METRICS if not any(conflict(METRICS[name], dimension) for dimension in used)
            ]
            if fitting and (used or len(sites) > 1):
                return self._question(sites, fitting, dimensions, tree)

    def _question(
        self, sites: tuple[str, ...], names: Sequence[str], dimensions: tuple[str, ...], tree: Filter | None
    ) -> SiteQuestion:
        dice = self._dice
        zone, first = dice.choice(ZONES), dice.choice((*DATES, *DATES[1:4], *DATES[1:4]))
        last = min(first + dt.timedelta(days=dice.choice((0, 1, 1, 2, 4))), DATES[-1])
        axis = buckets(zone, first, last, dice.choice(GRAINS))
        chosen = dice.sample(names, dice.randint(1, min(MAX_METRICS, len(names))))
        if VISITORS in names and dice.random() < 0.5:
            chosen = [*(name for name in chosen if name != VISITORS), VISITORS]
        question = Question(
            metrics=tuple(METRICS[name] for name in chosen),
            buckets=axis,
            start=int(axis.starts[0]),
            end=int(axis.ends[-1]),
            dimensions=dimensions,
            dates=(first, last),
            filter=tree,
            limit=100_000,
            gap_fill=GapFill.NONE,
            include_totals=dice.random() < 0.3,
            include_excluded=dice.random() < 0.5,
        )
        return SiteQuestion(question, sites)

    def _filter(self, names: Sequence[str], depth: int) -> Filter:
        dice = self._dice
        kind = dice.choice(("and", "or", "not", "one", "one", "one")) if depth > 1 else "one"
        match kind:
            case "and":
                return And(tuple(self._filter(names, depth - 1) for _ in range(dice.randint(1, 3))))
            case "or":
                return Or(tuple(self._filter(names, depth - 1) for _ in range(dice.randint(1, 3))))
            case "not":
                return Not(self._filter(names, depth - 1))
        return self._comparison(dice.choice(names))

    def _comparison(self, name: str) -> Comparison:
        dice = self._dice
        operator = dice.choice(tuple(Operator))
        if operator is Operator.RE2:
            patterns = (*self._patterns[name] * 2, *PATTERNS)
            return Comparison(name, operator, (dice.choice(patterns),))
        count = dice.randint(1, 6) if operator is Operator.IN else 1
        return Comparison(name, operator, tuple(self._value(name) for _ in range(count)))

    def _value(self, name: str) -> str:
        """Return a value of the dimension, chosen by frequency, or sometimes a value that does not occur."""
        return self._dice.choice(ABSENT if self._dice.random() < 0.1 else self._values[name])


def _matching(values: set[str]) -> tuple[str, ...]:
    """Return the PATTERNS that match any of the values, and a prefix pattern for each value."""
    known = (pattern for pattern in PATTERNS if any(re.search(pattern, value, re.ASCII) for value in values))
    return (*known, *(f"^{re.escape(value)}" for value in sorted(values)))


def keeps(tree: Filter) -> Callable[[Mapping[str, str]], bool]:
    """Return the filter in the form of the reference: a predicate on displayed values."""
    match tree:
        case Comparison(name, Operator.RE2, (pattern,)):
            compiled = re.compile(pattern, re.ASCII)
            return lambda values: compiled.search(values[name]) is not None
        case Comparison(name, Operator.NE, texts):
            return lambda values: values[name] not in texts
        case Comparison(name, _, texts):
            return lambda values: values[name] in texts
        case Not(part):
            inner = keeps(part)
            return lambda values: not inner(values)
        case And(parts):
            every = [keeps(part) for part in parts]
            return lambda values: all(matches(values) for matches in every)
        case Or(parts):
            some = [keeps(part) for part in parts]
            return lambda values: any(matches(values) for matches in some)
