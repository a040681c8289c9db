"""Reading what a question needs and putting the answer together; shared by RunReport and ExportReport.

The order of reads is the promise behind `complete_through` (rule P15): progress, then what waits, then the version and
the generations, then rows. A hit below the progress was counted by the live stream in the same transaction, or waits,
or is in a generation that was published before it waited no longer. The version is read again behind the rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import polars as pl

from hitmesh.ports import MetricStore, Site, SiteDay, Topic
from hitmesh.stream_columns import STREAM_GENERATION
from hitmesh.zones import DAY_MS
from reporter.freshness import Freshness, Waiting, freshness, own_partitions
from reporter.parts import Parts, combine
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
    began, query_id = backend.clock.now(), backend.new_token()[:16]
    found = _find_at_one_version(backend, question, sites, currency, query_id)
    rows = series(question, found.parts)
    missing = found.parts.missing_currencies
    return Answer(
        sites=sites,
        currency=currency,
        rows=rows,
        totals=None if found.totals is None else series(question.of_totals(), found.totals),
        freshness=found.freshness,
        data_version=found.version,
        missing_currencies=missing,
        excluded_hits=found.excluded_hits,
        store_rows=found.store_rows,
        elapsed_ms=max(0, backend.clock.now() - began),
        query_id=query_id,
        warnings=(*warnings, *rows.warnings, *_currency_warnings(missing, currency)),
    )


def read_freshness(backend: Backend, sites: Sequence[Site]) -> Freshness:
    """Returns how far the numbers of the sites reach; call it before generations are read."""
    progress = backend.progress.progress(Topic.HITS)
    return freshness(sites, progress, read_waiting(backend, sites), backend.clock.now())


def read_waiting(backend: Backend, sites: Sequence[Site]) -> dict[str, Waiting]:
    """Returns what is not settled per site; call it after progress was read and before generations are."""
    return {site.name: Waiting(backend.dirty.pending(site.name), backend.dirty.awaited(site.name)) for site in sites}


def read_version(backend: Backend, sites: Sequence[Site]) -> str:
    """Returns the version of the sites' numbers: `s`, the sum of their sequences, `.p`, the sum of what was committed.

    Both only grow. What the live stream counted follows from the positions it was committed with, those of the
    partitions that the sites' hits can be in and those of refusals.
    """
    hits, rejected = backend.progress.progress(Topic.HITS), backend.progress.progress(Topic.REJECTED)
    own = {partition: reached for site in sites for partition, reached in own_partitions(site, hits).items()}
    committed = sum(reached.next_offset for reached in (*own.values(), *rejected.values()))
    return f"s{sum(backend.generations.sequence(site.name) for site in sites)}.p{committed}"


def read_generations(
    backend: Backend, sites: Sequence[Site], waiting: Mapping[str, Waiting], start: int, end: int
) -> dict[SiteDay, int]:
    """Returns the generation to read of each site-day in the range that has rows.

    A day without a published entry is read as the live stream has it, if the stream counts it at all: then it is
    awaited since before its first rows. Published is before no longer awaited, so `waiting` is read first.
    """
    first_day, end_day = start // DAY_MS, -(-end // DAY_MS)
    generations = {
        SiteDay(site.name, day): STREAM_GENERATION
        for site in sites
        for day in waiting[site.name].awaited
        if first_day <= day < end_day
    }
    for site in sites:
        entries = backend.generations.current(site.name, first_day, end_day)
        generations |= {SiteDay(site.name, day): entry.generation for day, entry in entries.items()}
    return generations


@dataclass(frozen=True)
class _Found:
    """What the stores said, all of it of one version."""

    freshness: Freshness
    version: str
    parts: Parts
    totals: Parts | None
    excluded_hits: int
    store_rows: int


def _find_at_one_version(
    backend: Backend, question: Question, sites: tuple[Site, ...], currency: str, query_id: str
) -> _Found:
    """Returns what belongs to one version: read again when rows were committed or published meanwhile.

    Where they never stop coming, the answer has a version that no other answer has: it cannot be had again.
    """
    for _ in range(_VERSION_READS):
        found = _find(backend, question, sites, currency)
        if read_version(backend, sites) == found.version:
            return found
    return replace(found, version=f"{found.version}.q{query_id}")


def _find(backend: Backend, question: Question, sites: tuple[Site, ...], currency: str) -> _Found:
    """Reads once, in the order that is the promise."""
    progress = backend.progress.progress(Topic.HITS)
    waiting = read_waiting(backend, sites)
    reached = freshness(sites, progress, waiting, backend.clock.now())
    version = read_version(backend, sites)
    generations = read_generations(backend, sites, waiting, question.start, question.end)
    asked = _Asked(backend.metrics)
    parts = combine(question, asked.all(legs(question, generations)), currency)
    totals = None
    if question.include_totals:
        whole = question.of_totals()
        is_whole = not question.dimensions and not question.has_time
        totals = parts if is_whole else combine(whole, asked.all(legs(whole, generations)), currency)
    excluded = asked.all([leg for leg in [excluded_hits_leg(question, generations)] if leg])
    excluded_hits = sum(int(table["excluded_hits"].sum()) for _, table in excluded)
    return _Found(reached, version, parts, totals, excluded_hits, asked.rows)


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
