"""Reading what a question needs and putting the answer together; shared by RunReport and ExportReport.

The order of reads is the promise behind `complete_through` (rule P15): progress, then what waits to be settled, then
the version and the generations, then rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import polars as pl

from hitmesh.ports import MetricStore, Site, SiteDay, Topic
from hitmesh.zones import DAY_MS
from reporter.freshness import Freshness, freshness
from reporter.parts import combine
from reporter.plan import Leg, excluded_hits_leg, legs
from reporter.question import Question
from reporter.rpc.backend import Backend
from reporter.series import Series, series

_VERSION_READS: Final = 3


@dataclass(frozen=True)
class Answer:
    """A series, its totals, and how they came about. Times in UTC ms."""

    sites: tuple[Site, ...]
    currency: str
    rows: Series
    totals: Series | None
    freshness: Freshness
    data_version: str
    missing_currencies: tuple[str, ...]
    excluded_hits: int
    store_rows: int
    elapsed_ms: int
    query_id: str
    warnings: tuple[str, ...]

    @property
    def question(self) -> Question:
        """What was asked."""
        return self.rows.question

    @property
    def policy_version(self) -> str:
        """The visit policies of the sites."""
        return ",".join(sorted({site.policy.version for site in self.sites}))


def answer(
    backend: Backend, question: Question, sites: tuple[Site, ...], currency: str, warnings: Sequence[str]
) -> Answer:
    """Returns the answer to a checked question about some sites.

    Raises:
        RefusedError: TOO_MANY_ROWS.
    """
    began = backend.clock.now()
    reached = read_freshness(backend, sites)
    data_version, generations = _read_generations(backend, sites, question.start, question.end)
    asked = _Asked(backend.metrics)
    found = combine(question, asked.all(legs(question, generations)), currency)
    rows = series(question, found)
    totals = None
    if question.include_totals:
        whole = question.of_totals()
        is_whole = not question.dimensions and not question.has_time
        parts = found if is_whole else combine(whole, asked.all(legs(whole, generations)), currency)
        totals = series(whole, parts)
    excluded = asked.all([leg for leg in [excluded_hits_leg(question, generations)] if leg])
    return Answer(
        sites=sites,
        currency=currency,
        rows=rows,
        totals=totals,
        freshness=reached,
        data_version=data_version,
        missing_currencies=found.missing_currencies,
        excluded_hits=sum(int(table["excluded_hits"].sum()) for _, table in excluded),
        store_rows=asked.rows,
        elapsed_ms=max(0, backend.clock.now() - began),
        query_id=backend.new_token()[:16],
        warnings=(*warnings, *rows.warnings, *_currency_warnings(found.missing_currencies, currency)),
    )


def read_freshness(backend: Backend, sites: Sequence[Site]) -> Freshness:
    """Returns how far the numbers of the sites reach; call it before generations are read."""
    progress = backend.progress.progress(Topic.HITS)
    pending = {site.name: backend.dirty.pending(site.name) for site in sites}
    return freshness(sites, progress, pending, backend.clock.now())


def read_version(backend: Backend, sites: Sequence[Site]) -> str:
    """Returns the version of the sites' published numbers: `s` and the sum of their sequences, which only grow."""
    return f"s{sum(backend.generations.sequence(site.name) for site in sites)}"


def _read_generations(backend: Backend, sites: Sequence[Site], start: int, end: int) -> tuple[str, dict[SiteDay, int]]:
    """Returns a version and the generations that belong to it: read again when one was published in between."""
    first_day, end_day = start // DAY_MS, -(-end // DAY_MS)
    version = read_version(backend, sites)
    for _ in range(_VERSION_READS):
        current = {
            SiteDay(site.name, day): entry.generation
            for site in sites
            for day, entry in backend.generations.current(site.name, first_day, end_day).items()
        }
        before, version = version, read_version(backend, sites)
        if before == version:
            break
    return version, current


def _currency_warnings(missing: Sequence[str], currency: str) -> tuple[str, ...]:
    if not missing:
        return ()
    return (f"amounts in {', '.join(missing)} are left out: money is in {currency}",)


@dataclass
class _Asked:
    """Asks the store and counts the rows that came back."""

    store: MetricStore
    rows: int = field(default=0)

    def all(self, questions: Sequence[Leg]) -> list[tuple[Leg, pl.DataFrame]]:
        answered = [(leg, self.store.query(leg.query)) for leg in questions]
        self.rows += sum(len(table) for _, table in answered)
        return answered
